"""Scanners as USB keyboards: grabbed, unplugged, two at once, other layouts, no end key, a reader that stalls."""

import json
import random
import signal
import threading
import time
from pathlib import Path

from ground import Console
from hardware import CAPS_LOCK, KEYPAD_ENTER, TAB, Pins, Scanner, layout, start_udev, until
from lamps import GREEN, RED, THREE
from results import check, figure, run
from station import ALSO_READY, PAUSE, PENDING, READY, REMOVED, Agent, Bench, config, serials, tail, wait_for_scans

HOME = Path("/tmp/station")
PAIRS = 1000
LETTERS = "0123456789ABCDEFGHJKLMNPQRTUVWXYZ"


class ScannerBench(Bench):
    """Scanners with a lamp, on a machine with a console."""

    def __init__(self):
        super().__init__(HOME)
        self.pins = Pins()
        self.console = Console()

    def start(self, scanners, indicator=THREE, lanes=None):
        self.runs += 1
        text = config(scanners, indicator, lanes, state=f"{HOME}/state{self.runs}")
        self.agent = Agent(HOME, text, f"agent{self.runs}").start(self.broker)

    def new(self, act, count=1, seconds=20):
        """The scans that are delivered after `act`."""
        before = len(self.broker.scans())
        act()
        return wait_for_scans(self.broker, before + count, seconds)[before:]

    def state(self, name):
        """The state of a scanner in health."""
        text = self.broker.last("health")
        return json.loads(text)["scanners"].get(name, {}).get("state") if text else None


def hid(name, **more):
    """A scanner's config."""
    return {"name": name, "kind": "hid", "device": "auto", "pause": PAUSE, **more}


def typed_serial(chance):
    """A serial number that no source knows; never one that begins with S."""
    return "".join(chance.choice(LETTERS) for _ in range(9)) + chance.choice("ABCDEFGH")


def grabbed(bench):
    """a scan becomes a lamp and a message, and nothing reaches the console"""
    scanner = bench.scanner = Scanner("left", 0, serial="LEFT").plug()
    bench.console.clear()
    scanner.scan(READY)
    check("console: without an agent a scan is typed into it", bench.console.typed().strip() == READY)
    # By name, because with "auto" the other keyboard, added later, would be the only one for a while.
    bench.start([hid("left", device=str(scanner.by_id))])
    bench.console.clear()
    recording = bench.pins.record([GREEN])
    bodies = bench.new(lambda: scanner.scan(READY))
    check("scan: the message says what was scanned, on which scanner and lane",
          bodies and bodies[0]["data"]["serial"] == READY and bodies[0]["data"]["scanner"] == "left" and bodies[0]["data"]["verdict"] == "ready", bodies)
    check("scan: the green lamp lights", until(lambda: bench.pins.level(GREEN), 5), recording.stop())
    recording.stop()
    for code, end, name in ((ALSO_READY, TAB, "Tab"), (PENDING, KEYPAD_ENTER, "keypad Enter")):
        bodies = bench.new(lambda code=code, end=end: scanner.scan(code, end=end))
        check(f"scan: ended by {name}", serials(bodies) == [code], bodies)
    scanner.press(CAPS_LOCK)
    bodies = bench.new(lambda: scanner.scan(REMOVED))
    check("scan: Caps Lock does not matter", serials(bodies) == [REMOVED], bodies)
    scanner.press(CAPS_LOCK)
    bodies = bench.new(lambda: scanner.scan(READY, end=None))
    check("scan: no end key, ended by a pause", serials(bodies) == [READY], bodies)
    check("scan: and the next one begins anew", serials(bench.new(lambda: scanner.scan(ALSO_READY, end=None))) == [ALSO_READY])
    check("scan: the keyboard is grabbed, nothing of all that reached the login console", bench.console.typed() == "")
    check("scan: the scanner that yielded a known serial is proven",
          until(lambda: '"proven":true' in (bench.broker.last("health") or "").replace(" ", ""), 70, 0.5), bench.broker.last("health"))


def unplugged(bench):
    """unplugged in mid-scan, replugged under another number"""
    scanner = bench.scanner
    first = scanner.event()
    before = len(bench.broker.scans())
    for key in READY[:8]:
        scanner.press(*layout("us")[key])
    # Unplugged before the pause can end the half scan, because eight characters could be a serial number.
    scanner.unplug()
    check("unplug: health says that no scanner is there", until(lambda: bench.state("left") not in ("ok", None), 15, 0.1), bench.broker.last("health"))
    check("unplug: the station is not able, red is steady", until(lambda: bench.pins.level(RED), 15), bench.broker.last("health"))
    other = Scanner("foreign", 3, vendor=0x046D, product=0xC31C, maker="Logitech", model="Keyboard K120", serial="K120").plug()
    scanner.plug()
    moved = scanner.event()
    start = time.monotonic()
    # The lamp shows it at once; health is sent at most every 5 s.
    dark = until(lambda: not bench.pins.level(RED), 20, 0.02)
    took = time.monotonic() - start
    check("replug: able again within 2 s", dark and took < 2, (took, tail(bench.agent.log)))
    figure("replugged to able again, s", round(took, 1))
    back = until(lambda: bench.state("left") == "ok", 20, 0.02)
    check("replug: taken again under another event number", back and moved != first, (first, moved, bench.broker.last("health"), tail(bench.agent.log)))
    half = bench.broker.scans()[before:]
    check("unplug: half a code is never a serial number", all(body["data"]["serial"] is None for body in half), half)
    bodies = bench.new(lambda: scanner.scan(ALSO_READY))
    check("replug: the next scan arrives whole", serials(bodies) == [ALSO_READY], bodies)
    bench.console.clear()
    other.scan("typing")
    check("replug: another keyboard is left to the console", bench.console.typed().strip() == "typing")
    other.remove()


