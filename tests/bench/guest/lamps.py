"""Lamps on simulated pins: every signal as levels over time, and darkness at every end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import hold
from hardware import KeptPins, Pins, Scanner, start_udev, until
from results import check, figure, note, run, together
from station import AGENT, ALSO_READY, IMEI, PAUSE, PENDING, READY, REMOVED, Agent, Bench, config, tail
from unit import Unit

GREEN, RED, AMBER, BUZZER = 17, 27, 22, 23
# A second lane with two lamps, and a third whose lamps light at low level.
TWO_GREEN, TWO_RED = 24, 25
LOW_GREEN, LOW_RED, LOW_BUZZER = LOW_LINES = 5, 6, 7
CHIP = {"kind": "gpio", "driver": "gpiochip", "chip": "pinctrl-bcm2711"}
THREE = {**CHIP, "green": GREEN, "red": RED, "amber": AMBER, "buzzer": BUZZER}
TWO = {**CHIP, "green": TWO_GREEN, "red": TWO_RED}
LOW = {**CHIP, "green": LOW_GREEN, "red": LOW_RED, "buzzer": LOW_BUZZER, "active_low": True}
HOME = Path("/tmp/station")
# For the last step: shorter than the others, so that a stopped agent is too late before the watchdog acts.
DEADLINE = 3


class Lane:
    """One person's scanner and lamps."""

    def __init__(self, bench, name, bus, lamps, pins=None):
        self.bench = bench
        self.name = name
        self.lamps = lamps
        self.pins = pins or bench.pins
        self.scanner = Scanner(name, bus, serial=name.upper()).plug()
        self.lines = [lamps[colour] for colour in ("green", "red", "amber", "buzzer") if colour in lamps]

    def scan(self, text):
        self.scanner.scan(text)

    def bodies(self):
        """The delivered messages of this lane."""
        return [body["data"] for body in self.bench.broker.scans() if body["data"]["lane"] == self.name]

    def lit(self):
        """The lines that are lit, as seen from outside."""
        unlit = int(self.lamps.get("active_low", False))
        return [line for line in self.lines if self.pins.level(line) != unlit]

    def dark(self, seconds=15):
        """Wait until the lane is dark."""
        return until(lambda: not self.lit(), seconds)

    def record(self):
        """Start measuring every line of the lane."""
        return self.pins.record(self.lines)

    def seen(self, text, seconds):
        """Scan a code and measure the lamps for that long."""
        recording = self.record()
        self.scan(text)
        # A few milliseconds after the end of the scan, the lane shows only this scan.
        recording.scanned = time.monotonic() - recording.start
        time.sleep(seconds)
        recording.stop()
        return recording


class LampBench(Bench):
    """Lanes with lamps."""

    def __init__(self):
        super().__init__(HOME)
        self.pins = Pins()

    def configured(self, lanes, verdict=""):
        """An agent for these lanes, not started yet."""
        self.runs += 1
        scanners = [{"name": lane.name, "kind": "hid", "device": str(lane.scanner.by_id), "lane": lane.name, "pause": PAUSE} for lane in lanes]
        texts = [f'name = "{lane.name}"\nindicator = {inline(lane.lamps)}\n' for lane in lanes]
        self.agent = Agent(HOME, config(scanners, None, texts, verdict=verdict, state=f"{HOME}/state{self.runs}"), f"agent{self.runs}")
        return self.agent

    def start(self, lanes):
        """A fresh station with these lanes."""
        return self.configured(lanes).start(self.broker)

    def lamps(self, lane):
        """The state of a lane's lamps in health."""
        return json.loads(self.broker.last("health"))["lamps"].get(lane.name)


def inline(table):
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + " }"


def about(value, wanted, tolerance=0.35):
    """Equal, apart from what an emulated machine adds."""
    return abs(value - wanted) <= max(0.09, wanted * tolerance)


def lengths(spans):
    return [round(length, 2) for _, length in spans]


def ends(spans):
    return [start + length for start, length in spans]


def story(recording):
    return [(round(at, 2), {line: level for line, level in levels.items() if level}) for at, levels in recording.changes]


def fast(spans):
    """The flashes of an alarm: 3 Hz."""
    return [(start, length) for start, length in spans if length < 0.3]


