"""A whole station in a guest: simulated services, a real broker with a subscriber, and the agent itself."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from hardware import until
from results import note

AGENT = os.environ.get("BENCHLIGHT", "")
# Which program stands in for the services.
SIMULATORS = os.environ.get("SIMULATORS", AGENT)
TOKEN = "simulated-token"

# Boxes that the simulated Kandji knows, by the station's answer.
READY, ALSO_READY, PENDING, REMOVED = "C02XK0AAJG5H", "FVFGK1BBQ6L4", "C02PD4EEJG5J", "DEMOGONE0009"
IMEI = "490154203237518"
# On an emulated bus a scan's keys may come with gaps: it must end with its end key, not at a gap.
PAUSE = "1s"


_read = set()


def read_in():
    """Read every file that a running program has mapped.

    Files come from the machine outside, in its time. If time is skipped in the guest while a program waits for one of its pages,
    the program can be late by any number of seconds.
    """
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            mapped = {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if line.count("/") and len(line.split(maxsplit=5)) == 6}
        except OSError:  # it has ended
            continue
        for path in {path for path in mapped - _read if not path.startswith("/dev/")}:
            _read.add(path)
            try:
                with open(path, "rb") as file:
                    while file.read(1 << 20):
                        pass
            except OSError:  # a device, or gone
                continue


def started(command, log, **more):
    """A program in the background, with its output in a file."""
    file = open(log, "ab")
    return subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, **more)


def tail(path, lines=15):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError as fault:
        return str(fault)


def end(process, with_signal=signal.SIGTERM, seconds=10):
    """End one of our programs; return its exit code."""
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Broker:
    """mosquitto, and every message sent to it."""

    def __init__(self, folder, port=1883, keep=False):
        self.port = port
        self.folder = Path(folder)
        self.messages = []
        self._parsed, self._parsing = {}, threading.Lock()
        self._config = self.folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n"
            f"persistence {'true' if keep else 'false'}\npersistence_location {self.folder}/\n"
        )
        self.process = self._ear = None

    def start(self):
        self.process = started(["/usr/sbin/mosquitto", "-c", self._config], self.folder / "mosquitto.log")
        if not until(self.listens, 20, 0.1):
            raise RuntimeError("mosquitto did not start: " + tail(self.folder / "mosquitto.log"))
        return self.listen()

    def listen(self):
        """Subscribe to everything on the broker at this port, whoever started it."""
        self._ear = subprocess.Popen(
            ["mosquitto_sub", "-p", str(self.port), "-V", "mqttv5", "-q", "1", "-t", "#", "-F", "%t\t%r\t%p"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
        )
        threading.Thread(target=self._listen, args=[self._ear], daemon=True).start()
        # The subscriber must be ready before anything is published.
        def heard():
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", "bench/hello", "-m", "1"], check=False)
            return any(topic == "bench/hello" for topic, _, _ in self.messages)
        if not until(heard, 20, 0.3):
            raise RuntimeError("nothing came back from the broker")
        read_in()
        return self

    def listens(self):
        import socket
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _listen(self, ear):
        for line in ear.stdout:
            topic, retained, payload = line.rstrip("\n").split("\t", 2)
            self.messages.append((topic, retained == "1", payload))

    def stop(self):
        for process in (self._ear, self.process):
            if process:
                end(process)

    def scans(self, kind="scan"):
        """The bodies of `P/scan`, without repeats of one id."""
        with self._parsing:
            parsed = self._parsed.setdefault(kind, {"read": 0, "seen": set(), "bodies": []})
            heard = len(self.messages)
            for topic, _, payload in self.messages[parsed["read"]:heard]:
                if topic.endswith(f"/{kind}"):
                    body = json.loads(payload)
                    if body["id"] not in parsed["seen"]:
                        parsed["seen"].add(body["id"])
                        parsed["bodies"].append(body)
            parsed["read"] = heard
            return list(parsed["bodies"])

    def last(self, name):
        """The newest message on topics with this last level."""
        found = [payload for topic, _, payload in list(self.messages) if topic.endswith("/" + name)]
        return found[-1] if found else None


class Services:
    """The simulated Kandji."""

    def __init__(self, folder, port=8801, extra=()):
        self.base = f"http://127.0.0.1:{port}"
        self._command = [SIMULATORS, "simulate", "kandji", "--listen", f"127.0.0.1:{port}", *extra]
        self._log = Path(folder) / "kandji.log"
        self.process = None

    def start(self):
        self.process = started(self._command, self._log)
        def answers():
            try:
                urllib.request.urlopen(self.base + "/", timeout=2)
                return True
            except urllib.error.HTTPError:
                return True
            except OSError:
                return self.process.poll() is not None
        if not until(answers, 30, 0.1) or self.process.poll() is not None:
            raise RuntimeError("the simulated service did not start: " + tail(self._log))
        return self

    def faults(self, *switches):
        """Switch faults on, or all of them off."""
        request = urllib.request.Request(self.base + "/_simulator/faults", method="PUT", data="\n".join(switches).encode())
        urllib.request.urlopen(request, timeout=5)

    def stop(self):
        end(self.process)


def config(scanners, indicator=None, lanes=None, more="", port=8801, broker=1883, state="/tmp/station/state", verdict=""):
    """A station's config."""
    text = f'[station]\nsite = "lab"\nname = "bench-1"\nstate_dir = "{state}"\n'
    for scanner in scanners:
        text += "[[scanner]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in scanner.items())
    for lane in lanes or []:
        text += "[[lane]]\n" + lane
    if indicator:
        text += "[indicator]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in indicator.items())
    text += f'[[source]]\nname = "kandji"\nkind = "kandji"\nurl = "http://127.0.0.1:{port}"\n'
    # A guest is emulated on a busy machine, so it gets more time than a bench would.
    text += f'[verdict]\n{verdict or "deadline = " + chr(34) + "5s" + chr(34)}\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\nreplay_per_second = 0\n'
    return text + more


