"""One virtual machine: started, watched on its console, controlled over QMP, and always ended."""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path


# Programs that the bench starts end with it, however it ends.
LEASH = ["setpriv", "--pdeathsig", "KILL"]


class TimeOut(Exception):
    """The guest did not get where it should in time."""


class Machine:
    """A running QEMU. Use it in a `with` statement: it is killed at the end, whatever happened."""

    def __init__(self, arguments, seconds):
        self._folder = Path(tempfile.mkdtemp(prefix="benchlight-vm-"))
        self._ends = time.monotonic() + seconds
        self._sockets = {}
        self._text = b""
        self.console = []
        # Each machine has its own folder for sockets.
        arguments = [argument.replace("{folder}", str(self._folder)) for argument in arguments]
        command = [*LEASH, "nice", "-n", "10", *arguments, "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults",
                   "-qmp", f"unix:{self._folder}/qmp,server=on,wait=off"]
        if "-serial" not in arguments:
            command += ["-serial", "stdio"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self._qmp = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def socket_path(self, name):
        """The path of a socket of this machine."""
        return str(self._folder / name)

    def kill(self):
        """End the machine at once, as a power cut does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def lines(self, seconds=None):
        """Yield the console's lines as they come, until the machine ends."""
        ends = min(self._ends, time.monotonic() + seconds) if seconds else self._ends
        while True:
            while b"\n" in self._text:
                line, self._text = self._text.split(b"\n", 1)
                line = line.decode("utf-8", "replace").replace("\r", "")
                self.console.append(line)
                yield line
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeOut("\n".join(self.console[-15:]))
            if select.select([self.process.stdout], [], [], left)[0]:
                data = self.process.stdout.read()
                if data == b"" or data is None and self.process.poll() is not None:
                    return
                self._text += data or b""

    def type(self, line):
        """Type a line on the console."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def qmp(self, command, **arguments):
        """Run a QMP command; return its answer."""
        if self._qmp is None:
            self._qmp = self._connect("qmp").makefile("rw", buffering=1, encoding="utf-8")
            self._qmp.readline()
            self.qmp("qmp_capabilities")
        self._qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while True:
            answer = json.loads(self._qmp.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def monitor(self, line):
        """Run a command of QEMU's human monitor; return its text."""
        return self.qmp("human-monitor-command", **{"command-line": line}).strip()

    def word(self, address):
        """Read a 32-bit word of the guest's physical memory from outside, such as a register of the board."""
        return int(re.search(r":\s*(0x[0-9a-f]+)", self.monitor(f"xp /1wx {address:#x}"))[1], 16)

    def send(self, name, data):
        """Write bytes to a socket that the machine listens on."""
        if name not in self._sockets:
            self._sockets[name] = self._connect(name)
        self._sockets[name].sendall(data)

    def close(self, name):
        """Close the socket opened by `send`."""
        if name in self._sockets:
            self._sockets.pop(name).close()

    def _connect(self, name):
        ends = time.monotonic() + 20
        while True:
            try:
                found = socket.socket(socket.AF_UNIX)
                found.connect(self.socket_path(name))
                found.settimeout(60)
                return found
            except OSError:
                if time.monotonic() > ends or self.process.poll() is not None:
                    raise RuntimeError("QEMU did not start: " + " ".join(self._rest())) from None
                time.sleep(0.05)

    def _rest(self):
        return (self.process.stdout.read() or b"").decode("utf-8", "replace").splitlines()[-3:]
