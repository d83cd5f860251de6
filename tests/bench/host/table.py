"""The bench's figures, on the terminal and as the table in docs/virtual-bench.md."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from .cache import CACHE, PROJECT

PAGE = PROJECT / "docs/virtual-bench.md"
# Marks the rows of a part that ran in its long form.
LONG = "`--slow`"
BEGIN, END = "<!-- table: written by tests/bench/run --write -->", "<!-- end of the table -->"
ROW = re.compile(r"\| `(\w+)` \| (.*) \| (.*) \| (.*) \|")


def show(results):
    """Every figure of this run."""
    for part, figures in results.figures.items():
        for name, value in figures.items():
            print(f"  {part:<9} {name:<70} {value}")


def write(results, parts, long):
    """Write this run's figures into the page. `long` lists the parts that ran in their long form.

    A part keeps its older rows if it did not run, or if they are from the long form and this run was not.
    """
    before, _, rest = PAGE.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = {}
    for row in ROW.finditer(old):
        kept.setdefault(row[1], []).append(row[0])
    rows = []
    for part in parts:
        passed, failed = results.parts.get(part, (0, 0))
        shorter = part not in long and any(LONG in row for row in kept.get(part, []))
        if passed + failed and shorter:
            print(f"{part}: the table keeps the figures of the long form")
        if passed + failed and not shorter:
            when = f"{datetime.date.today()}, {_build()}"
            held = f"assertions that held, {LONG}" if part in long else "assertions that held"
            figures = {held: f"{passed} of {passed + failed}", **results.figures.get(part, {})}
            rows += [f"| `{part}` | {name} | {value} | {when} |" for name, value in figures.items()]
        else:
            rows += kept.get(part, [f"| `{part}` | not run | | |"])
    table = ["", "| part | what | figure | taken, at commit |", "|---|---|---|---|", *rows, "", _ground(), ""]
    PAGE.write_text(before + BEGIN + "\n".join(table) + END + after)


def _said(*command):
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True).stdout.strip()


def _build():
    changed = "+" if _said("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml", "tests/bench") else ""
    return _said("git", "rev-parse", "--short", "HEAD") + changed


def _ground():
    """The environment of the last run."""
    kernels = {path.name.removeprefix("kernel-"): (path / "version").read_text().strip() for path in sorted(CACHE.glob("kernel-*")) if (path / "version").exists()}
    kernels = ", ".join(f"{version.removesuffix('-' + name)} ({name})" for name, version in kernels.items())
    emulator = re.search(r"version (\S+)", _said("qemu-system-aarch64", "--version") or "version -")[1]
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or [platform.machine()]
    return (f"The last run: Debian's Linux {kernels}, QEMU {emulator} without hardware acceleration, on {os.cpu_count()} processors ({models[0]}) "
            f"with a load of {os.getloadavg()[2]:.1f} at its end.")
