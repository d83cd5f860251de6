"""Debian's packages for the bench: installed on this machine, or only unpacked into its cache.

The bench needs packages of suites that the machine does not follow (a kernel with gpio-sim, QEMU without
the conflict that bookworm's own has, rust-src of exactly the compiler's version). They are fetched with an
apt state of their own; /etc/apt stays as it is.
"""

import glob
import os
import re
import shutil
import subprocess
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):
    """Something the bench needs cannot be had here; the text says what and why."""


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
    """Debian's name of this machine's architecture."""
    if not shutil.which("dpkg"):
        raise Unavailable("dpkg is not here: the bench runs on Debian (12 or later)")
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def _run(command, **more):
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    return subprocess.run(command, env=env, capture_output=True, text=True, **more)


class Suites:
    """An apt state of its own for `suites` and one architecture: it can look up and download, not install."""

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
        done = _run(["apt-get", *self._options, "-qq", "update"], timeout=300)
        if done.returncode:
            raise Unavailable(f"no package lists of {self._names}: {done.stderr.strip().splitlines()[-1:]}")

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


def install(home, packages, commands, why, suite=None):
    """Make `commands` available by installing `packages` (from `suite`, when this machine's own will not do)."""
    missing = [name for name in commands if not (shutil.which(name) or os.path.exists(name))]
    if not missing:
        return
    wanted = "apt-get install " + (f"-t {suite} " if suite else "") + " ".join(packages)
    if os.geteuid() != 0:
        raise Unavailable(f"{', '.join(missing)} missing ({why}); as root: {wanted}")
    machine_architecture()
    options = ["-o", "APT::Install-Recommends=0", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Languages=none"]
    if suite:
        # The machine's own sources and one suite more, with package lists of their own.
        home = Path(home).resolve()
        (home / "sources.d").mkdir(parents=True, exist_ok=True)
        (home / "lists/partial").mkdir(parents=True, exist_ok=True)
        for source in glob.glob("/etc/apt/sources.list.d/*"):
            shutil.copy(source, home / "sources.d")
        (home / "sources.d/bench.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        for option in (f"Dir::Etc::sourceparts={home}/sources.d", f"Dir::State::lists={home}/lists",
                       "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="):
            options += ["-o", option]
    print(f"installing {' '.join(packages)}: {why}", flush=True)
    _run(["apt-get", *options, "-qq", "update"], timeout=300)
    target = ["-t", suite] if suite else []
    done = _run(["apt-get", *options, "-y", "-qq", *target, "install", *packages], timeout=900)
    still = [name for name in missing if not (shutil.which(name) or os.path.exists(name))]
    if done.returncode or still:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-2:]
        raise Unavailable(f"{', '.join(still or missing)} missing ({why}); {wanted} failed: {' '.join(last)}")
