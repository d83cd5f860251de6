"""Power cuts: the virtual machine is killed at random moments while scans run, and must have kept its word after each."""

import json
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import apt, guests
from .cross import CACHE
from .vm import TimeOut


class Broker:
    """mosquitto on this machine: it goes on while the guest dies."""

    def __init__(self):
        apt.install(CACHE / "apt-host", ["mosquitto"], ["/usr/sbin/mosquitto"], "a broker that survives the power cut")
        apt.install(CACHE / "apt-host", ["mosquitto-clients"], ["mosquitto_sub"], "listening to that broker")
        self._folder = Path(tempfile.mkdtemp(prefix="benchlight-broker-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self._folder / "conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        self.process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", self._folder / "conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.messages = []
        self._ear = None
        ends = time.monotonic() + 20
        while not any(payload == "hello" for _, payload in self.messages):
            if self._ear is None or self._ear.poll() is not None:
                self._ear = subprocess.Popen(
                    ["mosquitto_sub", "-p", str(self.port), "-V", "mqttv5", "-q", "1", "-t", "#", "-F", "%t\t%p"],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
                threading.Thread(target=self._listen, args=[self._ear], daemon=True).start()
            time.sleep(0.3)
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", "bench", "-m", "hello"], stderr=subprocess.DEVNULL)
            if time.monotonic() > ends:
                raise apt.Unavailable("mosquitto does not start on this machine")

    def _listen(self, ear):
        for line in ear.stdout:
            topic, _, payload = line.rstrip("\n").partition("\t")
            self.messages.append((topic, payload))

    def records(self):
        """Every scan and change that was delivered, each delivery once."""
        return [json.loads(payload) for topic, payload in list(self.messages) if topic.endswith(("/scan", "/change"))]

    def stop(self):
        for process in (self._ear, self.process):
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def disk(name, megabytes=256):
    """A fresh ext4 disk."""
    apt.install(CACHE / "apt-host", ["e2fsprogs"], ["/usr/sbin/mkfs.ext4"], "the card of the virtual station")
    path = CACHE / name
    path.unlink(missing_ok=True)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", path, f"{megabytes}M"], check=True, stdout=subprocess.DEVNULL)
    return path


def cuts(results, count):
    """Cut the power `count` times; then everything that had been answered must have been delivered."""
    chance = random.Random()
    broker, card = Broker(), disk("card.img")
    answered, lives_cut = [], 0
    try:
        for life in range(1, count + 2):
            last = life == count + 1
            # Both ways in which a host may keep what the guest wrote: none is a card without a cache of its own.
            cache = "none" if life % 2 else "writeback"
            extra = [
                "-drive", f"file={card},format=raw,if=virtio,cache={cache}", "-device", "virtio-net-pci,netdev=net",
                "-netdev", f"user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:1883-tcp:127.0.0.1:{broker.port}",
            ]
            with guests.boot("cuts", 240, extra, f"life={life}{' last=1' if last else ''}") as machine:
                if last:
                    _last_life(machine, results, broker, answered)
                elif _one_life(machine, results, answered, chance.uniform(0.2, 6.0)):
                    lives_cut += 1
                else:
                    break
        results.check(f"cuts: {count} power cuts happened while scans ran", lives_cut == count, lives_cut)
        _judge(results, broker, answered)
    except TimeOut as where:
        results.check("cuts: each life in its time", False, where)
    finally:
        broker.stop()
        card.unlink(missing_ok=True)


def _one_life(machine, results, answered, after):
    """Follow a guest to the cut, `after` seconds of scanning; True when it was cut while scans ran."""
    cut = None
    try:
        for line in machine.lines():
            said = _said(line)
            if not said:
                if line.startswith("@@ end"):
                    results.check("cuts: the station lives until it is cut", False, "\n".join(machine.console[-20:]))
                    return False
            elif said["kind"] == "check":
                results.check(said["promise"], said["held"], said["found"])
            elif said["kind"] == "pumping":
                cut = threading.Timer(after, machine.process.kill)
                cut.start()
            elif said["kind"] == "answered":
                answered.append((said["id"], said["serial"]))
            elif said["kind"] == "note":
                print(f"  {said['text']}", flush=True)
    finally:
        if cut:
            cut.cancel()
    return cut is not None


def _last_life(machine, results, broker, answered):
    rows = []
    for line in machine.lines():
        said = _said(line)
        if line.startswith("@@ end"):
            break
        if not said:
            continue
        if said["kind"] == "check":
            results.check(said["promise"], said["held"], said["found"])
        elif said["kind"] == "record":
            rows.append(json.loads(said["row"]))
        elif said["kind"] == "drained":
            wanted = {serial for _, serial in answered}
            ends = time.monotonic() + 60
            while time.monotonic() < ends and wanted - {record["data"]["serial"] for record in broker.records()}:
                time.sleep(0.2)
    interrupted = [row for row in rows if row["kind"] == "interrupted"]
    results.figure("scans answered before the cuts", len(answered))
    results.figure("scans cut before their answer (closed as interrupted)", len(interrupted))
    kept = {row["serial"] for row in rows}
    lost = [serial for _, serial in answered if serial not in kept]
    results.check("cuts: every answered scan is in the journal", not lost, lost[:10])
    results.check("cuts: no interrupted scan has a number or was delivered", all(row.get("seq") in (None, "") for row in interrupted), interrupted[:3])


def _judge(results, broker, answered):
    records = broker.records()
    bodies = {}
    twice = []
    for record in records:
        record["data"].pop("replay")
        if bodies.setdefault(record["id"], record) != record:
            twice.append(record["id"])
    serials = {record["data"]["serial"] for record in records}
    lost = [(scan, serial) for scan, serial in answered if serial not in serials or scan and scan not in bodies]
    results.check(f"cuts: every scan whose lamp had answered is delivered ({len(answered)})", answered and not lost, lost[:10])
    results.check("cuts: no id with two bodies", not twice, twice[:5])
    epochs = {record["data"]["epoch"] for record in records}
    results.check("cuts: one journal all along, none had to be salvaged", len(epochs) == 1, epochs)
    numbers = sorted({record["data"]["seq"] for record in bodies.values()})
    results.check("cuts: seq counts from 1 without a gap", numbers == list(range(1, len(numbers) + 1)) and len(numbers) == len(bodies),
                  (numbers[:3], numbers[-3:], len(numbers), len(bodies)))
    results.figure("deliveries, of which repeats", f"{len(records)}, {len(records) - len(bodies)}")


def _said(line):
    at = line.find("@@ {")
    try:
        return json.loads(line[at + 3:]) if at >= 0 else None
    except ValueError:
        return None  # the line that the cut broke off