def signals(bench):
    """every signal, on three lamps and a buzzer, on two lamps, and on two that light at low level"""
    for line in LOW_LINES:
        bench.pins.pull(line, "pull-up")
    three, two, low = (Lane(bench, name, bus, lamps) for name, bus, lamps in (("three", 0, THREE), ("two", 1, TWO), ("low", 2, LOW)))
    recording = [lane.record() for lane in (three, two, low)]
    bench.start([three, two, low])
    for lane, seen in zip((three, two, low), recording):
        seen.stop()
        first = [levels for _, levels in seen.changes if lane is low or any(levels.values())]
        check(f"{lane.name}: dark at the start, from the first moment", len(first) == (lane is low) and not lane.lit(), story(seen))

    together("lamps", [lambda: three_lamps(bench, three), lambda: two_lamps(bench, two), lambda: active_low(bench, low)])
    cannot_answer(bench, [three, two, low])

    code = bench.agent.stop()
    check("SIGTERM: the agent ends in order, every lane dark", code == 0 and not any(lane.lit() for lane in (three, two, low)),
          (code, tail(bench.agent.log)))
    check("active low: dark after the end, by the pull", [bench.pins.level(line) for line in LOW_LINES] == [1, 1, 1])
    refused = Agent(HOME, config([{"name": "a", "kind": "hid"}], {**TWO, "active_low": True}, state=f"{HOME}/refused"), "refused").command("check")
    check("active low: on a pin that pulls down, `check` refuses it", refused.returncode == 78 and "pull" in refused.stderr, refused.stderr)
    for lane in (three, two, low):
        lane.scanner.remove()


