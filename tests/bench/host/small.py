"""The small guest: only the agent, a card, simulated pins and a simulated service, on a kernel that boots quickly.

Its scanners, its broker and the observer of its lamps are outside, so what they have seen survives the guest.
"""

import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from . import apt, guests
from .broker import Broker, free_port
from .cache import CACHE
from .card import Card
from .kernel import initramfs
from .vm import Machine

MODULES = ("configfs", "gpio_sim", "virtio_mmio", "virtio_blk", "failover", "net_failover", "virtio_net", "jbd2", "crc16", "mbcache", "ext4")
# The machine's id, fixed for the lifetime of a card.
MACHINE_ID = b"5a6e0c0f4d0b4f0c9a37b1d6c2f41e88\n"
# Levels of the green, the red and the amber lamp.
DARK, HOLD = (0, 0, 0), (0, 0, 1)
# The kernel's tests and measurements of the processor, which is emulated.
QUICK = "nokaslr mitigations=off tsc=reliable no_timer_check lpj=4000000 audit=0 random.trust_cpu=on rcupdate.rcu_expedited=1 i8042.nokbd i8042.noaux"

CONFIG = """
[station]
site = "lab"
name = "bench-1"
state_dir = "/data/state"

[[scanner]]
name = "fast"
kind = "tcp"
listen = "0.0.0.0:9001"
lane = "fast"

[[scanner]]
name = "lit"
kind = "tcp"
listen = "0.0.0.0:9002"
lane = "lit"

[[lane]]
name = "fast"
indicator = { kind = "terminal" }

[[lane]]
name = "lit"

[indicator]
kind = "gpio"
driver = "gpiochip"
chip = "pinctrl-bcm2711"
green = 17
red = 27
amber = 22

[[source]]
name = "kandji"
kind = "kandji"
url = "http://127.0.0.1:8801"

[verdict]
deadline = "5s"
recheck = "15m"

[mqtt]
url = "mqtt://10.0.2.2:{broker}"
allow_plaintext = true
replay_per_second = 0
"""


def libraries(program):
    """The program's shared libraries and its loader."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", said)


def unpacked(linux, path):
    """The kernel unpacked, because unpacking itself under emulation at each boot is slow; packed if that fails."""
    data = linux.image.read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    packed = data[(data[0x1F1] + 1) * 512 + offset:][:length]
    if packed[:6] == b"\xfd7zXZ\0":
        path.write_bytes(lzma.LZMADecompressor().decompress(packed))
    elif packed[:4] == b"\x28\xb5\x2f\xfd" and shutil.which("zstd"):
        # Data after the packed kernel is not zstd, so zstd reports an error after it has written everything wanted.
        done = subprocess.run(["zstd", "-qdc"], input=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        path.write_bytes(done.stdout)
    else:
        return linux.image
    with open(path, "rb") as file:
        return path if file.read(4) == b"\x7fELF" else linux.image


class Boot:
    """What the small guest boots from; made for each run, because it contains the broker's port."""

    def __init__(self, broker):
        self.emulator, linux, _, program = guests.prepare()
        files = {"bin/busybox": linux.busybox, "init": guests.BENCH / "guest/cuts.sh",
                 "benchlight.toml": CONFIG.replace("{broker}", str(broker.port)).encode(), "etc/machine-id": MACHINE_ID}
        files.update({f"modules/{module.name}": module for module in linux.modules() if module.stem.partition("-")[2] in MODULES})
        self._folder = tempfile.TemporaryDirectory(prefix="small-", dir=CACHE)
        self.kernel = unpacked(linux, Path(self._folder.name) / "vmlinux")
        self.image = Path(self._folder.name) / "initramfs"
        initramfs(self.image, files)
        # Unpacking takes the emulated processor longer than reading. So would copying the program, which is therefore on a disk.
        self.image.write_bytes(gzip.decompress(self.image.read_bytes()))
        self.disk = Path(self._folder.name) / "program"
        with tempfile.TemporaryDirectory(prefix="benchlight-small-") as folder:
            shutil.copy(program, f"{folder}/benchlight")
            for path in libraries(program):
                shutil.copy(path, folder)
            apt.install(["e2fsprogs"], ["/usr/sbin/mkfs.ext4"], "the disks of the virtual station")
            subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", folder, self.disk, "128M"],
                           check=True, stdout=subprocess.DEVNULL)

    def remove(self):
        self._folder.cleanup()


@contextmanager
def outside(chance):
    """What survives a station's power cuts: (broker, card, what it boots from)."""
    with ExitStack() as ends:
        broker = Broker()
        ends.callback(broker.stop)
        card = Card(chance)
        ends.callback(card.remove)
        boot = Boot(broker)
        ends.callback(boot.remove)
        yield broker, card, boot


