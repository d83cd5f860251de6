"""The Debian package, made by cargo-deb from the metadata in Cargo.toml."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

from . import apt
from .cross import CACHE, PROJECT, TARGETS, cargo, standard_library, tools

# Kept to one version, so that a package does not change because a tool did.
CARGO_DEB = "3.8.0"
FEATURES = ["--release", "--locked", "--no-default-features"]


def _cargo_deb():
    """cargo-deb, from the machine or built once into the bench's cache."""
    found = shutil.which("cargo-deb")
    own = CACHE / "tools/bin/cargo-deb"
    if found:
        return found
    if not own.exists():
        print(f"building cargo-deb {CARGO_DEB}", flush=True)
        done = subprocess.run(["nice", "-n", "10", "cargo", "install", "--quiet", "--locked", f"cargo-deb@{CARGO_DEB}", "--root", str(CACHE / "tools")])
        if done.returncode:
            raise apt.Unavailable("cargo-deb cannot be built; cargo install cargo-deb says why")
    return str(own)


@functools.cache
def native():
    """This machine's own build of what is packaged; its path. BENCHLIGHT names another one, for work on the bench."""
    if os.environ.get("BENCHLIGHT"):
        return Path(os.environ["BENCHLIGHT"]).resolve()
    subprocess.run(["nice", "-n", "10", "cargo", "build", *FEATURES], cwd=PROJECT, check=True, timeout=3600)
    return PROJECT / "target/release/benchlight"


def _pages(program):
    """The manual page and the completions, as packages carry them."""
    into = PROJECT / "target/package"
    into.mkdir(parents=True, exist_ok=True)
    for words, name in ((["man"], "benchlight.1"), (["completions", "bash"], "benchlight.bash"),
                        (["completions", "zsh"], "_benchlight"), (["completions", "fish"], "benchlight.fish")):
        (into / name).write_bytes(subprocess.run([program, *words], check=True, stdout=subprocess.PIPE).stdout)


def build(architecture):
    """The package for `arm64`, `armhf` or `native`; its path."""
    program = _cargo_deb()
    _pages(native())
    arguments = []
    if architecture != "native":
        target = TARGETS[architecture]
        tools([target])
        if cargo(target, standard_library([target]), ["build", *FEATURES]):
            raise SystemExit(1)
        arguments = ["--target", target.triple]
    else:
        architecture = apt.machine_architecture()
    out = PROJECT / "target/debian"
    out.mkdir(exist_ok=True)
    # Stripping is the release profile's business, and this machine's strip does not know the Pi's binaries.
    done = subprocess.run(
        [program, "deb", "--no-build", "--no-strip", "--locked", "--output", str(out), *arguments],
        cwd=PROJECT, env=dict(os.environ, PATH=f"{CACHE}/tools/bin:{os.environ['PATH']}"), capture_output=True, text=True,
    )
    if done.returncode:
        raise SystemExit(f"cargo-deb: {done.stderr.strip()}")
    return max(out.glob(f"benchlight_*_{architecture}.deb"), key=lambda path: path.stat().st_mtime)