def three_lamps(bench, lane):
    """three lamps and a buzzer"""
    seen = lane.seen(READY, 5)
    green = seen.spans(GREEN)
    check("three: ready is one steady green of about 3 s, then dark", len(green) == 1 and 2.2 <= green[0][1] <= 3.6 and not lane.lit(), story(seen))
    check("three: nothing lights beside green or after it",
          not seen.spans(RED) and green and all(end < green[0][0] for end in ends(seen.spans(AMBER))), story(seen))
    check("three: ready sounds once, short", len(seen.spans(BUZZER)) == 1 and seen.spans(BUZZER)[0][1] < 0.4, lengths(seen.spans(BUZZER)))
    if green:
        figure("scan to green in the emulated machine, ms", round((green[0][0] - seen.scanned) * 1000))
    body = (until(lane.bodies, 10) or [{}])[-1]
    check("three: what was shown is what the message says", body.get("lamp") == "ready" and body.get("serial") == READY, body)

    seen = lane.seen(REMOVED, 4)
    red = seen.spans(RED)[:-1]
    gaps = [later[0] - sum(earlier) for earlier, later in zip(red, red[1:])]
    check("three: stop is red, on and off once a second", len(red) >= 2 and all(about(length, 0.5) for length in [*gaps, *(n for _, n in red)]), story(seen))
    check("three: stop has no green", not seen.spans(GREEN), story(seen))
    check("three: stop sounds three times, short", len(seen.spans(BUZZER)) == 3 and max(lengths(seen.spans(BUZZER))) < 0.4, lengths(seen.spans(BUZZER)))

    seen = lane.seen(PENDING, 3)
    amber = seen.spans(AMBER)
    check("three: a new scan ends the red of the box before, at once", all(end < seen.scanned + 0.25 for end in ends(seen.spans(RED))), (seen.scanned, story(seen)))
    check("three: hold is steady amber", amber and amber[-1][1] > 1.5 and not seen.spans(GREEN), story(seen))
    check("three: hold sounds twice, short", len(seen.spans(BUZZER)) == 2 and max(lengths(seen.spans(BUZZER))) < 0.4, lengths(seen.spans(BUZZER)))

    seen = lane.seen(IMEI, 3.5)
    red = seen.spans(RED)
    pause = red[2][0] - sum(red[1]) if len(red) == 4 else 0
    check("three: rescan is two red double flashes within 2 s, then dark", len(red) == 4 and max(lengths(red)) < 0.4 and pause > 0.3
          and about(ends(red)[-1] - red[0][0], 1.5) and not seen.spans(GREEN) and not lane.lit(), story(seen))
    check("three: rescan sounds once, long", len(seen.spans(BUZZER)) == 1 and about(seen.spans(BUZZER)[0][1], 0.7), lengths(seen.spans(BUZZER)))

    recording = lane.record()
    for serial in (READY, ALSO_READY):
        lane.scan(serial)
        time.sleep(1.5)
    time.sleep(2.5)
    recording.stop()
    green = recording.spans(GREEN)
    check("three: two greens in a row are seen as two, at least 80 ms apart", len(green) == 2 and green[1][0] - sum(green[0]) >= 0.075, story(recording))

    bench.services.faults(f"{READY}=delay:2s")
    seen = lane.seen(READY, 6)
    amber, green = seen.spans(AMBER), seen.spans(GREEN)
    check("three: working is amber at 2 Hz from 300 ms after the scan, then the answer shows",
          len(amber) >= 3 and all(about(length, 0.25) for length in lengths(amber[:-1])) and about(amber[0][0] - seen.scanned, 0.3, 1)
          and len(green) == 1 and 0 <= green[0][0] - ends(amber)[-1] < 0.05, (seen.scanned, story(seen)))
    check("three: working is silent", len(seen.spans(BUZZER)) == 1 and green and seen.spans(BUZZER)[0][0] > green[0][0] - 0.1, story(seen))

    # The overtaken box becomes ready, later than the one that overtook it.
    recording = lane.record()
    lane.scan(READY)
    time.sleep(0.5)
    lane.scan(ALSO_READY)
    time.sleep(4.5)
    recording.stop()
    overtaken = [body for body in lane.bodies() if body["serial"] == READY][-1]
    check("three: an overtaken box that ends ready shows nothing", overtaken["verdict"] == "ready" and overtaken["lamp"] == "none"
          and not recording.spans(RED) and len(recording.spans(GREEN)) == 1, (overtaken, story(recording)))

    # The overtaken box is not ready: the alarm interrupts the green of the one that overtook it.
    bench.services.faults(f"{PENDING}=delay:2s")
    recording = lane.record()
    lane.scan(PENDING)
    time.sleep(0.4)
    lane.scan(ALSO_READY)
    time.sleep(5.5)
    recording.stop()
    green, red = recording.spans(GREEN), recording.spans(RED)
    check("three: an overtaken box that ends otherwise than ready raises the alarm, red at 3 Hz for 2 s",
          len(red) == 6 and len(fast(red)) == 6 and about(ends(red)[-1] - red[0][0], 1.85), story(recording))
    check("three: the alarm interrupts a green, which does not come back", len(green) == 1 and red and ends(green)[0] < red[0][0], story(recording))
    sounds = [span for span in recording.spans(BUZZER) if red and span[0] > red[0][0] - 0.1]
    check("three: the alarm sounds five times, fast", len(sounds) == 5 and max(lengths(sounds)) < 0.15, lengths(sounds))

    # The alarm interrupts a stop, which then comes back.
    recording = lane.record()
    lane.scan(PENDING)
    time.sleep(0.4)
    lane.scan(REMOVED)
    time.sleep(6)
    recording.stop()
    red = recording.spans(RED)
    alarm = fast(red)[:6]
    after = [span for span in red if alarm and span[0] > alarm[-1][0] and span[1] > 0.3]
    check("three: the alarm interrupts a stop, which comes back", len(alarm) == 6 and len(after) >= 2 and len([span for span in red if span[0] < alarm[0][0]]) >= 1,
          story(recording))
    bench.services.faults()
    lane.scan(IMEI)  # ends the stop
    time.sleep(2.5)


def two_lamps(bench, lane):
    """two lamps"""
    seen = lane.seen(READY, 5)
    check("two: ready is green for about 3 s", len(seen.spans(TWO_GREEN)) == 1 and 2.2 <= seen.spans(TWO_GREEN)[0][1] <= 3.6 and not seen.spans(TWO_RED), story(seen))
    seen = lane.seen(REMOVED, 4)
    red = seen.spans(TWO_RED)[:-1]
    check("two: stop is red, on and off once a second, no green", len(red) >= 2 and all(about(length, 0.5) for length in lengths(red)) and not seen.spans(TWO_GREEN), story(seen))
    lane.scan(IMEI)  # ends the stop
    time.sleep(2.5)
    # The long signal: how it looks, and that it ends.
    seen = lane.seen(PENDING, 33)
    red = seen.spans(TWO_RED)
    gaps = [later[0] - earlier[0] for earlier, later in zip(red, red[1:])]
    check("two: hold is a red wink of 100 ms every 2 s", len(red) >= 14 and max(lengths(red)) < 0.3 and all(about(gap, 2.0, 0.2) for gap in gaps), story(seen))
    check("two: hold ends after 30 s", red and 27 <= ends(red)[-1] - red[0][0] <= 31 and not lane.lit(), story(seen))
    check("two: hold has no green", not seen.spans(TWO_GREEN), story(seen))
    seen = lane.seen(IMEI, 3.5)
    check("two: rescan is two red double flashes", len(seen.spans(TWO_RED)) == 4 and max(lengths(seen.spans(TWO_RED))) < 0.4, story(seen))