class Station:
    """A running small guest, as seen from outside."""

    def __init__(self, boot, card, cache, seconds=240, **words):
        self.ports = {"fast": free_port(), "lit": free_port()}
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{inside}" for port, inside in zip(self.ports.values(), (9001, 9002)))
        ports = []
        for number, name in enumerate(("answers", "orders", "rows"), 1):
            ports += ["-chardev", f"socket,id={name},path={{folder}}/{name},server=on,wait=off",
                      "-device", f"virtserialport,chardev={name},name={name},nr={number}"]
        self.machine = Machine([
            boot.emulator, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "256",
            *card.drive(cache), "-drive", f"file={boot.disk},format=raw,if=virtio,readonly=on", "-device", "virtio-net-pci,netdev=net,romfile=", "-netdev", f"user,id=net{forwards}",
            "-device", "virtio-serial-pci", *ports, "-kernel", str(boot.kernel), "-initrd", str(boot.image), "-append",
            f"{QUICK} console=ttyS0 quiet panic=-1 " + " ".join(f"{key}={value}" for key, value in words.items()),
        ], seconds)
        self.ended = threading.Event()
        self.listening = threading.Event()
        self.changed = threading.Condition()
        self.pins = None
        self.history = []  # (time, pins), each change
        self.answers = []  # (time, line): what the terminal lane printed
        self.rows = []
        self._done = []
        self.exit = None
        self.nul = None
        self.replica = None  # what the command says of its file before the agent starts
        try:
            self._links = {name: self.machine._connect(name) for name in ("answers", "orders", "rows")}
        except BaseException:
            self.machine.__exit__()
            raise
        for link in self._links.values():
            link.settimeout(None)
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True)
            for target, arguments in ((self._console, []), (self._lines, ["answers", self.answers]), (self._lines, ["rows", self.rows]))
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def cut(self):
        """Cut the power. What the machine had sent by then is still read."""
        self.machine.kill()
        for thread in self._threads:
            thread.join(20)
        for link in self._links.values():
            link.close()
        self.machine.__exit__()

    def _console(self):
        try:
            for line in self.machine.lines():
                if os.environ.get("BENCH_VERBOSE"):
                    print(f"    | {line}", flush=True)
                _, mark, text = line.partition("@@ ")
                word, _, rest = text.partition(" ")
                if not mark:
                    continue
                with self.changed:
                    if word == "pins" and re.fullmatch(r"[01] [01] [01]", rest):
                        self.pins = tuple(int(level) for level in rest.split())
                        self.history.append((time.monotonic(), self.pins))
                    elif word == "done":
                        self._done.append(rest)
                    elif word == "ended":
                        self.exit = rest
                    elif word == "nul" and re.fullmatch(r"\w+ \d+", rest):
                        self.nul = rest
                    elif word == "replica":
                        self.replica = rest
                    elif word == "note":
                        print(f"  {rest}", flush=True)
                    elif word == "listening":
                        self.listening.set()
                    self.changed.notify_all()
        except Exception as fault:  # noqa: BLE001 - the waiting side finds nothing and reports it
            print(f"  the console ends: {type(fault).__name__}", flush=True)
        finally:
            self.ended.set()
            with self.changed:
                self.changed.notify_all()

    def _lines(self, name, into):
        for line in self._links[name].makefile("r", encoding="utf-8", errors="replace", newline="\n"):
            if line.endswith("\n"):  # otherwise the cut truncated it
                with self.changed:
                    into.append((time.monotonic(), line.rstrip("\n")))
                    self.changed.notify_all()

    def until(self, condition, seconds):
        """Wait until something seen makes `condition` true; return its value, or None."""
        ends = time.monotonic() + seconds
        with self.changed:
            while True:
                found = condition()
                if found:
                    return found
                left = ends - time.monotonic()
                if left <= 0 or self.ended.is_set():
                    return None
                self.changed.wait(min(left, 0.5))

    def up(self, seconds=120):
        """Wait until the scanners' ports are open."""
        self.until(lambda: self.listening.is_set() or self.exit, seconds)
        return self.listening.is_set() and not self.ended.is_set() and self.exit is None

    def order(self, line, seconds=60):
        """Run a line of shell in the guest; return its exit code as text, or None if none came."""
        count = len(self._done)
        self._links["orders"].sendall(line.encode() + b"\n")
        return self.until(lambda: len(self._done) > count and self._done[count], seconds)

    def said(self, lines=25):
        """The end of the console, to find out what happened."""
        return "\n".join(self.machine.console[-lines:])

    def printed(self, serial, since=0):
        """The words of the terminal lane's answer to `serial`, if there is one after the first `since` answers."""
        for _, line in self.answers[since:]:
            words = line.split(" ", 4)
            if words[1:2] == [serial]:
                return words
        return None


