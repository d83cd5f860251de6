"""The guests of the bench: an x86_64 machine on this machine's own files, and what it prints on its console."""

import json
import os
import platform
import shutil
import sys

from . import apt, broker, debian, package
from .cache import CACHE, PROJECT, alone
from .kernel import initramfs, kernel
from .vm import Machine, TimeOut

BENCH = PROJECT / "tests/bench"

# Options for how time passes in the x86_64 guest.
OWN = ["-accel", "tcg,thread=multi", "-smp", "2"]
# One processor whose time is counted in instructions, two nanoseconds each, so that load on this machine makes nothing in the guest late.
COUNTED = ["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=1"]
# Also skip time in which everything in the guest waits. Not for a guest that waits for this machine.
JUMPING = [*COUNTED[:-1], "shift=1,sleep=off"]


class Results:
    """The assertions, passed and failed."""

    def __init__(self):
        self.skipped = 0
        self.parts = {}
        self.figures = {}
        self.failures = []
        self._part = ""

    def begin(self, part):
        """Count the following results for this part."""
        self._part = part

    def given(self):
        """All results, for `take` in another process."""
        return {"skipped": self.skipped, "parts": self.parts, "figures": self.figures, "failures": self.failures}

    def take(self, given):
        """Add the results of another process."""
        self.skipped += given["skipped"]
        self.parts.update(given["parts"])
        self.figures.update(given["figures"])
        self.failures += given["failures"]

    @property
    def passed(self):
        return sum(passed for passed, _ in self.parts.values())

    @property
    def failed(self):
        return sum(failed for _, failed in self.parts.values())

    def check(self, promise, held, found=""):
        self.count(int(bool(held)), int(not held))
        if held:
            print(f"  ok    {promise}", flush=True)
        else:
            self.failures.append(promise)
            print(f"  FAIL  {promise}", flush=True)
            for line in str(found).splitlines():
                print(f"        {line}", flush=True)
        return held

    def count(self, passed, failed):
        """Add assertions that another program has counted."""
        before = self.parts.get(self._part, (0, 0))
        self.parts[self._part] = (before[0] + passed, before[1] + failed)

    def skip(self, part, why):
        self.skipped += 1
        print(f"  SKIP  {part}: {why}", flush=True)

    def figure(self, name, value):
        self.figures.setdefault(self._part, {})[name] = value
        print(f"  {name}: {value}", flush=True)


def emulator(name):
    """QEMU's system emulator, installed if missing."""
    package = {"qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm"}[name]
    apt.install([package], [name], "the virtual machines", suite=apt.emulators())
    return name


def _udev():
    """udev's programs and rules, put over the guest's root, because this machine may have none."""
    home = CACHE / "udev"
    if not (home / "complete").exists():
        with alone():
            _fetch_udev(home)
    return home


