"""Lamps on simulated pins: every signal as levels over time, and darkness at every end."""

import os
import signal
import subprocess
import time
from pathlib import Path

from hardware import Pins, Scanner, start_udev, until
from results import check, figure, note, run
from station import AGENT, ALSO_READY, IMEI, PENDING, READY, REMOVED, Agent, Broker, Services, config, tail, wait_for_scans

GREEN, RED, AMBER, BUZZER = 17, 27, 22, 23
THREE = {"kind": "gpio", "driver": "gpiochip", "chip": "pinctrl-bcm2711", "green": GREEN, "red": RED, "amber": AMBER, "buzzer": BUZZER}
TWO = {"kind": "gpio", "driver": "gpiochip", "chip": "pinctrl-bcm2711", "green": GREEN, "red": RED}
SCANNER = {"name": "left", "kind": "hid", "device": "auto"}
HOME = Path("/tmp/station")


class Bench:
    """What all lamp steps share."""

    def __init__(self):
        HOME.mkdir(exist_ok=True)
        self.pins = Pins()
        self.broker = Broker(HOME).start()
        self.services = Services(HOME).start()
        self.scanner = Scanner("left", 0).plug()
        self.agent = None
        self.runs = 0

    def start(self, indicator):
        """A fresh station with these lamps."""
        self.runs += 1
        text = config([SCANNER], indicator, state=f"{HOME}/state{self.runs}")
        self.agent = Agent(HOME, text, f"agent{self.runs}").start(self.broker)

    def levels(self):
        return {line: self.pins.level(line) for line in (GREEN, RED, AMBER, BUZZER)}

    def dark(self, seconds=15):
        """Wait until the lane shows nothing."""
        return until(lambda: not any(self.levels().values()), seconds)

    def seen(self, text, seconds):
        """Scan a code and measure the lamps for so long."""
        recording = self.pins.record([GREEN, RED, AMBER, BUZZER])
        scanned = time.monotonic() - recording.start
        self.scanner.scan(text)
        time.sleep(seconds)
        recording.stop()
        recording.scanned = scanned
        return recording


def about(value, wanted, tolerance=0.35):
    """Equal but for what an emulated machine adds."""
    return abs(value - wanted) <= max(0.09, wanted * tolerance)


def lengths(spans):
    return [round(length, 2) for _, length in spans]


def story(recording):
    return [(round(at, 2), {line: level for line, level in levels.items() if level}) for at, levels in recording.changes]


