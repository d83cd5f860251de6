"""A failing card: full, read-only, or returning NUL, each while scans run, and repaired without a restart."""

import random
import socket
import time

from . import small
from .cuts import READY

AMBER, RED, GREEN = (0, 0, 1), (0, 1, 0), (1, 0, 0)
FILE = "/data/state/journal.sqlite"
# A busy disk of this machine must not look like a slow card. No write is lost by this: QEMU is killed, but this machine
# keeps what the guest has written. The power cuts test cards that lose writes.
CACHE = "unsafe"
FILL = "dd if=/dev/zero of=/data/fill bs=1048576 2>/dev/null;sync;dd if=/dev/zero of=/data/rest bs=1024 2>/dev/null;sync"


class Bench:
    """A station, and what people do around it: scan, look at the lamps, read the dashboard."""

    def __init__(self, station, broker, prefix):
        self.station, self.broker, self._prefix = station, broker, prefix
        self._lines = {lane: socket.create_connection(("127.0.0.1", port), timeout=30) for lane, port in station.ports.items()}
        self.count = 0
        self.recorded, self.faulted = [], []

    def scan(self, seconds=20):
        """Scan a new box on the lane that prints; return the words of its answer."""
        self.count += 1
        serial = f"{self._prefix}{self.count:08}A"
        since = len(self.station.answers)
        self._lines["fast"].sendall(serial.encode() + b"\n")
        words = self.station.until(lambda: self.station.printed(serial, since), seconds) or ["", serial, "no", "answer", ""]
        (self.faulted if words[3] == "journal_fault" else self.recorded).append((words[0], serial))
        return words

    def lamps(self, serial, wanted, seconds=20):
        """One scan on the lane with lamps: the levels seen until `wanted` came."""
        since = len(self.station.history)
        self._lines["lit"].sendall(serial.encode() + b"\n")
        self.station.until(lambda: wanted in [pins for _, pins in self.station.history[since:]], seconds)
        return [pins for _, pins in self.station.history[since:]]

    def health(self, holds, seconds=60):
        """Wait for a health message that `holds` accepts; return the newest one and whether it came."""
        since, ends = len(self.broker.messages), time.monotonic() + seconds
        while True:
            health = self.broker.health(since) or self.broker.health()
            if health and holds(health) or time.monotonic() > ends:
                return health, bool(health and holds(health))
            time.sleep(0.1)

    def steady(self, levels, seconds=1.5, within=30):
        """Wait until the lamps have shown `levels`, and nothing else, for that long."""
        ends = time.monotonic() + within
        while time.monotonic() < ends:
            at, pins = self.station.history[-1]
            if pins == levels and time.monotonic() - at > seconds:
                return True
            time.sleep(0.05)
        return False

    def close(self):
        for line in self._lines.values():
            line.close()


def days(results):
    """All failures, on one card."""
    with small.outside(random.Random(1)) as (broker, card, boot):
        with small.Station(boot, card, CACHE, 600, life=1) as station:
            if not results.check("bad days: the station starts", station.up(), station.said()):
                return
            bench = Bench(station, broker, "F")
            bench.health(lambda health: health["able"])
            _full(results, bench)
            _read_only(results, bench)
            _settled(results, bench)
            epoch = _nul(results, bench, broker)
            bench.close()
        with small.Station(boot, card, CACHE, 600, life=2, before=FILL.replace(" ", "+")) as station:
            if not results.check("bad days: a power cut later the station starts again, on a full card", station.up(), station.said()):
                return
            bench = Bench(station, broker, "Z")
            _full_at_start(results, bench)
            words = bench.scan()
            record = _delivered(broker, words[0])
            results.check("bad days: and goes on in the journal that was made anew", record and record["epoch"] == epoch, (words, record, epoch))
            bench.close()


def _well(results, bench, day):
    """Check that a scan is recorded and answered as usual; True if it is."""
    words = bench.scan()
    return results.check(f"{day}: a scan is answered and recorded", words[3] == "not_found", (words, bench.station.said()))


def _faulted(results, bench, day, state):
    """The promises that hold while nothing can be recorded."""
    health, came = bench.health(lambda health: health["journal"]["state"] == state and not health["able"])
    results.check(f"{day}: health says unable, journal_fault, and that the journal is {state}", came and health["reason"] == "journal_fault", health)
    results.check(f"{day}: the idle lamp says that the station is unable: red, steady", bench.steady(RED), bench.station.history[-5:])
    seen = bench.lamps(READY[0], AMBER)
    results.check(f"{day}: a ready box is shown as hold, not green", AMBER in seen and GREEN not in seen, seen)
    words = bench.scan()
    results.check(f"{day}: the next scan is answered unknown/journal_fault", words[2:4] == ["unknown", "journal_fault"], words)
    results.check(f"{day}: the lamp holds on steadily", bench.steady(AMBER, within=10), bench.station.history[-5:])


def _mended(results, bench, day):
    """After the card is repaired the station recovers by itself."""
    health, came = bench.health(lambda health: health["journal"]["state"] == "ok" and health["able"])
    results.check(f"{day}: health says able again, without a restart", came and bench.station.exit is None, (health, bench.station.said()))
    _well(results, bench, f"{day}, mended")
    seen = bench.lamps(READY[1], GREEN)
    results.check(f"{day}, mended: a ready box is green again", GREEN in seen, seen)


