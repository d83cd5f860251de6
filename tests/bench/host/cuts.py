"""Power cuts: the virtual machine is killed at random moments while scans run, and its promises must hold after each."""

import collections
import json
import os
import random
import socket
import threading
import time

from . import small

# Boxes that the simulated Kandji knows as ready; every other serial number is not found.
READY = ("C02XK0AAJG5H", "FVFGK1BBQ6L4")
# What the card does with writes that were not flushed: QEMU's two caches lose only what the guest had not sent, the third loses more.
CACHES = ("none", "writeback", "forgetful")
# Boxes in the list behind the replica, at least; each life has other ones, so each pass writes and deletes.
BOXES = 1000
GREEN, RED = 0, 1


class Fast:
    """Scan continuously on the lane that prints its answers, a few boxes at a time."""

    def __init__(self, station, life):
        self._station, self._life = station, life
        self.sent = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            with socket.create_connection(("127.0.0.1", self._station.ports["fast"]), timeout=30) as line:
                while not self._station.ended.is_set():
                    line.sendall(f"T{self._life:04}{self.sent:06}A\n".encode())
                    self.sent += 1
                    self._station.until(lambda: self.sent - len(self._station.answers) < 8, 10)
                    time.sleep(0.01)
        except OSError:
            pass  # the cut


class Lit:
    """Scan continuously on the lane with lamps: in turn a box that is not found and one that is ready.

    Red follows green and green red, so a lamp that lights is the answer to the newest scan, however slow the machine is.
    """

    def __init__(self, station, life):
        self._station, self._life = station, life
        self.answered = []  # (the red scan, the ready box that followed it or None)
        self.first = self.wrong = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            with socket.create_connection(("127.0.0.1", self._station.ports["lit"]), timeout=30) as line:
                number = 0
                while not self._station.ended.is_set():
                    # Not counted. From here on the lane is never idle, so its red cannot mean that the station is unable.
                    if not self._shown(line, READY[1], GREEN):
                        continue
                    while not self._station.ended.is_set():
                        red = f"L{self._life:04}{number:06}A"
                        number += 1
                        if not self._shown(line, red, RED):
                            break
                        self.answered.append((red, None))
                        if not self._shown(line, READY[0], GREEN):
                            break
                        self.answered.append((red, READY[0]))
        except OSError:
            pass  # the cut

    def _shown(self, line, serial, lamp):
        since = len(self._station.history)
        self.first = self.first or time.monotonic()
        line.sendall(serial.encode() + b"\n")

        def lit():
            seen = [pins for _, pins in self._station.history[since:]]
            if lamp == RED and any(pins[GREEN] for pins in seen[:-1]) and seen[0][GREEN] == 0:
                self.wrong = (serial, seen)
            at, now = self._station.history[-1]
            if seen and now == small.HOLD and time.monotonic() - at > 1:
                return "hold"  # answered differently: then red and green prove nothing
            return any(pins[lamp] for pins in seen)
        return self._station.until(lit, 10) is True


class Witness:
    """What was seen outside the machine, over all boots."""

    def __init__(self):
        self.fast, self.lit = [], []
        self.lives, self.shut, self.mute, self.bright, self.wrong = 0, [], [], [], []
        self.unlengthened = []
        self.caches = collections.Counter()
        self.replicas, self.discarded, self.filled = [], [], 0
        self.faulted = self.tails = self.away = self.writes_lost = 0

    @property
    def answered(self):
        return len(self.fast) + len(self.lit)


