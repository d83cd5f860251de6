"""How a guest tells the bench what it found: one line per assertion on the console."""

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
    """One assertion: the promise in words, whether it held, and what was found when it did not."""
    say("check", promise=promise, held=bool(held), found="" if held else str(found)[-1500:])
    return bool(held)


def note(text):
    """A line for the reader of the bench."""
    say("note", text=str(text))


def figure(name, value):
    """A measured number for the bench's table."""
    say("figure", name=name, value=value)


def ask(what, **more):
    """Ask the host to do something outside the guest: a QMP command, bytes into a socket."""
    say("ask", what=what, **more)


def run(part, steps, *given, failed=lambda: None):
    """Run the steps of a part with what is `given` to each; a step that raises has failed, `failed` looks after it, and the next one goes on."""
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
    """Run steps side by side, each on a thread of its own; whatever one of them raises has failed it alone."""
    threads = [threading.Thread(target=run, args=[part, [step]]) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
