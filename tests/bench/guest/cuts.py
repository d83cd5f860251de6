"""One life of a station that is going to lose its power: what was delivered before, what is answered now."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from hardware import Pins, until
from lamps import GREEN, RED, TWO
from results import check, note, say
from station import Agent, Services, config, tail

HOME = Path("/tmp/station")
DATA = Path("/data")


def word(name):
    """A word of the kernel's command line."""
    found = [part.partition("=")[2] for part in Path("/proc/cmdline").read_text().split() if part.startswith(name + "=")]
    return found[0] if found else None


def send(port, serial):
    """One scan of a network scanner."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(serial.encode() + b"\n")


def pump_terminal(agent, life):
    """Scan after scan on the lane that prints its answers; each answer goes to the console of the machine at once."""
    def listen():
        position = 0
        while True:
            text = agent.out.read_text()
            for line in text[position:].splitlines(keepends=True):
                if line.endswith("\n"):
                    position += len(line)
                    fields = line.split()
                    if fields and fields[0] != "change":
                        say("answered", id=fields[0], serial=fields[1])
            time.sleep(0.01)
    threading.Thread(target=listen, daemon=True).start()
    with socket.create_connection(("127.0.0.1", 9001), timeout=10) as line:
        for number in range(100000):
            line.sendall(f"T{life:04}{number:06}A\n".encode())
            time.sleep(0.05)


def pump_lamps(pins, life):
    """Scan after scan on the lane with lamps; a lamp that lights is an answer."""
    for number in range(100000):
        serial = f"L{life:04}{number:06}A"
        if not until(lambda: not pins.level(RED) and not pins.level(GREEN), 0.3):
            pass  # still lit by the box before: this scan darkens it
        send(9002, serial)
        until(lambda: not pins.level(RED), 5, 0.002)
        if until(lambda: pins.level(RED), 10, 0.002):
            say("answered", id=None, serial=serial)


def main():
    life = int(word("life"))
    HOME.mkdir(exist_ok=True)
    DATA.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "/dev/vda", str(DATA)], check=True)
    pins = Pins()
    services = Services(HOME).start()
    text = config(
        [{"name": "fast", "kind": "tcp", "listen": "127.0.0.1:9001", "lane": "fast"},
         {"name": "lit", "kind": "tcp", "listen": "127.0.0.1:9002", "lane": "lit"}],
        TWO, ['name = "fast"\nindicator = { kind = "terminal" }\n', 'name = "lit"\n'], state=DATA / "state", more="allow_plaintext = true\n",
        verdict='deadline = "5s"\nrecheck = "15m"',
    ).replace("mqtt://127.0.0.1:1883", "mqtt://10.0.2.100:1883")
    agent = Agent(HOME, text)
    recording = pins.record([GREEN, RED])
    agent.start()

    def listens():
        try:
            socket.create_connection(("127.0.0.1", 9002), timeout=1).close()
            return True
        except OSError:
            if agent.process.poll() is not None:
                raise RuntimeError(f"the agent ended with {agent.process.returncode}: {tail(agent.log)}") from None
            return False
    if not check(f"life {life}: the journal opens and the station starts", until(listens, 30, 0.1), tail(agent.log)):
        return
    time.sleep(1)
    recording.stop()
    check(f"life {life}: the lamps stay dark until the first scan", recording.changes == [(0.0, {GREEN: 0, RED: 0})], recording.changes)
    if word("last"):
        time.sleep(2)
        # The host sees when the backlog is gone; here the record itself is asked.
        exported = agent.command("journal", "export", "--format", "jsonl")
        for line in exported.stdout.splitlines():
            say("record", row=line)
        check("the journal can be read beside the agent", exported.returncode == 0, exported.stderr)
        say("drained")
        time.sleep(5)
        check("the agent ends in order", agent.stop() == 0, tail(agent.log))
        services.stop()
        subprocess.run(["umount", str(DATA)], check=False)
        return
    say("pumping")
    threading.Thread(target=pump_lamps, args=[pins, life], daemon=True).start()
    threading.Thread(target=pump_terminal, args=[agent, life], daemon=True).start()
    agent.process.wait()
    note(f"the agent ended: {tail(agent.log)}")
    os._exit(1)
