"""A real broker on this machine, which keeps running while guests die, with a subscriber."""

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from . import apt
from .vm import LEASH


def install():
    """Install mosquitto, for this machine and for the guests that use its files."""
    apt.install(["mosquitto"], ["/usr/sbin/mosquitto"], "the broker of the stations")
    apt.install(["mosquitto-clients"], ["mosquitto_sub", "mosquitto_pub"], "listening to that broker")


def free_port():
    """A free TCP port on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Broker:
    """mosquitto, and every message sent to it."""

    def __init__(self):
        install()
        self._folder = Path(tempfile.mkdtemp(prefix="benchlight-broker-"))
        self.port = free_port()
        # A program that changes its user loses its parent-death signal.
        (self._folder / "conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n")
        self.process = subprocess.Popen(
            [*LEASH, "/usr/sbin/mosquitto", "-c", self._folder / "conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.messages = []
        self._ear = None
        try:
            self._hear()
        except BaseException:
            self.stop()
            raise

    def _hear(self):
        ends = time.monotonic() + 20
        # The subscriber must be ready before anything is published.
        while not any(payload == "hello" for _, payload in self.messages):
            if self._ear is None or self._ear.poll() is not None:
                self._ear = subprocess.Popen(
                    [*LEASH, "mosquitto_sub", "-p", str(self.port), "-V", "mqttv5", "-q", "1", "-t", "#", "-F", "%t\t%p"],
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

    def records(self, since=0):
        """Every delivery of a scan or change among the messages from number `since` on."""
        return [json.loads(payload) for topic, payload in self.messages[since:] if topic.endswith(("/scan", "/change"))]

    def health(self, since=0):
        """The newest health among the messages from number `since` on."""
        found = [payload for topic, payload in self.messages[since:] if topic.endswith("/health")]
        return json.loads(found[-1]) if found else None

    def freeze(self, frozen):
        """Freeze the broker with its connections, or let it continue."""
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop(self):
        for process in (self._ear, self.process):
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
