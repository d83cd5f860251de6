"""The Debian package, which cargo-deb makes from the metadata in Cargo.toml."""

import functools
import gzip
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import apt
from .cache import CACHE, PROJECT, alone
from .cross import PACKAGED, SIMULATORS, TARGETS, NotBuilt, apart, newest_glibc, packaged

# A fixed version, so that the package does not change with the tool.
CARGO_DEB = "3.8.0"
# What is packaged, without the optimisation over all crates.
RELEASE = ["build", "--release", "--locked", "--no-default-features"]


def _cargo_deb():
    """cargo-deb, from the machine or built once into the bench's cache."""
    found = shutil.which("cargo-deb")
    own = CACHE / "tools/bin/cargo-deb"
    if found:
        return found
    if not own.exists():
        with alone():
            _build_cargo_deb(own)
    return str(own)


def _build_cargo_deb(own):
    if not own.exists():
        print(f"building cargo-deb {CARGO_DEB}", flush=True)
        done = subprocess.run(["nice", "-n", "10", "cargo", "install", "--quiet", "--locked", f"cargo-deb@{CARGO_DEB}", "--root", str(CACHE / "tools")])
        if done.returncode:
            raise apt.Unavailable("cargo-deb cannot be built; cargo install cargo-deb says why")


@functools.cache
def with_simulators():
    """Build the program with `benchlight simulate` for this machine; return its path. BENCHLIGHT names another binary, for work on the bench."""
    if os.environ.get("BENCHLIGHT"):
        return Path(os.environ["BENCHLIGHT"]).resolve()
    with alone():
        return apart(_own([*RELEASE, *SIMULATORS]) / "release/benchlight", "native")


def _own(arguments):
    try:
        subprocess.run(["nice", "-n", "10", "cargo", *arguments], cwd=PROJECT, check=True, timeout=3600)
    except subprocess.SubprocessError as fault:
        raise NotBuilt(f"the program cannot be built for this machine: {fault}") from None
    return PROJECT / "target"


def _pages(program):
    """The manual page and the completions for the packages."""
    into = PROJECT / "target/package"
    into.mkdir(parents=True, exist_ok=True)
    for words, name in ((["man"], "benchlight.1"), (["completions", "bash"], "benchlight.bash"),
                        (["completions", "zsh"], "_benchlight"), (["completions", "fish"], "benchlight.fish")):
        (into / name).write_bytes(subprocess.run([program, *words], check=True, stdout=subprocess.PIPE).stdout)


def build(architecture, revision=1, out=PROJECT / "target/debian"):
    """Build the package for `arm64`, `armhf` or `native` in `out`; return its path. Another `revision` contains the same program, for upgrades."""
    program = _cargo_deb()
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["--profile", "dist"]
    # Another build would replace the program before it is packed.
    with alone():
        if architecture != "native":
            own = _own(RELEASE) / "release/benchlight"
            packaged(TARGETS[architecture])
            arguments += ["--target", TARGETS[architecture].triple]
        else:
            own = _own(PACKAGED) / "dist/benchlight"
            architecture = apt.machine_architecture()
        _pages(own)
        # The profile strips already, and this machine's strip cannot read the Pi's binaries.
        done = subprocess.run(
            [program, "deb", "--no-build", "--no-strip", "--locked", "--deb-revision", str(revision), "--output", str(out), *arguments],
            cwd=PROJECT, env=dict(os.environ, PATH=f"{CACHE}/tools/bin:{os.environ['PATH']}"), capture_output=True, text=True,
        )
    if done.returncode:
        raise NotBuilt(f"cargo-deb: {done.stderr.strip()}")
    return max(out.glob(f"benchlight_*-{revision}_{architecture}.deb"), key=lambda path: path.stat().st_mtime)


# Every file of the package, with its mode. All are owned by root.
FILES = {
    "usr/bin/benchlight": 0o755,
    "etc/benchlight/benchlight.toml": 0o644,
    "usr/lib/systemd/system/benchlight.service": 0o644,
    "usr/lib/sysusers.d/benchlight.conf": 0o644,
    "usr/lib/tmpfiles.d/benchlight.conf": 0o644,
    "usr/lib/udev/rules.d/70-benchlight.rules": 0o644,
    "usr/share/man/man1/benchlight.1.gz": 0o644,
    "usr/share/bash-completion/completions/benchlight": 0o644,
    "usr/share/zsh/vendor-completions/_benchlight": 0o644,
    "usr/share/fish/vendor_completions.d/benchlight.fish": 0o644,
    "usr/share/doc/benchlight/copyright": 0o644,
}
DOCUMENTS = "usr/share/doc/benchlight/"
# The ELF header's processor numbers.
PROCESSORS = {"amd64": 62, "arm64": 183, "armhf": 40}
BYTES = 15_000_000
GLIBC = (2, 36)


def inspect(deb, check):
    """Check the contents of a package; `check(promise, held, found)` is called for each promise."""
    with tempfile.TemporaryDirectory(prefix="benchlight-deb-") as work:
        _inspect(deb, Path(work), check)