def active_low(bench, lane):
    """lamps and a buzzer at low level"""
    def sounds(promise, seen, count, shortest=0, longest=0.4):
        tones = lengths(seen.spans(LOW_BUZZER, level=0))
        check(promise, len(tones) == count and all(shortest <= length <= longest for length in tones), tones)

    check("active low: dark is the high level, and so is silence", [bench.pins.level(line) for line in LOW_LINES] == [1, 1, 1])
    seen = lane.seen(ALSO_READY, 5)
    green = seen.spans(LOW_GREEN, level=0)
    check("active low: ready is one low span of about 3 s", len(green) == 1 and 2.2 <= green[0][1] <= 3.6 and not seen.spans(LOW_RED, level=0), story(seen))
    sounds("active low: ready sounds once, short", seen, 1)
    seen = lane.seen(PENDING, 5)
    red = seen.spans(LOW_RED, level=0)
    check("active low: hold is a red wink every 2 s, no green", len(red) >= 2 and max(lengths(red)) < 0.3 and about(red[1][0] - red[0][0], 2.0, 0.2)
          and not seen.spans(LOW_GREEN, level=0), story(seen))
    sounds("active low: hold sounds twice, short", seen, 2)
    # Between two flashes.
    seen = lane.seen(IMEI, 3.5)
    red = seen.spans(LOW_RED, level=0)
    check("active low: rescan is two red double flashes, then dark", len(red) == 4 and max(lengths(red)) < 0.4
          and not seen.spans(LOW_GREEN, level=0) and not lane.lit(), story(seen))
    sounds("active low: rescan sounds once, long", seen, 1, 0.5, 1)
    seen = lane.seen(REMOVED, 33)
    red = seen.spans(LOW_RED, level=0)
    check("active low: stop is low and high once a second", len(red) >= 25 and about(red[3][1], 0.5), story(seen))
    check("active low: stop ends after 30 s", red and 28 <= ends(red)[-1] - red[0][0] <= 31 and not lane.lit(), story(seen))
    sounds("active low: stop sounds three times, short", seen, 3)


def cannot_answer(bench, lanes):
    """a station that cannot answer scans"""
    bench.services.faults("reset")
    busy, *idle = lanes[1], lanes[0], lanes[2]
    seen = busy.seen(READY, 4)
    check("unable: a scan is answered all the same: hold, no green", not seen.spans(TWO_GREEN) and fast(seen.spans(TWO_RED)), story(seen))
    check("unable: every idle lane is steady red, and nothing else lights",
          until(lambda: all(_steady(lane, 1.2) for lane in idle), 60, 0.1), ([lane.lit() for lane in lanes], bench.broker.last("health"), tail(bench.agent.log)))
    bench.services.faults()
    busy.scan(ALSO_READY)
    check("unable: dark with the next scan that is answered", until(lambda: not any(lane.lit() for lane in idle), 20), bench.broker.last("health"))