def _full(results, bench):
    day = "full disk"
    _well(results, bench, day + ", before")
    seen = bench.lamps(READY[0], GREEN)
    results.check(f"{day}, before: a ready box is green", GREEN in seen, seen)
    bench.steady(small.DARK, 0.5)
    bench.station.order(FILL)
    for _ in range(300):
        if bench.scan()[3] == "journal_fault":
            break
    results.check(f"{day}: a scan that cannot be recorded is answered journal_fault", len(bench.faulted) == 1, bench.recorded[-3:])
    _faulted(results, bench, day, "full")
    bench.station.order("rm /data/fill /data/rest; sync")
    _mended(results, bench, day)


def _full_at_start(results, bench):
    """SQLite maps a file that it makes at each start; on a full card that could end the process."""
    day = "full card at the start"
    words = bench.scan()
    results.check(f"{day}: a scan is answered unknown/journal_fault", words[2:4] == ["unknown", "journal_fault"], (words, bench.station.said()))
    _faulted(results, bench, day, "full")
    bench.station.order("rm /data/fill /data/rest; sync")
    _mended(results, bench, day)


def _read_only(results, bench):
    day = "read-only card"
    bench.steady(small.DARK, 0.5)
    # As the kernel does it after an error: with the journal's files open.
    bench.station.order("echo u >/proc/sysrq-trigger")
    turned = bench.station.order("until grep -q ' /data ext4 ro' /proc/mounts; do usleep 50000; done")
    results.check(f"{day}: it is read-only while the agent has its files open", turned == "0", bench.station.said())
    words = bench.scan()
    results.check(f"{day}: the first scan is answered unknown/journal_fault", words[2:4] == ["unknown", "journal_fault"], words)
    _faulted(results, bench, day, "read_only")
    done = bench.station.order("mount -t ext4 -o remount,rw /dev/vda /data")
    results.check(f"{day}: it can be written again", done == "0", bench.station.said())
    _mended(results, bench, day)


def _delivered(broker, scan, seconds=60):
    """Wait for the record of this scan outside."""
    ends = time.monotonic() + seconds
    while True:
        found = next((record["data"] for record in broker.records() if record["id"] == scan), None)
        if found or time.monotonic() > ends:
            return found
        time.sleep(0.1)


def _settled(results, bench):
    """Afterwards everything recorded is delivered; the rest was published without a number or not at all."""
    health, came = bench.health(lambda health: health["journal"]["unsent"] == 0 and health["journal"]["faulted"] >= len(bench.faulted))
    results.check("bad days: health counts every scan that was answered journal_fault", came, (health, len(bench.faulted)))
    records = bench.broker.records()
    lost = [pair for pair in bench.recorded if not any((record["id"], record["data"]["serial"]) == pair for record in records)]
    results.check(f"bad days: every scan that was answered otherwise is delivered ({len(bench.recorded)})", not lost, lost[:5])
    faults = {scan for scan, _ in bench.faulted}
    numbered = [record["data"] for record in records if record["id"] in faults and record["data"]["seq"] is not None]
    results.check("bad days: what was answered journal_fault has no number", not numbered, numbered[:2])
    results.check("bad days: none of those was delivered twice", all(sum(record["id"] == scan for record in records) <= 1 for scan in faults), faults)
    numbers = sorted({record["data"]["seq"] for record in records if record["data"]["seq"] is not None})
    results.check("bad days: seq has no gap", numbers == list(range(1, len(numbers) + 1)), numbers)


def _nul(results, bench, broker):
    """The last third of a journal with a backlog turns into NUL; return the epoch that follows."""
    day = "NUL in the journal"
    station = bench.station
    before = {record["data"]["epoch"] for record in broker.records()} - {None}
    broker.freeze(True)
    backlog = len(bench.recorded)
    for _ in range(60):
        bench.scan()
    backlog = bench.recorded[backlog:]
    station.order("kill -TERM $(cat /agent.pid)")
    station.until(lambda: station.exit, 30)
    results.check(f"{day}: the agent ends in order with a backlog and no broker", station.exit == "0", (station.exit, station.said()))
    station.order(f"pages=$(($(stat -c %s {FILE}) / 4096)); dd if=/dev/zero of={FILE} bs=4096 seek=$((pages * 2 / 3)) "
                  "count=$((pages - pages * 2 / 3)) conv=notrunc 2>/dev/null; sync")
    broker.freeze(False)
    station.exit = None
    station.listening.clear()
    looked = len(station.history)
    station.order("agent; listening &")
    results.check(f"{day}: the station starts", station.up(60), station.said())
    bench.close()
    again = Bench(station, broker, "N")
    dark = [pins for _, pins in station.history[looked:] if pins != small.DARK]
    results.check(f"{day}: the lamps are dark until the first scan", not dark, dark)
    words = again.scan()
    results.check(f"{day}: a scan is answered and recorded", words[3] == "not_found", words)

    def saved():
        records = {(record["id"], record["data"]["serial"]) for record in broker.records()}
        return [pair for pair in backlog if pair in records]

    def told(health):
        missing = len(backlog) - len(saved())
        return health["able"] and "journal_salvaged" in health["alarms"] and health["journal"]["unsent"] == 0 and missing <= (health["journal"].get("lost") or 0)
    health, came = again.health(told)
    results.check(f"{day}: health is able, with the alarm journal_salvaged, and counts what is lost", came, health)
    record = _delivered(broker, words[0])
    epoch = record and record["epoch"]
    results.check(f"{day}: it goes on in a new epoch, from number 1", record and epoch not in before and record["seq"] == 1, (words, record))
    lost = (health["journal"] if health else {}).get("lost")
    results.check(f"{day}: the backlog that could be read is delivered ({len(saved())} of {len(backlog)}, {lost} counted as lost)", saved(), health)
    seen = again.lamps(READY[0], GREEN)
    results.check(f"{day}: a ready box is green", GREEN in seen, seen)
    again.close()
    return epoch