def _inspect(deb, work, check):
    control = {}
    for line in subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout.splitlines():
        if not line.startswith(" "):
            name, _, control[name] = line.partition(": ")
        else:
            control[name] += "\n" + line
    architecture = control["Architecture"]

    def said(promise, held, found=""):
        check(f"package {architecture}: {promise}", held, found)

    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    subprocess.run(["dpkg-deb", "-x", deb, work / "files"], check=True)
    files = {member.name.removeprefix("./"): member for member in members if not member.isdir()}
    missing = [name for name, mode in FILES.items() if name not in files or files[name].mode != mode]
    stray = [name for name in files if name not in FILES and not name.startswith(DOCUMENTS)]
    said("program, unit, rules, config, manual and completions are in it, with their modes, and nothing else", not missing and not stray, (missing, stray))
    foreign = [member.name for member in members if (member.uid, member.gid) != (0, 0)]
    said("everything belongs to root", not foreign, foreign)
    folders = [member.name for member in members if member.isdir() and member.mode != 0o755]
    said("folders are 0755; no links, no device files", not folders and all(member.isfile() for member in files.values()), folders)
    wanted = {DOCUMENTS + "install.md", DOCUMENTS + "operating.md", DOCUMENTS + "examples/one-bench.toml", DOCUMENTS + "examples/mosquitto/acl", DOCUMENTS + "examples/collector.py", DOCUMENTS + "examples/node-red/flow.json", DOCUMENTS + "schema/scan.json", DOCUMENTS + "LICENSE-MIT", DOCUMENTS + "LICENSE-APACHE"}
    said("documents and examples are in it", wanted <= set(files), wanted - set(files))

    program = work / "files/usr/bin/benchlight"
    binary = program.read_bytes()
    said(f"the program is under {BYTES // 1_000_000} MB", len(binary) < BYTES, len(binary))
    said("the program is for this architecture", binary[:4] == b"\x7fELF" and int.from_bytes(binary[18:20], "little") == PROCESSORS[architecture])
    said("the demo and its broker are left out", b"Try all of it with nothing else installed" not in binary)
    said(f"the program asks for the C library of Debian 12 at most (GLIBC {GLIBC[0]}.{GLIBC[1]})", newest_glibc(program) <= GLIBC, newest_glibc(program))

    subprocess.run(["dpkg-deb", "-e", deb, work / "control"], check=True)
    conffiles = (work / "control/conffiles").read_text().split()
    said("what is in /etc is a conffile, kept at an upgrade", conffiles == ["/" + name for name in files if name.startswith("etc/")], conffiles)
    for script in ("postinst", "prerm", "postrm"):
        path = work / "control" / script
        text = path.read_text()
        syntax = subprocess.run(["sh", "-n", path], capture_output=True, text=True)
        said(f"{script} is a shell script that stops at the first fault", text.startswith("#!/bin/sh\n") and "\nset -e\n" in text
             and syntax.returncode == 0 and path.stat().st_mode & 0o777 == 0o755, syntax.stderr)
    depends = [part.strip().split()[0] for part in control["Depends"].split(",")]
    said("depends on the C library and on the trust anchors", {"libc6", "libgcc-s1", "ca-certificates"} == set(depends), depends)
    synopsis = control["Description"].splitlines()[0]
    said("is described in one line of less than 80 characters, and in a paragraph",
         20 < len(synopsis) < 80 and not synopsis.startswith(("A ", "The ", "benchlight")) and len(control["Description"].splitlines()) > 2, control["Description"])
    said("names a maintainer, a section and a size", "@" in control["Maintainer"] and control["Section"] and int(control["Installed-Size"]) > 1000, control)
    said("names its licence", "License: MIT or Apache-2.0" in (work / "files" / DOCUMENTS / "copyright").read_text())

    for name, source in (("usr/lib/systemd/system/benchlight.service", "systemd/benchlight.service"), ("etc/benchlight/benchlight.toml", "config/benchlight.toml"),
                         ("usr/lib/sysusers.d/benchlight.conf", "systemd/sysusers.d/benchlight.conf"), ("usr/lib/tmpfiles.d/benchlight.conf", "systemd/tmpfiles.d/benchlight.conf"),
                         ("usr/lib/udev/rules.d/70-benchlight.rules", "systemd/udev/70-benchlight.rules")):
        said(f"{name} is the project's own", (work / "files" / name).read_bytes() == (PROJECT / source).read_bytes())
    manual = gzip.decompress((work / "files/usr/share/man/man1/benchlight.1.gz").read_bytes()).decode()
    said("the manual page is one, and names every command", ".TH" in manual and all(word in manual for word in ("run", "lookup", "doctor", "journal", "lamps", "explain")), manual[:200])
    completions = [(work / "files" / name).read_text() for name in FILES if "completions" in name]
    said("the completions know the commands", len(completions) == 3 and all("doctor" in text and "lookup" in text for text in completions))
