"""The bench's cache below target/bench, for what it fetches and builds once, and the lock on it."""

import contextlib
import fcntl
import shutil
import threading
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
CACHE = PROJECT / "target/bench"

_turn, _held = threading.RLock(), False


@contextlib.contextmanager
def alone():
    """Hold the lock for installing, fetching and building, because the parts run in parallel processes. May be nested."""
    global _held
    with _turn:
        if _held:
            yield
            return
        CACHE.mkdir(parents=True, exist_ok=True)
        with open(CACHE / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _held = True
            try:
                yield
            finally:
                _held = False


@contextlib.contextmanager
def swept():
    """Remove the cards and disks left by a killed bench, if no other bench runs here."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "running", "w") as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for pattern in ("card-*", "small-*"):
                for left in CACHE.glob(pattern):
                    shutil.rmtree(left, ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