def _steady(lane, seconds):
    """Whether red, and nothing else, is lit for that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if lane.lit() != [lane.lamps["red"]]:
            return False
        time.sleep(0.01)
    return True


def lost(bench):
    """a pin that another program holds, and a chip that is missing, appears, disappears and comes back"""
    label = "bench-late"
    device, line = hold.request(f"/dev/{bench.pins.chip}", TWO_RED)
    held = Lane(bench, "held", 0, TWO)
    gone = Lane(bench, "gone", 1, {**CHIP, "chip": label, "green": 2, "red": 3})
    agent = bench.start([held, gone])
    check("busy: health says busy", until(lambda: bench.lamps(held) == "busy", 20, 0.2), bench.broker.last("health"))
    check("missing: health says missing", until(lambda: bench.lamps(gone) == "missing", 20, 0.2), bench.broker.last("health"))
    check("busy, missing: the station is able all the same", json.loads(bench.broker.last("health"))["able"] is True, bench.broker.last("health"))
    log = agent.log.read_text()
    check("busy: the log names line and holder", re.search(r'GPIO25 of /dev/gpiochip\d+ is held by .{0,2}"somebody', log.replace("\\", "")), log)
    check("missing: the log names the chip and what is here", label in log and "pinctrl-bcm2711" in log, log)
    doctor = agent.command("doctor", "--json")
    said = {line["part"]: line for line in json.loads(doctor.stdout or "[]")}
    check("busy: the doctor beside the agent names line and holder, and fails",
          doctor.returncode == 1 and said["lamps held"]["state"] == "fail" and 'held by "somebody"' in said["lamps held"]["finding"], doctor)
    check("missing: the doctor beside the agent says so", said["lamps gone"]["state"] == "fail" and label in said["lamps gone"]["finding"], doctor)
    for lane in (held, gone):
        lane.scan(READY)
        check(f"{lane.name}: the scan is answered and delivered all the same", until(lambda lane=lane: [body["verdict"] for body in lane.bodies()] == ["ready"], 20), lane.bodies())

    # Freed just after an answer: it must not light late.
    recording = held.record()
    held.scan(ALSO_READY)
    until(lambda: len(held.bodies()) == 2, 20)
    time.sleep(0.5)  # two answers are 80 ms apart, so by now it would be lit
    os.close(line)
    os.close(device)
    gone.pins = Pins(label=label, lines=8, name="late")
    for lane in (held, gone):
        check(f"{lane.name}: the lamps are taken without a restart", until(lambda lane=lane: bench.lamps(lane) == "ok", 30, 0.2), bench.broker.last("health"))
    recording.stop()
    check("busy: a green that could not be shown in its time does not come late", not recording.spans(TWO_GREEN), story(recording))
    for lane in (held, gone):
        lane.scan(READY)
        check(f"{lane.name}: and they light again", until(lambda lane=lane: lane.lit() == [lane.lamps["green"]], 10), (lane.lit(), tail(agent.log)))
    doctor = agent.command("doctor", "--json")
    check("doctor: lamps that the agent holds are in use", [line["state"] for line in json.loads(doctor.stdout or "[]") if line["part"].startswith("lamps")] == ["in_use"] * 2, doctor)

    gone.pins.remove()
    gone.scan(ALSO_READY)
    check("gone: the scan is answered and delivered without a chip", until(lambda: gone.bodies()[-1]["serial"] == ALSO_READY, 20), gone.bodies())
    check("gone: health says that the lamps are lost", until(lambda: bench.lamps(gone) not in ("ok", None), 30, 0.2), bench.broker.last("health"))
    gone.pins.put_back()
    check("gone: the chip is back, the lamps are taken", until(lambda: bench.lamps(gone) == "ok", 30, 0.2), (bench.broker.last("health"), tail(agent.log)))
    gone.scan(READY)
    check("gone: and light", until(lambda: gone.lit() == [2], 10), (gone.lit(), tail(agent.log)))
    check("gone: the agent ends in order", agent.stop() == 0, tail(agent.log))
    held.scanner.remove()
    gone.scanner.remove()


def darkness(bench):
    """dark at every end, also on pins that keep their level when released"""
    kept = KeptPins("kept", 3).plug()
    sim = Lane(bench, "sim", 0, THREE)
    keep = Lane(bench, "keep", 1, {**CHIP, "chip": kept.label, "green": 2, "red": 3}, kept)
    agent = bench.configured([sim, keep], f'deadline = "{DEADLINE}s"')
    lit = lambda: (sim.lit(), keep.lit())  # noqa: E731
    unit = Unit(agent, lit)
    scans = 0

    def green():
        """Both lanes green at once."""
        nonlocal scans
        scans += 1
        sim.scan(READY)
        keep.scan(ALSO_READY)
        return until(lambda: lit() == ([GREEN], [2]), 10, 0.005)

    def ends_dark(name, act, seconds, itself):
        """`itself`: the agent darkens its lamps; otherwise the command that the unit runs after its end must."""
        unit.start(bench.broker)
        check(f"{name}: dark after the start", lit() == ([], []), lit())
        was_green = green()
        act()
        ended = unit.wait(seconds)
        check(f"{name}: it was green, and the agent ended", was_green and ended, (lit(), tail(agent.log)))
        check(f"{name}: gpio-sim is dark when the process is gone", unit.seen_at_end and not unit.seen_at_end[0], unit.seen_at_end)
        if itself:
            check(f"{name}: a pin that keeps its level was driven dark by the agent itself", unit.seen_at_end and not unit.seen_at_end[1], unit.seen_at_end)
        else:
            check(f"{name}: a pin that keeps its level is still lit, nobody could darken it", unit.seen_at_end and unit.seen_at_end[1] == [2], unit.seen_at_end)
        check(f"{name}: what the unit runs after the end (ExecStopPost) leaves every lamp dark", unit.post and unit.post.returncode == 0 and lit() == ([], []),
              (lit(), unit.post))
        return unit.process.returncode

    code = ends_dark("SIGTERM while green", lambda: agent.send(signal.SIGTERM), 20, True)
    check("SIGTERM while green: exit code 0", code == 0, code)
    code = ends_dark("SIGKILL while green", lambda: agent.send(signal.SIGKILL), 20, False)
    check("SIGKILL while green: killed", code == -signal.SIGKILL, code)
    crash = [sys.executable, str(Path(__file__).with_name("crash.py"))]
    code = ends_dark("panic while green", lambda: subprocess.run([*crash, str(agent.process.pid)], check=True), 20, True)
    check("panic while green: it was one, and it aborted", code == -signal.SIGABRT and "panicked at" in agent.log.read_text(), (code, tail(agent.log)))
    stopped = []

    def stop():
        stopped.append(time.monotonic())
        agent.send(signal.SIGSTOP)
    code = ends_dark("SIGSTOP while green", stop, unit.watchdog + 15, False)
    # The watchdog's time runs from the last sign of life.
    figure(f"stopped while green: dark again after, s (watchdog {unit.watchdog:.0f} s)", round(time.monotonic() - stopped[0], 1))
    check("SIGSTOP while green: the watchdog killed it", unit.bitten and code == -signal.SIGKILL, code)

    # The station continues, and shows nothing from before.
    unit = Unit(agent, lit).start(bench.broker)
    time.sleep(1)
    check("restarted: no green without a new scan", lit() == ([], []), lit())
    used = agent.command("lamps", "test")
    check("`lamps test` beside a running agent: exit 1, in use by benchlight", used.returncode == 1 and "in use by benchlight" in used.stderr + used.stdout, used)

    # Stopped between scan and answer, for longer than a green may wait (2 s after the deadline).
    bench.services.faults("delay:1500ms")
    recording = sim.record()
    sim.scan(READY)
    time.sleep(0.7)
    agent.send(signal.SIGSTOP)
    time.sleep(DEADLINE + 2)
    agent.send(signal.SIGCONT)
    answered = until(lambda: sim.bodies()[-1:] and len(sim.bodies()) == scans + 1, 15)
    time.sleep(1)
    recording.stop()
    bench.services.faults()
    check("stopped between scan and answer: the answer comes too late to be green", answered and not recording.spans(GREEN), (sim.bodies()[-1:], story(recording)))
    check("and the watchdog was content", not unit.bitten)
    agent.send(signal.SIGTERM)
    check("stopped in order", unit.wait(20) and unit.process.returncode == 0 and lit() == ([], []), (lit(), tail(agent.log)))

    recording = sim.record()
    tested = agent.command("lamps", "test")
    recording.stop()
    check("`lamps test`: all lamps light together, green never alone", tested.returncode == 0 and recording.spans(GREEN)
          and all(levels[RED] and levels[AMBER] for _, levels in recording.changes if levels[GREEN]), (tested, story(recording)))
    check("`lamps test`: dark afterwards", lit() == ([], []), lit())


def main():
    start_udev()
    bench = LampBench()
    try:
        run("lamps", [signals, lost, darkness], bench, failed=bench.give_up)
    finally:
        if bench.agent and bench.agent.process:
            bench.agent.stop()
        note(f"version {subprocess.run([AGENT, '--version'], capture_output=True, text=True).stdout.strip()}")