def stalled(bench):
    """a reader that stalls: the kernel's queue of 64 events overruns"""
    scanner = bench.scanner
    before = len(bench.broker.scans())
    bench.agent.send(signal.SIGSTOP)
    scanner.scan(PENDING)
    scanner.scan(REMOVED)
    bench.agent.send(signal.SIGCONT)
    def unreadable():
        return [body for body in bench.broker.scans()[before:] if body["data"]["reason"] == "unreadable"]
    said = until(unreadable, 20)
    check("overrun: said as rescan/unreadable", said and said[0]["data"]["verdict"] == "rescan" and said[0]["data"]["lamp"] == "rescan", bench.broker.scans()[before:])
    bench.new(lambda: scanner.scan(READY))
    seen = serials(bench.broker.scans()[before:])
    check("overrun: never half a serial number", set(seen) <= {None, PENDING, REMOVED, READY}, seen)
    check("overrun: the next scan is whole again", seen[-1] == READY, seen)
    bench.agent.stop()
    bench.console.clear()
    scanner.scan(READY)
    check("console: once the agent has ended the scanner types into it again", READY in bench.console.typed().upper())
    scanner.remove()


def layouts(bench):
    """scanners set to a German and to a French keyboard"""
    for name in ("de", "fr"):
        scanner = Scanner(name, 0, serial=name.upper()).plug()
        bench.start([hid("left", layout=name)])
        # Every key that a serial number can need.
        for code in ("ABCDEFGHIJKL", "MNOPQRSTUVWX", "YZ0123456789"):
            bodies = bench.new(lambda code=code: scanner.scan(code, set_to=name))  # noqa: B023
            check(f"layout {name}: {code} is read as printed", serials(bodies) == [code], bodies)
        bodies = bench.new(lambda: scanner.scan("MHDH3QN/A", set_to=name))  # noqa: B023
        check(f"layout {name}: a part number with its slash is one", [body["data"]["reason"] for body in bodies] == ["part_number"], bodies)
        bench.agent.stop()
        scanner.remove()


def together(bench):
    """two scanners at once, overlapping"""
    left, right = Scanner("l", 0, serial="L1").plug(), Scanner("r", 1, serial="R1").plug()
    lanes = ['name = "left"\nindicator = { kind = "none" }\n', 'name = "right"\nindicator = { kind = "none" }\n']
    bench.start([hid("left", device=str(left.by_id), lane="left"), hid("right", device=str(right.by_id), lane="right")], None, lanes)
    chance = random.Random(20261124)
    pairs = [(typed_serial(chance), typed_serial(chance)) for _ in range(PAIRS)]
    before = len(bench.broker.scans())
    at_once = threading.Barrier(2)
    times = ([], [])

    def work(scanner, which):
        for pair in pairs:
            at_once.wait(60)
            start = time.monotonic()
            scanner.scan(pair[which], rolling=True)
            times[which].append((start, time.monotonic()))

    start = time.monotonic()
    threads = [threading.Thread(target=work, args=[left, 0]), threading.Thread(target=work, args=[right, 1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    took = time.monotonic() - start
    overlapping = sum(one[0] < other[1] and other[0] < one[1] for one, other in zip(*times))
    check(f"two scanners: {PAIRS} pairs were typed, each pair at the same time", overlapping == PAIRS, (overlapping, [len(which) for which in times]))
    bodies = wait_for_scans(bench.broker, before + 2 * PAIRS, 120)[before:]
    by = {"left": [], "right": []}
    for body in bodies:
        by[body["data"]["scanner"]].append(body["data"]["serial"])
    for which, name in enumerate(("left", "right")):
        wanted = sorted(pair[which] for pair in pairs)
        got = sorted(serial or "-" for serial in by[name])
        check(f"two scanners: {PAIRS} codes of the {name} one, none lost, none mixed", got == wanted,
              (len(got), [serial for serial in got if serial not in wanted][:5], [serial for serial in wanted if serial not in got][:5], tail(bench.agent.log, 3)))
    numbers = sorted(body["data"]["seq"] or 0 for body in bodies)
    check("two scanners: seq without a gap", numbers == list(range(numbers[0], numbers[0] + len(numbers))),
          [(one, other) for one, other in zip(numbers, numbers[1:]) if other != one + 1][:5])
    figure(f"{PAIRS} pairs of overlapping scans, s", round(took))
    bench.agent.stop()
    left.remove()
    right.remove()


def main():
    start_udev()
    bench = ScannerBench()
    run("scanners", [grabbed, unplugged, stalled, layouts, together], bench, failed=bench.give_up)
