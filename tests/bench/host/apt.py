"""Debian packages for the bench, installed on this machine or only unpacked into the bench's cache.

The bench needs packages from suites that this machine does not use (a kernel with gpio-sim, QEMU without
the conflict of bookworm's, rust-src of exactly the compiler's version). They are fetched with a
separate apt state; /etc/apt is not changed.
"""

import glob
import os
import re
import shutil
import subprocess
from pathlib import Path

from .cache import CACHE, alone

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):
    """Something that the bench needs is not available here; the text says what and why."""


def codename():
    """Debian's name for this machine's release."""
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return ""


def emulators():
    """The suite to take QEMU from, or None for this machine's own.

    bookworm's qemu-system conflicts with a newer qemu-utils and would remove it.
    """
    return "bookworm-backports" if codename() == "bookworm" else None


def mirror():
    """The Debian mirror this machine uses, else Debian's own."""
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for line in Path(path).read_text().splitlines():
            if line.startswith("URIs:") and "debian" in line and "security" not in line:
                return line.split()[1]
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(path):
            for line in Path(path).read_text().splitlines():
                found = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S*debian\S*)\s", line)
                if found and "security" not in found[1]:
                    return found[1]
    return "http://deb.debian.org/debian"


def machine_architecture():
    """Debian's name for this machine's architecture."""
    if not shutil.which("dpkg"):
        raise Unavailable("dpkg is not here: the bench runs on Debian (12 or later)")
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def _run(command, **more):
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, **more)
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{command[0]} {command[-1]} took longer than {late.timeout:.0f} s") from None


def _last(done, lines=2):
    """The end of a command's error output."""
    return " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-lines:])


class Suites:
    """A separate apt state for `suites` and one architecture: it can look up and download, not install."""

    def __init__(self, home, suites, architecture):
        if not os.path.exists(KEYRING):
            raise Unavailable(f"{KEYRING} is missing: install debian-archive-keyring")
        home = Path(home).resolve()
        for folder in ("lists/partial", "archives/partial", "state"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "state/status").touch()
        (home / "sources.list").write_text(
            "".join(f"deb [arch={architecture} signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in suites)
        )
        self._options = []
        for option in (
            f"Dir::Etc::sourcelist={home}/sources.list", "Dir::Etc::sourceparts=-", "Dir::Etc::preferencesparts=-",
            f"Dir::State::lists={home}/lists", f"Dir::State::status={home}/state/status",
            f"Dir::Cache::archives={home}/archives", "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=",
            f"APT::Architecture={architecture}", f"APT::Architectures={architecture}",
            f"APT::Architectures::={architecture}", "APT::Sandbox::User=root", "Acquire::Languages=none",
        ):
            self._options += ["-o", option]
        self._names = ", ".join(suites)
        done = _run(["apt-get", *self._options, "-qq", "--error-on=any", "update"], timeout=300)
        if done.returncode:
            raise Unavailable(f"no package lists of {self._names}: {_last(done)}")

    def fields(self, package):
        """The control fields of the newest version of `package`, empty when there is none."""
        done = _run(["apt-cache", *self._options, "show", "--no-all-versions", package], timeout=60)
        return dict(re.findall(r"^([A-Z][\w-]*): (.*)$", done.stdout, re.M))

    def versions(self, package):
        """Every version of `package` in the suites."""
        done = _run(["apt-cache", *self._options, "madison", package], timeout=60)
        return [line.split("|")[1].strip() for line in done.stdout.splitlines() if "|" in line]

    def unpack(self, packages, into, only=None):
        """Download `packages` and unpack them under `into` (`only`: a tar pattern)."""
        into = Path(into)
        into.mkdir(parents=True, exist_ok=True)
        fetched = into / ".debs"
        fetched.mkdir(exist_ok=True)
        done = _run(["apt-get", *self._options, "-qq", "download", *packages], cwd=fetched, timeout=900)
        if done.returncode:
            raise Unavailable(f"cannot download {' '.join(packages)} from {self._names}: {done.stderr.strip()}")
        for deb in sorted(fetched.glob("*.deb")):
            if only:
                data = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
                subprocess.run(["tar", "-x", "-C", into, "--wildcards", only], stdin=data.stdout, check=True)
                data.wait()
            else:
                subprocess.run(["dpkg-deb", "-x", deb, into], check=True)
        shutil.rmtree(fetched)


def _missing(commands):
    return [name for name in commands if not (shutil.which(name) or os.path.exists(name))]


def install(packages, commands, why, suite=None):
    """Make `commands` available by installing `packages` (from `suite`, if this machine's own is not suitable)."""
    if _missing(commands):
        with alone():
            _install(packages, commands, why, suite)


def _install(packages, commands, why, suite):
    missing = _missing(commands)
    if not missing:  # another part of the bench has just done it
        return
    wanted = "apt-get install " + (f"-t {suite} " if suite else "") + " ".join(packages)
    if os.geteuid() != 0:
        raise Unavailable(f"{', '.join(missing)} missing ({why}); as root: {wanted}")
    machine_architecture()
    options = ["-o", "APT::Install-Recommends=0", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Languages=none"]
    if suite:
        # This machine's own sources and one more suite, with separate package lists.
        home = CACHE / "apt-host"
        (home / "sources.d").mkdir(parents=True, exist_ok=True)
        (home / "lists/partial").mkdir(parents=True, exist_ok=True)
        for source in glob.glob("/etc/apt/sources.list.d/*"):
            shutil.copy(source, home / "sources.d")
        (home / "sources.d/bench.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        for option in (f"Dir::Etc::sourceparts={home}/sources.d", f"Dir::State::lists={home}/lists",
                       "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="):
            options += ["-o", option]
    print(f"installing {' '.join(packages)}: {why}", flush=True)
    updated = _run(["apt-get", *options, "-qq", "--error-on=any", "update"], timeout=300)
    if updated.returncode:
        # The packages may be known anyway.
        print(f"apt-get update failed: {_last(updated)}", flush=True)
    target = ["-t", suite] if suite else []
    done = _run(["apt-get", *options, "-y", "-qq", *target, "install", *packages], timeout=900)
    still = _missing(missing)
    if done.returncode or still:
        raise Unavailable(f"{', '.join(still or missing)} missing ({why}); {wanted} failed: {_last(done)}")
