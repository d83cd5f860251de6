"""The agent under its own systemd unit, as far as the lamps are concerned: ready, watchdog, and the command after its end.

A guest on this machine's files has no systemd. This reads the watchdog's time and signal, and the command after the end, from
the unit itself. (The part `systemd` runs systemd itself.)
"""

import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from station import AGENT

UNIT = Path(__file__).resolve().parents[3] / "systemd/benchlight.service"


class Unit:
    """Run `agent` as the unit says. `at_end` is called when it has ended, before anything else is done."""

    def __init__(self, agent, at_end):
        self.agent = agent
        self._at_end = at_end
        text = UNIT.read_text()
        self._says = dict(re.findall(r"^([A-Z]\w+)=(.*)$", text, re.M))
        self.watchdog = float(self._says["WatchdogSec"])
        self._ready, self._ended = threading.Event(), threading.Event()
        self.process = self.seen_at_end = self.post = None
        self.bitten = False

    def _command(self, setting):
        words = shlex.split(self._says[setting].lstrip("-"))
        assert words[0] == "/usr/bin/benchlight", words
        return [AGENT, *words[1:], "--config", str(self.agent.config)]

    def start(self, broker):
        """Start it and wait until it has reported that it is ready and is able."""
        path = self.agent.folder / f"{self.agent.config.stem}.notify"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self._notify.settimeout(0.1)
        self._ready.clear()
        self._ended.clear()
        self.seen_at_end, self.post, self.bitten = None, None, False
        more = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(round(self.watchdog * 1e6))}
        self.agent.start(broker, command=self._command("ExecStart"), more=more)
        self.process = self.agent.process
        threading.Thread(target=self._manage, daemon=True).start()
        if not self._ready.wait(30):
            raise RuntimeError("the agent did not say READY=1")
        return self

    def _manage(self):
        fed = time.monotonic()
        while self.process.poll() is None:
            try:
                said = self._notify.recv(4096).decode().split("\n")
            except TimeoutError:
                said = []
            if "READY=1" in said:
                self._ready.set()
            if "READY=1" in said or "WATCHDOG=1" in said:
                fed = time.monotonic()
            if self._ready.is_set() and time.monotonic() - fed > self.watchdog and not self.bitten:
                self.bitten = True
                self.process.send_signal(getattr(signal, self._says["WatchdogSignal"]))
        self.seen_at_end = self._at_end()
        self.post = subprocess.run(self._command("ExecStopPost"), capture_output=True, text=True, env=self.agent.environment(),
                                   stdin=subprocess.DEVNULL, timeout=60, check=False)
        self._notify.close()
        self._ended.set()

    def wait(self, seconds):
        """Wait until it has ended and the command after its end has run."""
        return self._ended.wait(seconds)
