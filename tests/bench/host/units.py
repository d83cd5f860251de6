"""The unit tests on the Raspberry Pi's two targets, in QEMU's user mode."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from . import apt, cross

# What QEMU's user mode cannot do. The virtual bench does it on a kernel.
EMULATOR_LACKS = {
    "scanner::serial::tests::": "a terminal's settings (TCGETS2)",
    "a_panic_in_a_process_that_aborts_leaves_the_lamps_dark": "starting another program for the target",
    "a_panic_shows_a_text_from_outside_and_does_not_obey_it": "starting another program for the target",
    "opening_a_hundred_thousand_rows_takes_a_blink": "speed",
}
SECONDS = 7200


def units(targets, std, results):
    """Run them and add libtest's counts to `results`."""
    for target in targets:
        target.emulator()
    for name, what in EMULATOR_LACKS.items():
        print(f"  left out: {name}: QEMU's user mode has not {what}", flush=True)
    words = ["--test-threads", "2", *(word for name in EMULATOR_LACKS for word in ("--skip", name))]
    # Emulated and on a busy disk the journal would rightly say that the disk is slow, so use memory.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="benchlight-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        os.environ["TMPDIR"] = folder
        for target in targets:
            failed = _run(target, std, words, results)
            if failed:
                # Beside another test an emulated commit can take over the second that a disk has: each once more, alone.
                print(f"  once more, alone: {' '.join(failed)}", flush=True)
                failed = _run(target, std, ["--test-threads", "1", "--exact", *failed], results)
            results.check(f"units {target.architecture}: the tests ran to their end, and none failed", failed == [], failed)


def _run(target, std, words, results):
    """The tests that failed; `None`: they did not run to their end."""
    counts = None
    failed = []
    command, env = cross.command(target, std, ["test", "--lib", "--locked", "--no-default-features", "--", *words])
    with subprocess.Popen(["timeout", str(SECONDS), *command], cwd=cross.PROJECT, env=env, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            for line in process.stdout:
                found = re.match(r"test result: \w+\. (\d+) passed; (\d+) failed;", line)
                if found:
                    counts = [int(number) for number in found.groups()]
                one = re.match(r"test (\S+) \.\.\. FAILED", line)
                if one:
                    failed.append(one[1])
                if not re.match(r"test .* \.\.\. (ok|ignored)", line) and line.strip():
                    print(f"  {line.rstrip()}", flush=True)
        except BaseException:
            # `timeout` passes the signal on to everything that cargo has started.
            process.terminate()
            raise
    if not counts or sum(counts) == 0 or counts[1] != len(failed) or (process.returncode != 0) != bool(failed):
        return None
    results.count(counts[0], 0)
    return failed