def three_lamps(bench):
    """three lamps and a buzzer: every signal"""
    bench.start(THREE)
    check("lamps: dark after the start", not any(bench.levels().values()), bench.levels())
    before = len(bench.broker.scans())

    seen = bench.seen(READY, 6)
    green = seen.spans(GREEN)
    check("lamps: ready is one steady green of about 3 s, then dark", len(green) == 1 and 2.2 <= green[0][1] <= 3.6 and not any(seen.changes[-1][1].values()), story(seen))
    check("lamps: nothing else lights beside green", not seen.spans(RED) and not seen.spans(AMBER) or all(end < green[0][0] for _, end in [(s, s + n) for s, n in seen.spans(AMBER)]), story(seen))
    check("lamps: ready sounds once", len(seen.spans(BUZZER)) == 1, lengths(seen.spans(BUZZER)))
    figure("first key to green in the emulated machine, ms", round((green[0][0] - seen.scanned) * 1000) if green else "-")
    body = wait_for_scans(bench.broker, before + 1)[-1]
    check("lamps: what was shown is what the message says", body["data"]["lamp"] == "ready" and body["data"]["serial"] == READY, body)

    seen = bench.seen(REMOVED, 6)
    red = seen.spans(RED)[1:-1]
    check("lamps: stop is red at 1 Hz", len(red) >= 2 and all(about(length, 0.5) for _, length in red), story(seen))
    check("lamps: stop has no green", not seen.spans(GREEN), story(seen))
    check("lamps: stop sounds three times", len(seen.spans(BUZZER)) == 3, lengths(seen.spans(BUZZER)))

    seen = bench.seen(PENDING, 4)
    at = next((start for start, _ in seen.spans(AMBER)), None)
    amber = seen.spans(AMBER)
    check("lamps: a new scan ends the red of the box before", all(start + length < seen.scanned + 1.5 for start, length in seen.spans(RED)), story(seen))
    check("lamps: hold is steady amber", amber and amber[-1][1] > 2, story(seen))
    check("lamps: hold sounds twice", len(seen.spans(BUZZER)) == 2, (at, lengths(seen.spans(BUZZER))))

    seen = bench.seen(IMEI, 4)
    red = seen.spans(RED)
    check("lamps: rescan is a red double flash for 2 s", 2 <= len(red) <= 6 and all(length < 0.35 for _, length in red) and not seen.spans(GREEN), story(seen))
    check("lamps: rescan sounds once, long", len(seen.spans(BUZZER)) == 1 and seen.spans(BUZZER)[0][1] > 0.35, lengths(seen.spans(BUZZER)))

    bench.dark()
    recording = bench.pins.record([GREEN])
    for serial in (READY, ALSO_READY):
        bench.scanner.scan(serial)
        time.sleep(1.5)
    time.sleep(3)
    recording.stop()
    green = recording.spans(GREEN)
    check("lamps: two greens in a row are seen as two, at least 150 ms apart", len(green) == 2 and green[1][0] - (green[0][0] + green[0][1]) >= 0.145, lengths(green))

    note("working: the service answers only after 2 s")
    bench.services.faults("delay:2s")
    seen = bench.seen(READY, 5)
    bench.services.faults()
    amber = seen.spans(AMBER)
    check("lamps: a slow answer shows working, amber at 2 Hz, then green", len(amber) >= 2 and all(length < 0.45 for _, length in amber) and seen.spans(GREEN), story(seen))

    bench.services.faults(f"{READY}=silence:3s")
    recording = bench.pins.record([GREEN, RED, AMBER, BUZZER])
    bench.scanner.scan(READY)
    time.sleep(0.6)
    bench.scanner.scan(ALSO_READY)
    time.sleep(9)
    recording.stop()
    bench.services.faults()
    fast = [length for _, length in recording.spans(RED) if length < 0.3]
    # The overtaken box ends ready too after 3 s of silence, or by its deadline: then the alarm must be seen.
    overtaken = [body for body in bench.broker.scans() if body["data"]["serial"] == READY][-1]["data"]
    if overtaken["verdict"] == "ready":
        check("lamps: an overtaken box that ends ready shows nothing", not fast and overtaken["lamp"] == "none", (overtaken, story(recording)))
    else:
        check("lamps: an overtaken box that ends otherwise raises the alarm", len(fast) >= 3, (overtaken, story(recording)))

    bench.services.faults("reset")
    bench.scanner.scan(READY)
    check("lamps: a station that cannot answer shows steady red when idle", until(lambda: _steady(bench, RED, 1.2), 60, 0.1), tail(bench.agent.log))
    bench.services.faults()
    check("lamps: and goes dark when it can again", until(lambda: not bench.pins.level(RED) and not any(bench.levels().values()), 90, 0.2), bench.levels())

    # An overtaken box that fails: the alarm, for certain.
    bench.services.faults(f"{PENDING}=delay:1500ms")
    recording = bench.pins.record([GREEN, RED])
    bench.scanner.scan(PENDING)
    time.sleep(0.4)
    bench.scanner.scan(ALSO_READY)
    time.sleep(6)
    recording.stop()
    bench.services.faults()
    fast = [length for _, length in recording.spans(RED) if length < 0.3]
    check("lamps: an overtaken box that ends otherwise than ready raises the alarm, 3 Hz for 2 s", 3 <= len(fast) <= 7, story(recording))
    greens = recording.spans(GREEN)
    alarm = recording.spans(RED)
    check("lamps: a green that the alarm interrupted does not come back", not greens or not alarm or all(start < alarm[0][0] for start, _ in greens), story(recording))

    code = bench.agent.stop()
    check("lamps: SIGTERM ends the agent in order, and dark", code == 0 and not any(bench.levels().values()), (code, bench.levels(), tail(bench.agent.log)))


def _steady(bench, line, seconds):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not bench.pins.level(line):
            return False
        time.sleep(0.01)
    return True


def two_lamps(bench):
    """two lamps: hold is a wink"""
    bench.start(TWO)
    seen = bench.seen(PENDING, 7)
    red = seen.spans(RED)
    gaps = [later[0] - earlier[0] for earlier, later in zip(red, red[1:])]
    check("two lamps: hold is a red wink of 100 ms every 2 s", len(red) >= 2 and all(length < 0.3 for _, length in red) and all(about(gap, 2.0, 0.2) for gap in gaps), story(seen))
    seen = bench.seen(READY, 5)
    check("two lamps: ready is green", len(seen.spans(GREEN)) == 1, story(seen))
    check("two lamps: pins that are not fitted are left alone", not seen.spans(AMBER) and not seen.spans(BUZZER), story(seen))
    bench.agent.stop()


