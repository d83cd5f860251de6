"""How a guest reports to the bench: one line per assertion on the console."""

import json
import sys
import threading
import time
import traceback

_one_at_a_time = threading.Lock()


def say(kind, **more):
    with _one_at_a_time:
        sys.stdout.write("@@ " + json.dumps({"kind": kind, **more}) + "\n")
        sys.stdout.flush()


def check(promise, held, found=""):
    """Report an assertion: the promise in words, whether it held, and what was found if it did not."""
    say("check", promise=promise, held=bool(held), found="" if held else str(found)[-1500:])
    return bool(held)


def note(text):
    """Print a line for the reader."""
    say("note", text=str(text))


def figure(name, value):
    """Report a measured number for the bench's table."""
    say("figure", name=name, value=value)


def ask(what, **more):
    """Ask the host to do something outside the guest: a QMP command, bytes into a socket."""
    say("ask", what=what, **more)


def run(part, steps, *given, failed=lambda: None):
    """Run the steps of a part, each with `given`. If a step raises, it has failed, `failed` is called, and the next one runs."""
    for step in steps:
        start = time.monotonic()
        try:
            step(*given)
        except Exception as fault:  # noqa: BLE001
            text = "".join(traceback.format_exception(fault)[-3:])
            check(f"{part}: {step.__doc__ or step.__name__}", False, text)
            failed()
        if step.__doc__:
            note(f"{step.__name__}: {time.monotonic() - start:.0f} s")


def together(part, steps):
    """Run steps in parallel, each on its own thread; an exception fails only its own step."""
    threads = [threading.Thread(target=run, args=[part, [step]]) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
