"""A Debian system for arm64 with systemd, as a Raspberry Pi has it, made once on this machine."""

import os
import shutil
import subprocess
from pathlib import Path

from . import apt
from .cross import CACHE

# Raspberry Pi OS is Debian with a kernel of its own; bookworm is the oldest that the package supports.
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,udev,dbus,kmod,ca-certificates,mosquitto,mosquitto-clients,python3,iproute2,sudo,fdisk,e2fsprogs"
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def root():
    """The folder with the system's files."""
    home = CACHE / "debian-arm64"
    if (home / "complete").exists() and (home / "complete").read_text() == PACKAGES:
        return home / "root"
    if os.geteuid() != 0:
        raise apt.Unavailable("making a Debian system needs root (debootstrap)")
    apt.install(CACHE / "apt-host", ["debootstrap"], ["debootstrap"], "making a Debian system for arm64")
    apt.install(CACHE / "apt-host", ["qemu-user-static"], ["qemu-aarch64-static"], "running its installation", suite="bookworm-backports")
    subprocess.run(["umount", "--quiet", "--lazy", str(home / "root/proc")], capture_output=True)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    print(f"making Debian {SUITE} for arm64 (some minutes, once)", flush=True)
    registered = _foreign_programs()
    try:
        done = subprocess.run(
            ["nice", "-n", "10", "debootstrap", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", f"--keyring={apt.KEYRING}",
             SUITE, str(home / "root"), apt.mirror()], capture_output=True, text=True, timeout=5400,
        )
    except subprocess.TimeoutExpired:
        raise apt.Unavailable("debootstrap took longer than an hour and a half") from None
    finally:
        if registered:
            (BINFMT / "qemu-aarch64").write_text("-1")
        # Left mounted where it was broken off: the files must be free to be removed.
        subprocess.run(["umount", "--quiet", "--lazy", str(home / "root/proc")], capture_output=True)
    if done.returncode:
        raise apt.Unavailable("debootstrap failed: " + " / ".join(done.stdout.splitlines()[-3:]))
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(home / "root" / folder, ignore_errors=True)
    (home / "root/etc/hostname").write_text("raspberrypi\n")
    (home / "root/etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 raspberrypi\n")
    (home / "complete").write_text(PACKAGES)
    return home / "root"


def _foreign_programs():
    """Let this machine start arm64 programs; True when it could not before."""
    if not (BINFMT / "register").exists():
        done = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True)
        if done.returncode:
            raise apt.Unavailable("this machine's kernel cannot start arm64 programs (binfmt_misc)")
    if (BINFMT / "qemu-aarch64").exists():
        return False
    (BINFMT / "register").write_bytes(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes().strip())
    return True
