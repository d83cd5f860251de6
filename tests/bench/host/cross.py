"""Builds for the Raspberry Pi on this machine: C compilers from Debian, Rust's standard library for the two targets."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import apt
from .cache import CACHE, PROJECT, alone

# Increase this when `standard_library` builds in another way.
RECIPE = 2


class NotBuilt(Exception):
    """Benchlight itself cannot be built; the output above says why."""


@dataclass(frozen=True)
class Target:
    """One of the two Raspberry Pi targets."""

    architecture: str  # Debian's name
    triple: str  # Rust's name
    gcc: str  # the prefix of Debian's cross tools
    packages: tuple
    qemu: str  # the user-mode emulator
    loader: str  # the folder of the target's C library, as the emulator wants it

    def environment(self, std):
        """The environment in which cargo builds for this target and runs the result."""
        upper = self.triple.upper().replace("-", "_")
        lower = self.triple.replace("-", "_")
        env = {
            f"CARGO_TARGET_{upper}_LINKER": f"{self.gcc}-gcc",
            f"CC_{lower}": f"{self.gcc}-gcc",
            f"AR_{lower}": f"{self.gcc}-ar",
            f"CARGO_TARGET_{upper}_RUNNER": " ".join(self._emulated()),
        }
        if std:
            env[f"CARGO_TARGET_{upper}_RUSTFLAGS"] = f"--sysroot={std}"
        return env

    def _emulated(self):
        return [self.qemu, "-L", self.loader]

    def emulator(self):
        """Install QEMU's user mode; return the words that run a program of this target here."""
        apt.install(["qemu-user-static"], [self.qemu], f"programs for {self.architecture}", suite=apt.emulators())
        return self._emulated()


TARGETS = {
    "arm64": Target(
        "arm64", "aarch64-unknown-linux-gnu", "aarch64-linux-gnu",
        ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"), "qemu-aarch64-static", "/usr/aarch64-linux-gnu",
    ),
    "armhf": Target(
        "armhf", "armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf",
        ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"), "qemu-arm-static", "/usr/arm-linux-gnueabihf",
    ),
}


def _output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT).stdout.strip()


def tools(targets):
    """Install the cross compilers and linkers."""
    for target in targets:
        apt.install(target.packages, [f"{target.gcc}-gcc"], f"C code and linking for {target.architecture}")


def standard_library(targets):
    """A sysroot with the standard library of `targets`, or None if the compiler has it.

    `rustup target add` is not run: if the toolchain has the targets, they are used; otherwise the
    library is built once, from source of exactly the compiler's version, and kept under that version.
    """
    toolchain = Path(_output("rustc", "--print", "sysroot"))
    if all(list((toolchain / "lib/rustlib" / target.triple / "lib").glob("libstd-*.rlib")) for target in targets):
        return None
    version = _output("rustc", "--version").split()[1]
    # A new recipe gets a new folder, so that cargo notices and rebuilds the project's crates.
    std = CACHE / f"std-{version}-{RECIPE}"

    def missing():
        return [target for target in targets if not (std / "lib/rustlib" / target.triple / "lib").exists()]

    if missing():
        with alone():
            _standard_library(toolchain, version, std, missing())
    return std