def _fetch_udev(home):
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        suites = apt.Suites(CACHE / "apt" / "own", [apt.codename() or "bookworm"], apt.machine_architecture())
        suites.unpack(["udev", "libkmod2", "libacl1", "libblkid1", "libcap2", "libselinux1", "libpcre2-8-0"], home)
        # The root has its programs and libraries under /usr: a folder in place of its links would hide them.
        for folder in ("lib", "bin", "sbin"):
            if (home / folder).exists():
                shutil.copytree(home / folder, home / "usr" / folder, symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(home / folder)
        (home / "complete").touch()


def prepare():
    """Fetch and build once what every x86_64 guest needs."""
    if platform.machine() != "x86_64":
        raise apt.Unavailable("this guest runs on this machine's own files and needs an x86_64 machine")
    broker.install()
    return emulator("qemu-system-x86_64"), kernel("amd64"), _udev(), package.with_simulators()


def run_part(part, results, seconds, extra=(), words="", on_line=None, clock=OWN):
    """Boot the x86_64 guest, run `guest/<part>.py` in it and read its results; True if it finished."""
    with boot(part, seconds, extra, words, clock) as machine:
        return follow(machine, part, results, on_line)


def boot(part, seconds, extra=(), words="", clock=OWN):
    """The x86_64 guest that runs `guest/<part>.py`; `words` are added to its kernel command line."""
    qemu, linux, udev, program = prepare()
    image = CACHE / f"guest-amd64-{part}.img"
    _image(image, linux, UDEV=1, PYTHON=os.path.realpath(sys.executable), BENCH=BENCH, PROJECT=PROJECT, BENCHLIGHT=program)
    arguments = [
        qemu, "-M", "q35", *clock, "-cpu", "max", "-m", "1024", *_share("root", "/"), *_share("udev", udev),
        "-device", "qemu-xhci,id=xhci", *extra, "-kernel", str(linux.image), "-initrd", str(image),
        "-append", f"console=ttyS0 quiet panic=-1 bench={part} {words}",
    ]
    return Machine(arguments, seconds)


def boot_debian(part, seconds, card, packages, words="", data=None):
    """Debian for arm64 with systemd on a virtual board. Its writes stay on `card`; `data` is its second disk."""
    qemu, linux, files = emulator("qemu-system-aarch64"), kernel("arm64"), debian.root()
    image = CACHE / "guest-arm64.img"
    _image(image, linux, SYSTEMD=1, CARD=1)
    arguments = [
        qemu, "-M", "virt", "-accel", "tcg,thread=multi", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024",
        *_share("root", files), *_share("bench", BENCH), *_share("packages", packages),
        # Power cuts are another part. Here a busy disk of this machine must not look like a bad card.
        *[word for disk in (card, data) if disk for word in ("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe")],
        "-kernel", str(linux.image), "-initrd", str(image),
        "-append", f"console=ttyAMA0 quiet panic=-1 systemd.show_status=0 systemd.mask=serial-getty@ttyAMA0.service bench={part} {words}",
    ]
    return Machine(arguments, seconds)


def _share(tag, folder):
    return ["-virtfs", f"local,path={folder},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]


def _image(path, linux, **environment):
    """What a guest boots from: its first process, the modules, and parameters for the first process."""
    files = {"bin/busybox": linux.busybox, "init": BENCH / "guest/init",
             "bench.env": "".join(f'{key}="{value}"\n' for key, value in environment.items()).encode()}
    files.update({f"modules/{module.name}": module for module in linux.modules()})
    initramfs(path, files)


def follow(machine, part, results, on_line=None):
    """Read a guest's results until its end; True if it got there."""
    ended = False
    try:
        for line in machine.lines():
            if os.environ.get("BENCH_VERBOSE"):
                print(f"    | {line}", flush=True)
            at = line.find("@@ ")
            if at < 0:
                continue
            text = line[at + 3:]
            if text.startswith("note "):
                print(f"  {text[5:]}", flush=True)
            elif text.startswith("reboot"):
                ended = True  # the machine ends here, its part does not
            elif text.startswith("end"):
                ended = text.split()[1:2] in ([], ["0"])
                if not ended:
                    results.check(f"{part}: the guest ran to its end", False, "\n".join(machine.console[-25:]))
                    ended = True
                break
            elif text.startswith("{"):
                _said(machine, json.loads(text), results)
            if on_line:
                on_line(machine, text)
    except TimeOut as last:
        results.check(f"{part}: done in its time", False, last)
        return False
    if not ended:
        results.check(f"{part}: the guest ran to its end", False, "\n".join(machine.console[-25:]))
    return ended


def _said(machine, said, results):
    match said["kind"]:
        case "check":
            results.check(said["promise"], said["held"], said["found"])
        case "note":
            print(f"  {said['text']}", flush=True)
        case "figure":
            results.figure(said["name"], said["value"])
        case "ask" if said["what"] == "monitor":
            machine.monitor(said["line"])
        case "ask" if said["what"] == "send":
            machine.send(said["socket"], said["text"].encode())
