"""Debian with systemd on a virtual Raspberry Pi, with the package and docs/install.md: four boots from one card."""

import shutil
import subprocess

from . import apt, cross, guests, package
from .card import disk
from .cache import CACHE, PROJECT

# guest/systemd_pi.py says what the guest does in each of them. The third puts an overlay in memory over the card, as overlayroot does.
LIVES = (("install", ""), ("reboot", ""), ("readonly", "read-only-root"), ("end", ""))
SECONDS = 2400


def systemd(results):
    """Install, use, reboot, use a read-only root, upgrade, remove."""
    apt.install(["e2fsprogs"], ["/usr/sbin/mkfs.ext4"], "the card of the virtual Pi")
    folder = CACHE / "packages-arm64"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for revision in (1, 2):
        package.build("arm64", revision, folder)
    # The package has no simulators.
    shutil.copy(cross.with_simulators(cross.TARGETS["arm64"]), folder / "with-simulators")
    shutil.copy(PROJECT / "docs/install.md", folder)
    card, data = disk("pi-card.img", 1024), CACHE / "pi-data.img"
    data.unlink(missing_ok=True)
    subprocess.run(["truncate", "-s", "256M", data], check=True)
    try:
        for life, words in LIVES:
            with guests.boot_debian("systemd_pi", SECONDS, card, folder, f"life={life} {words}", data) as machine:
                if not guests.follow(machine, f"systemd, {life}", results):
                    break
    finally:
        card.unlink(missing_ok=True)
        data.unlink(missing_ok=True)