def active_low(bench):
    """lamps that light at low level"""
    low = {**TWO, "green": 5, "red": 6, "active_low": True}
    for line in (5, 6):
        bench.pins.pull(line, "pull-up")
    bench.start(low)
    check("active low: dark is the high level", bench.pins.level(5) == 1 and bench.pins.level(6) == 1, (bench.pins.level(5), bench.pins.level(6)))
    recording = bench.pins.record([5, 6])
    bench.scanner.scan(READY)
    time.sleep(5)
    recording.stop()
    lit = recording.spans(5, level=0)
    check("active low: ready is one low span of about 3 s", len(lit) == 1 and 2.2 <= lit[0][1] <= 3.6,
          (recording.changes, [body["data"] for body in bench.broker.scans()][-2:], tail(bench.agent.log)))
    bench.agent.stop()
    check("active low: dark after the end, by the pull", bench.pins.level(5) == 1 and bench.pins.level(6) == 1)
    refused = Agent(HOME, config([SCANNER], {**TWO, "active_low": True}, state=f"{HOME}/refused"), "refused").command("check")
    check("active low: on a pin that pulls down, `check` refuses it", refused.returncode == 78, refused.stderr)


def busy(bench):
    """a pin that somebody else holds"""
    holder = subprocess.Popen(
        ["python3", "-c", "import sys, hold; hold.line(sys.argv[1], int(sys.argv[2]))", f"/dev/{bench.pins.chip}", str(GREEN)],
        cwd=os.path.dirname(os.path.abspath(__file__)), stdout=subprocess.PIPE, text=True,
    )
    holder.stdout.readline()
    bench.runs += 1
    bench.agent = Agent(HOME, config([SCANNER], TWO, state=f"{HOME}/state{bench.runs}"), f"agent{bench.runs}").start(bench.broker)
    import json
    told = until(lambda: "busy" in json.dumps(json.loads(bench.broker.last("health"))["lamps"]), 20, 0.2)
    check("busy pin: health says so", told, bench.broker.last("health"))
    before = len(bench.broker.scans())
    bench.scanner.scan(READY)
    check("busy pin: the station goes on on every other channel", len(wait_for_scans(bench.broker, before + 1)) == before + 1, tail(bench.agent.log))
    doctor = bench.agent.command("doctor")
    note("doctor: " + " / ".join(line for line in doctor.stdout.splitlines() if "lamp" in line.lower())[:300])
    holder.kill()
    holder.wait()
    check("busy pin: freed, the lamps are taken without a restart",
          until(lambda: "busy" not in json.dumps(json.loads(bench.broker.last("health"))["lamps"]), 90, 0.5), bench.broker.last("health"))
    seen = bench.seen(ALSO_READY, 5)
    check("busy pin: and light again", len(seen.spans(GREEN)) == 1, story(seen))
    bench.agent.stop()


def killed(bench):
    """killed while green"""
    bench.start(THREE)
    bench.scanner.scan(READY)
    green = until(lambda: bench.pins.level(GREEN), 10, 0.005)
    bench.agent.stop(signal.SIGKILL)
    # A simulated pin keeps its level like a Pi's register does, unless the kernel's line interface lets it go.
    held = bench.pins.level(GREEN)
    off = bench.agent.command("lamps", "off")
    check("killed while green: `lamps off`, as the unit runs it, darkens", green and off.returncode == 0 and not any(bench.levels().values()),
          (green, held, off, bench.levels()))
    bench.agent = Agent(HOME, bench.agent.config.read_text(), "again").start(bench.broker)
    check("killed while green: dark after the restart", bench.dark(1), bench.levels())
    used = bench.agent.command("lamps", "test")
    check("`lamps test` beside a running agent: exit 1, in use by benchlight", used.returncode == 1 and "in use by benchlight" in used.stderr + used.stdout, used)
    bench.agent.stop()
    recording = bench.pins.record([GREEN, RED, AMBER])
    tested = bench.agent.command("lamps", "test")
    recording.stop()
    check("`lamps test`: green is never alone", tested.returncode == 0 and recording.spans(GREEN)
          and all(levels[RED] and levels[AMBER] for _, levels in recording.changes if levels[GREEN]), (tested, recording.changes))


def main():
    start_udev()
    bench = Bench()
    try:
        run("lamps", [_bound(step, bench) for step in (three_lamps, two_lamps, active_low, busy, killed)])
    finally:
        if bench.agent and bench.agent.process:
            bench.agent.stop()
        note(f"version {subprocess.run([AGENT, '--version'], capture_output=True, text=True).stdout.strip()}")


def _bound(step, bench):
    def bound():
        try:
            step(bench)
        except Exception:
            if bench.agent:
                note(tail(bench.agent.log))
                if bench.agent.process:
                    bench.agent.stop()
            raise
    bound.__doc__ = step.__doc__
    return bound