def cuts(results, count):
    """Cut the power `count` times; then everything that was answered must have been delivered."""
    seed = int(os.environ.get("BENCH_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"  seed {seed} (BENCH_SEED={seed} chooses the same moments again)", flush=True)
    chance, witness = random.Random(seed), Witness()
    with small.outside(random.Random(seed + 1)) as (broker, card, boot):
        begun = time.monotonic()
        for life in range(1, count + 1):
            # NUL after the end of the log, as left by a filesystem that had extended the file but not yet written to it.
            tail = chance.choice((0, 0, 512, 4096, 65536)) if life > 1 else 0
            # Only the journal can deliver what a frozen broker did not accept.
            away = chance.random() < 0.35
            broker.freeze(away)
            if not _life(boot, card, witness, life, chance.uniform(0.2, 6.0), tail, away):
                break
        broker.freeze(False)
        rows = _last_life(results, boot, card, broker, witness) if not witness.shut else []
        took = time.monotonic() - begun
        _judge(results, broker, witness, rows, count)
        results.figure("power cuts survived", witness.lives)
        results.figure("of them with NUL behind the log", witness.tails)
        results.figure("of them with the broker away", witness.away)
        results.figure("scans answered before a cut", witness.answered)
        results.figure("seconds in all, the last life included", round(took))


def _life(boot, card, witness, life, after, tail, away):
    """One boot of the station, cut after `after` seconds of scanning; True if it got that far."""
    cache = CACHES[life % len(CACHES)]
    words = {"life": life, "boxes": BOXES + life * 337 % BOXES}
    if tail:
        words["before"] = f"nul+{tail}"
    begun = time.monotonic()
    with small.Station(boot, card, cache, **words) as station:
        if not station.up():
            witness.shut.append((life, station.said()))
            return False
        up = time.monotonic() - begun
        # Long enough to see a lamp lit because of something from the previous boot.
        station.until(lambda: False, 0.5)
        fast, lit = Fast(station, life), Lit(station, life)
        station.until(lambda: lit.answered or fast.sent and station.answers, 60)
        station.until(lambda: False, after)
        alive = not station.ended.is_set() and station.exit is None
        station.cut()
    _look_at_replica(station, witness, life)
    kept, lost = card.cut()
    early = [pins for at, pins in station.history if pins != small.DARK and at < (lit.first or at + 1)]
    if early or not station.history:
        witness.bright.append((life, early))
    if lit.wrong:
        witness.wrong.append((life, lit.wrong))
    printed = [line.split(" ") for _, line in station.answers]
    answers = [words for words in printed if len(words) > 4 and words[0] != "change"]
    witness.fast += [(words[0], words[1]) for words in answers if words[3] != "journal_fault"]
    # On an overloaded machine a commit may take over a second: the station says so and promises nothing.
    witness.faulted += sum(words[3] == "journal_fault" for words in answers)
    witness.lit += lit.answered
    witness.writes_lost += lost
    if tail:
        was, is_now = (station.nul or "none 0").split()
        if was.isdigit() and int(is_now) == int(was) + tail:
            witness.tails += 1
        else:
            witness.unlengthened.append((life, tail, station.nul))
    witness.away += away
    if not alive:
        witness.shut.append((life, station.said()))
        return False
    if not answers and not lit.answered:
        witness.mute.append((life, station.said()))
        return False
    witness.lives += 1
    witness.caches[cache] += 1
    print(f"  life {life}: up in {up:.1f} s, cut after {after:.1f} s, {len(printed)} + {len(lit.answered)} answers, cache {cache}"
          + (f", {lost} of {kept + lost} writes lost" if kept + lost else "") + (f", {tail} NUL" if tail else "") + (", broker away" if away else ""), flush=True)
    return True


def _look_at_replica(station, witness, life):
    """What the cut before has left of the replica's file: an earlier state of it, whole, or none yet."""
    code, _, said = (station.replica or "none ").partition(" ")
    if code != "0":
        witness.replicas.append((life, station.replica))
    witness.filled += "last complete pass" in said
    if any("is deleted and filled again" in line for line in station.machine.console):
        witness.discarded.append((life, station.said()))


def _last_life(results, boot, card, broker, witness):
    """Wait until the station's backlog is gone, then query the journal itself."""
    began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    with small.Station(boot, card, "none", seconds=400, life="last", boxes=BOXES) as station:
        if not station.up():
            results.check("cuts: the station starts after the last cut", False, station.said())
            return []
        wanted = {serial for _, serial in witness.fast} | {red for red, _ in witness.lit}
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            health = broker.health() or {}
            if not wanted - {record["data"]["serial"] for record in broker.records()} and health.get("journal", {}).get("unsent") == 0:
                break
            time.sleep(0.5)
        early = [pins for _, pins in station.history if pins != small.DARK]
        if early:
            witness.bright.append(("last", early))
        _look_at_replica(station, witness, "last")
        filled, replica = False, {}
        while not filled and time.monotonic() < ends:
            time.sleep(0.5)
            replica = (broker.health() or {}).get("sources", {}).get("kandji", {}).get("replica") or {}
            # Not what an earlier life has said.
            filled = (replica.get("pass_at") or "") >= began and replica["rows"] > BOXES / 2
        results.check("cuts: after the last cut the replica is filled again", filled, replica)
        exported = station.order("/program/benchlight journal export --format jsonl --config /benchlight.toml >$rows; echo @end >$rows", 120)
        station.until(lambda: station.rows and station.rows[-1][1] == "@end", 60)
        results.check("cuts: the journal can be read beside the agent", len(station.rows) > 1, (exported, station.said()))
        rows = [json.loads(line) for _, line in station.rows if line.startswith("{")]
        station.order("kill -TERM $(cat /agent.pid)")
        station.until(lambda: station.exit, 30)
        results.check("cuts: the agent ends in order", station.exit == "0", (station.exit, station.said()))
        station.order("umount /data")
        return rows


def _lit(records):
    """The records of the lane with lamps, named as the observer names them."""
    named, red = set(), None
    for record in sorted(records, key=lambda record: (record["epoch"] or "", record["seq"] or 0)):
        if record["lane"] == "lit" and "cause" not in record:
            box = record["serial"] in READY
            red = red if box else record["serial"]
            if record["lamp"] == ("ready" if box else "stop"):
                named.add((red, record["serial"] if box else None))
    return named


def _judge(results, broker, witness, rows, count):
    records = broker.records()
    bodies, twice = {}, []
    for record in records:
        record["data"].pop("replay")
        if bodies.setdefault(record["id"], record) != record:
            twice.append(record["id"])
    # A scan answered journal_fault is published without a number, at most once.
    faults = {key for key, record in bodies.items() if record["data"]["seq"] is None and record["data"]["reason"] == "journal_fault"}
    delivered = [record["data"] for key, record in bodies.items() if key not in faults]

    results.check(f"cuts: {count} power cuts happened while scans ran", witness.lives == count, (witness.lives, *witness.shut[:1]))
    results.check("cuts: in each life at least one scan was answered before the cut", not witness.mute, witness.mute)
    if count >= len(CACHES):
        results.check(f"cuts: each kind of card lost its power: {', '.join(CACHES)}", set(witness.caches) == set(CACHES), witness.caches)
    results.check("cuts: wherever NUL was meant to lie behind the log it did", not witness.unlengthened, witness.unlengthened)
    results.check("cuts: after each of them the journal opens and the station starts", not witness.shut, witness.shut[:2])
    results.check("cuts: the lamps stay dark until the first scan of each life", not witness.bright, witness.bright[:5])
    results.check("cuts: no green but for the newest scan", not witness.wrong, witness.wrong[:3])
    results.check("cuts: after each of them the replica's file is read, as an earlier state of itself or none", not witness.replicas, witness.replicas[:3])
    results.check("cuts: the agent never has to delete it", not witness.discarded, witness.discarded[:2])
    results.figure("boots that found a complete pass in the replica", witness.filled)
    lost = [pair for pair in witness.fast if pair[0] not in bodies or bodies[pair[0]]["data"]["serial"] != pair[1]]
    results.check(f"cuts: every scan that was answered in print is delivered, with the id printed ({len(witness.fast)})",
                  witness.fast and not lost, (len(lost), lost[:10]))
    shown = _lit(delivered)
    dark = [pair for pair in witness.lit if pair not in shown]
    results.check(f"cuts: every scan whose lamp had answered is delivered, with that lamp ({len(witness.lit)})",
                  witness.lit and not dark, (len(dark), dark[:10]))
    epochs = {data["epoch"] for data in delivered}
    results.check("cuts: one journal all along, none had to be salvaged", len(epochs) == 1, epochs)
    numbers = sorted(data["seq"] or 0 for data in delivered)
    gaps = [(here, after) for here, after in zip(numbers, numbers[1:]) if after != here + 1]
    results.check(f"cuts: seq counts from 1 to {numbers[-1] if numbers else '?'} without a gap, and none is there twice",
                  numbers and numbers[0] == 1 and not gaps, (numbers[:1], gaps[:10]))
    results.check("cuts: no id was delivered with two bodies", not twice, twice[:5])

    kept = {row["id"]: row for row in rows if row["kind"] in ("scan", "change") and row.get("seq")}
    differ = [key for key in kept.keys() | bodies.keys() - faults
              if key not in kept or key not in bodies or int(kept[key]["seq"]) != bodies[key]["data"]["seq"]]
    results.check("cuts: the journal holds exactly what was delivered", kept and not differ, differ[:5])
    interrupted = [row for row in rows if row["kind"] == "interrupted"]
    results.check("cuts: no interrupted scan has a number or was delivered",
                  all(row.get("seq") in (None, "") and row["id"] not in bodies for row in interrupted), interrupted[:3])
    results.figure("scans delivered", len(delivered))
    results.figure("scans answered journal_fault for a slow card", witness.faulted)
    results.figure("answered scans lost", len(lost) + len(dark))
    results.figure("deliveries that were repeats", len(records) - len(bodies))
    results.figure("scans cut before their answer", len(interrupted))
    results.figure("writes a card with a cache lost", witness.writes_lost)
