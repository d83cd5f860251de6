"""What the bench fetches and builds once lies below target/bench; and whose turn it is to do that."""

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
    """Nobody else installs, fetches or builds for the bench meanwhile: its parts are processes side by side. May be nested."""
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
    """Take away the cards and disks that a bench killed outright has left, if no other bench runs here."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "running", "w") as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for pattern in ("card-*", "small-*"):
                for left in CACHE.glob(pattern):
                    shutil.rmtree(left, ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