class Agent:
    """`benchlight run` with its own config."""

    def __init__(self, folder, text, name="agent"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / f"{name}.toml"
        self.config.write_text(text)
        self.log = self.folder / f"{name}.log"
        self.out = self.folder / f"{name}.out"
        self.process = None

    def environment(self):
        return dict(os.environ, BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN=TOKEN, RUST_LOG="info", NO_COLOR="1")

    def start(self, broker=None, seconds=30, command=None, more=()):
        heard = len(broker.messages) if broker else 0
        self.process = subprocess.Popen(
            command or [AGENT, "run", "--config", str(self.config)], stdin=subprocess.DEVNULL, stdout=open(self.out, "ab"),
            stderr=open(self.log, "ab"), env={**self.environment(), **dict(more)},
        )
        if broker:
            def able():
                if self.process.poll() is not None:
                    raise RuntimeError(f"the agent ended with {self.process.returncode}: {tail(self.log)}")
                for topic, _, payload in broker.messages[heard:]:
                    # Able, and every scanner open: a code typed earlier would be cut short.
                    if topic.endswith("/health"):
                        health = json.loads(payload)
                        if health["able"] and all(scanner["state"] == "ok" for scanner in health["scanners"].values()):
                            return True
                return False
            read_in()
            if not until(able, seconds, 0.1):
                raise RuntimeError(f"the agent is not able: {broker.last('health')} {tail(self.log)}")
        return self

    def command(self, *words, seconds=60):
        """Run another command of the program with the same config."""
        return subprocess.run([AGENT, *words, "--config", str(self.config)], capture_output=True, text=True,
                              env=self.environment(), timeout=seconds, stdin=subprocess.DEVNULL)

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        return end(self.process, number)


class Bench:
    """What the steps of a part share: a broker, the services, and the current agent."""

    def __init__(self, home):
        home.mkdir(exist_ok=True)
        self.broker = Broker(home).start()
        self.services = Services(home).start()
        self.agent = None
        self.runs = 0

    def give_up(self):
        """After a failed step: print what the agent said, and end it."""
        if self.agent and self.agent.process:
            note(tail(self.agent.log))
            self.agent.stop()


def serials(bodies):
    return [body["data"]["serial"] for body in bodies]


def wait_for_scans(broker, count, seconds=30):
    """Wait until that many different scans have been delivered; return them."""
    until(lambda: len(broker.scans()) >= count, seconds, 0.05)
    return broker.scans()


def settle(seconds):
    time.sleep(seconds)