def _standard_library(toolchain, version, std, missing):
    with tempfile.TemporaryDirectory(prefix="benchlight-std-") as work:
        work = Path(work)
        library = toolchain / "lib/rustlib/src/rust/library"
        if not library.exists():
            library = _library_from_debian(version, work)
        stub = work / "stub"
        (stub / "src").mkdir(parents=True)
        (stub / "Cargo.toml").write_text('[package]\nname = "stub"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n')
        (stub / "src/lib.rs").write_text("#![no_std]\n")
        # As in Rust's own build: a program with `panic = "abort"` needs this one crate built that way.
        wrapper = work / "rustc"
        wrapper.write_text(
            '#!/bin/sh\nrustc=$1\nshift\n'
            'case " $* " in *" --crate-name panic_abort "*) exec "$rustc" "$@" -Cpanic=abort ;; esac\nexec "$rustc" "$@"\n'
        )
        wrapper.chmod(0o755)
        for target in missing:
            print(f"building Rust's standard library {version} for {target.triple}", flush=True)
            env = dict(
                os.environ, RUSTC_BOOTSTRAP="1", RUSTC_WRAPPER=str(wrapper), __CARGO_TESTS_ONLY_SRC_ROOT=str(library),
                # Link-time optimisation of the release profile needs the library's bitcode.
                RUSTFLAGS="-Cembed-bitcode=yes", CARGO_TARGET_DIR=str(stub / "target"),
            )
            crates = "std,test,panic_abort,panic_unwind,proc_macro"
            try:
                subprocess.run(
                    ["cargo", "build", "--quiet", "--release", f"-Zbuild-std={crates}", "--target", target.triple],
                    cwd=stub, env=env, check=True, timeout=1800,
                )
            except subprocess.SubprocessError as fault:
                raise apt.Unavailable(f"Rust's standard library for {target.triple} cannot be built: {fault}") from None
            into = std / "lib/rustlib" / target.triple / "lib"
            half = into.with_name("lib.half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            for rlib in (stub / "target" / target.triple / "release/deps").glob("lib*.rlib"):
                if not rlib.name.startswith("libstub"):
                    shutil.copy(rlib, half)
            half.rename(into)


def _library_from_debian(version, work):
    for suite in ("trixie-backports", "forky", "sid", "trixie"):
        suites = apt.Suites(CACHE / "apt" / suite, [suite], apt.machine_architecture())
        exact = [found for found in suites.versions("rust-src") if found.startswith(version + "+")]
        if exact:
            suites.unpack([f"rust-src={exact[0]}"], work, only=f"./usr/src/rustc-{version}/library*")
            return work / f"usr/src/rustc-{version}/library"
    raise apt.Unavailable(
        f"no source of Rust's standard library {version}: neither the toolchain (rustup component add rust-src) nor Debian has it"
    )


# The program of the packages: small, and without demo and simulators.
PACKAGED = ["build", "--profile", "dist", "--locked", "--no-default-features"]
# What the bench asks in the place of the services.
SIMULATORS = ["--features", "simulate"]


def command(target, std, arguments):
    """The command line and environment of cargo for `target`."""
    env = dict(os.environ, **target.environment(std))
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    return ["nice", "-n", "10", "cargo", *arguments[:cut], "--target", target.triple, *arguments[cut:]], env


def cargo(target, std, arguments, timeout=3600):
    """Run cargo for `target` and return its exit code, which is below 0 if it was killed."""
    words, env = command(target, std, arguments)
    try:
        return subprocess.run(words, cwd=PROJECT, env=env, timeout=timeout).returncode
    except subprocess.TimeoutExpired as late:
        print(late, flush=True)
        return 124


def packaged(target):
    """Build the program for `target` as it is packaged; return its path."""
    return _built(target, PACKAGED)


def with_simulators(target):
    """Build the packaged program with `benchlight simulate` for `target`; return its path."""
    with alone():
        return apart(_built(target, [*PACKAGED, *SIMULATORS]), target.architecture)


def apart(program, name):
    """Copy `program` to where the next build, with other features, does not replace it; return the path."""
    copy = CACHE / "with-simulators" / name / "benchlight"
    copy.parent.mkdir(parents=True, exist_ok=True)
    half = copy.with_suffix(".half")
    shutil.copy2(program, half)
    half.rename(copy)
    return copy


def _built(target, arguments):
    tools([target])
    if cargo(target, standard_library([target]), arguments):
        raise NotBuilt(f"the program cannot be built for {target.architecture}")
    return PROJECT / "target" / target.triple / "dist/benchlight"


def newest_glibc(binary):
    """The newest C library version that `binary` needs."""
    needed = re.findall(r"GLIBC_(\d+)\.(\d+)", _output("readelf", "--version-info", "--wide", str(binary)))
    return max((int(major), int(minor)) for major, minor in needed)
