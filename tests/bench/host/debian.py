"""A Debian system for arm64 with systemd, as on a Raspberry Pi, made once on this machine."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

from . import apt
from .cache import CACHE, alone
from .vm import LEASH

# Raspberry Pi OS is Debian with its own kernel; bookworm is the oldest release that the package supports.
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,udev,dbus,kmod,ca-certificates,mosquitto,mosquitto-clients,python3,iproute2,sudo,fdisk,e2fsprogs"
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def root():
    """The folder with the system's files."""
    home = CACHE / "debian-arm64"

    def complete():
        return (home / "complete").exists() and (home / "complete").read_text() == PACKAGES

    if not complete():
        if os.geteuid() != 0:
            raise apt.Unavailable("making a Debian system needs root (debootstrap)")
        with alone():
            if not complete():
                _make(home)
    return home / "root"


def _make(home):
    apt.install(["debootstrap"], ["debootstrap"], "making a Debian system for arm64")
    apt.install(["qemu-user-static"], ["qemu-aarch64-static"], "running its installation", suite=apt.emulators())
    _unmount(home)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print(f"making Debian {SUITE} for arm64 (some minutes, once)", flush=True)
    try:
        with _foreign_programs():
            code, said = _debootstrap(home / "root")
    finally:
        # An interrupted run leaves this mounted, but the files must be removable.
        _unmount(home)
    if code:
        raise apt.Unavailable("debootstrap failed: " + " / ".join(said.splitlines()[-3:]))
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(home / "root" / folder, ignore_errors=True)
    (home / "root/etc/hostname").write_text("raspberrypi\n")
    (home / "root/etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 raspberrypi\n")
    (home / "complete").write_text(PACKAGES)


def _debootstrap(root):
    """Run a command; return its exit code and output. All its processes end with it, whatever ends it."""
    process = subprocess.Popen(
        [*LEASH, "nice", "-n", "10", "debootstrap", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", f"--keyring={apt.KEYRING}",
         SUITE, str(root), apt.mirror()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=5400)
    except BaseException as fault:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(fault, subprocess.TimeoutExpired):
            raise apt.Unavailable("debootstrap took longer than an hour and a half") from None
        raise
    return process.returncode, said


def _unmount(home):
    """Unmount whatever is mounted below `home`, the deepest first."""
    for folder in reversed(_mounted(home)):
        subprocess.run(["umount", "--lazy", folder], capture_output=True)
    left = _mounted(home)
    if left:
        raise apt.Unavailable(f"{', '.join(left)} is mounted and cannot be unmounted: so {home} cannot be made anew")


def _mounted(home):
    places = [line.split()[4].replace("\\040", " ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{home}/")]


@contextlib.contextmanager
def _foreign_programs():
    """Let this machine run arm64 programs, if it cannot yet."""
    with contextlib.ExitStack() as undo:
        if not (BINFMT / "register").exists():
            done = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True)
            if done.returncode:
                raise apt.Unavailable("this machine's kernel cannot start arm64 programs (binfmt_misc)")
            undo.callback(subprocess.run, ["umount", str(BINFMT)], capture_output=True)
        if not (BINFMT / "qemu-aarch64").exists():
            (BINFMT / "register").write_bytes(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes().strip())
            undo.callback((BINFMT / "qemu-aarch64").write_text, "-1")
        yield
