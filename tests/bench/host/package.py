"""The Debian package: what systemd/debian/install names and the program, packed by dpkg-deb."""

import functools
import gzip
import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import apt
from .cache import PROJECT, alone
from .cross import PACKAGED, TARGETS, NotBuilt, newest_glibc, packaged

DEBIAN = PROJECT / "systemd/debian"
SCRIPTS = ("postinst", "prerm", "postrm")


@functools.cache
def with_simulators():
    """Build the program of `cargo run --release` for this machine; return its path. BENCHLIGHT names another binary, for work on the bench."""
    if os.environ.get("BENCHLIGHT"):
        return Path(os.environ["BENCHLIGHT"]).resolve()
    with alone():
        return _own(["build", "--release", "--locked"]) / "release/benchlight"


def _own(arguments):
    try:
        subprocess.run(["nice", "-n", "10", "cargo", *arguments], cwd=PROJECT, check=True, timeout=3600)
    except subprocess.SubprocessError as fault:
        raise NotBuilt(f"the program cannot be built for this machine: {fault}") from None
    return PROJECT / "target"


def build(architecture, revision=1, out=PROJECT / "target/debian"):
    """Build the package for `arm64`, `armhf` or `native` in `out`; return its path. Another `revision` contains the same program, for upgrades."""
    out.mkdir(parents=True, exist_ok=True)
    # Another build would replace the program before it is packed.
    with alone(), tempfile.TemporaryDirectory(prefix="benchlight-package-") as folder:
        if architecture == "native":
            program, emulator = _own(PACKAGED) / "dist/benchlight", []
            architecture = apt.machine_architecture()
        else:
            target = TARGETS[architecture]
            program, emulator = packaged(target), target.emulator()
        version = f"{_version()}-{revision}"
        deb = out / f"benchlight_{version}_{architecture}.deb"
        _lay_out(Path(folder), program, emulator)
        _describe(Path(folder), version, architecture)
        # Not this machine's usual compression: Debian's dpkg has to read it.
        done = subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", folder, deb], capture_output=True, text=True)
    if done.returncode:
        raise NotBuilt(f"dpkg-deb: {done.stderr.strip()}")
    return deb


def _version():
    """The version in Cargo.toml as Debian sorts it: a pre-release comes before its release."""
    return re.search(r'^version = "(.+)"$', (PROJECT / "Cargo.toml").read_text(), re.MULTILINE)[1].replace("-", "~")


def _lay_out(folder, program, emulator):
    """The package's files in `folder`, as they will be on the Pi."""

    def put(place, content, mode=0o644):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)

    def said(*words):
        return subprocess.run([*emulator, program, *words], check=True, stdout=subprocess.PIPE).stdout

    for line in (DEBIAN / "install").read_text().splitlines():
        pattern, place = line.split()
        found = [path for path in PROJECT.glob(pattern) if path.is_file()]
        if not found:
            raise NotBuilt(f"systemd/debian/install names {pattern}, which is not there")
        for path in found:
            put(f"{place}/{path.name}", path.read_bytes())
    put("usr/bin/benchlight", program.read_bytes(), 0o755)
    put("usr/share/man/man1/benchlight.1.gz", gzip.compress(said("man"), mtime=0))
    put("usr/share/bash-completion/completions/benchlight", said("completions", "bash"))
    put("usr/share/zsh/vendor-completions/_benchlight", said("completions", "zsh"))
    put("usr/share/fish/vendor_completions.d/benchlight.fish", said("completions", "fish"))


def _describe(folder, version, architecture):
    """What dpkg wants to know of the files in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    control = folder / "DEBIAN"
    control.mkdir()
    more = f"Version: {version}\nArchitecture: {architecture}\nInstalled-Size: {size}\n"
    (control / "control").write_text((DEBIAN / "control").read_text() + more)
    (control / "conffiles").write_text("".join(f"/{path.relative_to(folder)}\n" for path in files if path.is_relative_to(folder / "etc")))
    for script in SCRIPTS:
        (control / script).write_bytes((DEBIAN / script).read_bytes())
        (control / script).chmod(0o755)
    # Whatever this machine's umask is.
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


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
    for script in SCRIPTS:
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
