"""The agent for arm64 on a virtual Raspberry Pi. Codes are typed and pins are read from outside."""

import json
import os
import statistics
import subprocess
import tempfile
import time
import traceback

from . import apt, cross, guests
from .broker import Broker
from .kernel import initramfs, kernel
from .vm import Machine, TimeOut

# Boxes that the simulated Kandji knows, by the station's answer.
READY, ALSO_READY, PENDING, REMOVED = "C02XK0AAJG5H", "FVFGK1BBQ6L4", "C02PD4EEJG5J", "DEMOGONE0009"
LAMPS = {"green": 17, "red": 27, "amber": 22, "buzzer": 23}
# Two pins that do not belong to the lamps, in the same registers: an output at high level, and one used by a peripheral.
FOREIGN_OUTPUT, FOREIGN_PERIPHERAL = 12, 24
OUTPUT, ALTERNATE_0 = 1, 4
# The GPIO registers of a Raspberry Pi 1 to 3, and in them: function of ten pins each, set, level.
PINS, FUNCTION, SET, LEVEL = 0x3F200000, 0x00, 0x1C, 0x34
# What the agent says if the machine is too slow for its time limits.
BUSY = ("timeout", "journal_fault")
LIBRARIES = ("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1")
KEYS = {"-": "minus", " ": "spc", "\n": "ret"}


def config(driver, port, hold="3s"):
    """A station on this board: one USB scanner that types, three lamps and a buzzer."""
    return f'''[station]
site = "lab"
name = "pi"
state_dir = "/data/{driver}"
[[scanner]]
name = "main"
kind = "hid"
# Keys are typed one by one from outside a slow machine. The end key ends a code, as on a bench.
pause = "5s"
[indicator]
kind = "gpio"
driver = "{driver}"
ready_hold = "{hold}"
{"".join(f"{name} = {pin}{chr(10)}" for name, pin in LAMPS.items())}
[[source]]
name = "kandji"
kind = "kandji"
url = "http://127.0.0.1:8801"
[verdict]
deadline = "5s"
[mqtt]
url = "mqtt://10.0.2.2:{port}"
allow_plaintext = true
replay_per_second = 0
'''


class Pi:
    """A Raspberry Pi 3 B with its card, a scanner and a network on its USB."""

    def __init__(self, program, broker, seconds):
        linux = kernel("arm64")
        apt.install(["e2fsprogs"], ["/usr/sbin/mkfs.ext4"], "the card of the virtual Pi")
        # In memory if possible: power cuts are another part, and here a busy disk of this machine must not look like a bad card.
        self._folder = tempfile.TemporaryDirectory(prefix="benchlight-pi-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.card = f"{self._folder.name}/card"
        # QEMU wants an SD card's size to be a power of two.
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", self.card, "256M"], check=True, stdout=subprocess.DEVNULL)
        image = cross.CACHE / "guest-pi.img"
        files = {"bin/busybox": linux.busybox, "bin/benchlight": program, "init": guests.BENCH / "guest/pi_init"}
        files.update({f"lib/{name}": f"{cross.TARGETS['arm64'].loader}/lib/{name}" for name in LIBRARIES})
        files.update({f"etc/{driver}.toml": config(driver, broker.port).encode() for driver in ("rppal", "gpiochip")})
        # For the measurements: one box after another, each from dark lamps.
        files["etc/auto.toml"] = config("auto", broker.port, hold="500ms").encode()
        files.update({f"modules/{module.name}": module for module in linux.modules() if "dummy" not in module.name})
        initramfs(image, files)
        self.machine = Machine([
            guests.emulator("qemu-system-aarch64"), "-M", "raspi3b", "-accel", "tcg,thread=single", "-serial", "null", "-serial", "stdio",
            "-kernel", str(linux.image), "-dtb", str(linux.device_tree("bcm2837-rpi-3-b")), "-initrd", str(image),
            "-drive", f"file={self.card},format=raw,if=sd,cache=unsafe",
            "-device", "usb-hub", "-device", "usb-kbd", "-netdev", "user,id=net", "-device", "usb-net,netdev=net",
            # Without iomem=relaxed, Debian's kernel denies /dev/mem for regions that a driver uses; Raspberry Pi OS has /dev/gpiomem instead.
            "-append", "console=ttyS1,115200 quiet panic=-1 iomem=relaxed",
        ], seconds)
        self.linux = linux

    def __enter__(self):
        try:
            for line in self.machine.lines():
                if line.startswith("@@ ready"):
                    return self
                if line.startswith("@@ note"):
                    print(f"  {line[8:]}", flush=True)
            raise TimeOut("the board ended: " + "\n".join(self.machine.console[-15:]))
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.machine.__exit__()
        self._folder.cleanup()

    def run(self, command, seconds=60):
        """Type a command on the board's console; return its exit code and output."""
        self.machine.type(command)
        words = []
        for line in self.machine.lines(seconds):
            if line.startswith("@@ done "):
                return int(line[8:]), "\n".join(words)
            words.append(line)
        raise TimeOut("the board ended: " + "\n".join(words[-15:]))

    def scan(self, text):
        """Type a code as a scanner does; return the time of its end key."""
        for character in text:
            key = KEYS.get(character, character.lower())
            shift = [("shift", True)] if character.isupper() else []
            self._keys([*shift, (key, True)])
            self._keys([(key, False), *((name, False) for name, _ in shift)])
            # Type nothing more while the board is behind.
            self.run(":")
        pressed = time.monotonic()
        self._keys([("ret", True)])
        self._keys([("ret", False)])
        return pressed

    def _keys(self, keys):
        events = [{"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": name}}} for name, down in keys]
        self.machine.qmp("input-send-event", events=events)
        # The board polls the keyboard for one key every 10 ms, and the keyboard queues at most 16.
        time.sleep(0.025)

    def functions(self):
        """The function of each pin: 0 input, 1 output, else a peripheral's."""
        words = [self.machine.word(PINS + FUNCTION + 4 * at) for at in range(6)]
        return [words[pin // 10] >> pin % 10 * 3 & 7 for pin in range(54)]

    def level(self, pin):
        return self.machine.word(PINS + LEVEL) >> pin & 1

    def lit(self):
        """The lamps whose pins are at high level."""
        level = self.machine.word(PINS + LEVEL)
        return frozenset(name for name, pin in LAMPS.items() if level >> pin & 1)

    def driven(self):
        """The lamps whose pins are outputs."""
        functions = self.functions()
        return {name for name, pin in LAMPS.items() if functions[pin] == OUTPUT}

    def watch(self, seconds, since=None, until=None):
        """Measure the lamps' pins for that long, or until `until` accepts the lit lamps."""
        story = Story(since or time.monotonic())
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            lit = self.lit()
            story.saw(lit)
            if until and until(lit):
                break
            time.sleep(0.001)
        story.ended = time.monotonic() - story.start
        return story


class Story:
    """The lit lamps over time: (seconds since the start, lamps), one entry per change."""

    def __init__(self, start):
        self.start = start
        self.changes = []
        self.ended = 0.0

    def saw(self, lit):
        if not self.changes or self.changes[-1][1] != lit:
            self.changes.append((time.monotonic() - self.start, lit))

    def spans(self, lamp):
        """(start, length) of each time that `lamp` was lit."""
        spans, since = [], None
        for at, lit in [*self.changes, (self.ended, frozenset())]:
            if lamp in lit and since is None:
                since = at
            elif lamp not in lit and since is not None:
                spans.append((since, at - since))
                since = None
        return spans

    def __str__(self):
        return str([(round(at, 2), sorted(lit)) for at, lit in self.changes])


class Station:
    """Benchlight on the board, with a broker and a subscriber on this machine."""

    def __init__(self, board, broker, results):
        self.board, self.broker, self.results = board, broker, results
        self.driver = None
        self.busy = 0

    def check(self, promise, held, found=""):
        return self.results.check(f"pi: {promise}", held, found)

    def benchlight(self, words, driver, seconds=60):
        return self.board.run(f"BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN=simulated-token NO_COLOR=1 benchlight {words} --config /etc/{driver}.toml 2>&1", seconds)

    def services(self):
        """Start the simulated Kandji."""
        self.board.run("benchlight simulate kandji --listen 127.0.0.1:8801 >/tmp/kandji.log 2>&1 & kandji=$!")
        # It prints about itself once it listens.
        if not until(lambda: self.board.run("grep -q source /tmp/kandji.log")[0] == 0, 30, 0.3):
            raise RuntimeError("the simulated service did not start: " + self.board.run("tail -5 /tmp/kandji.log")[1])

    def start(self, driver):
        """Start the agent and wait until it is able; return how long that took."""
        self.driver = driver
        heard, start = len(self.broker.messages), time.monotonic()
        self.board.run(f"BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN=simulated-token RUST_LOG=info NO_COLOR=1 benchlight run --config /etc/{driver}.toml >>/tmp/{driver}.log 2>&1 & agent=$!")

        def able():
            for topic, payload in self.broker.messages[heard:]:
                if topic.endswith("/health"):
                    health = json.loads(payload)
                    if health["able"] and all(scanner["state"] == "ok" for scanner in health["scanners"].values()):
                        return True
            return False

        if not until(able, 60):
            raise RuntimeError(f"the agent is not able: {self.log()}")
        return time.monotonic() - start

    def log(self, lines=12):
        return self.board.run(f"tail -{lines} /tmp/{self.driver}.log")[1]

    def end(self, signal="TERM"):
        """End the agent; return its exit code."""
        return self.board.run(f"kill -{signal} $agent; wait $agent")[0]

    def delivered(self):
        """Every delivered scan, each once."""
        return list({record["id"]: {**record["data"], "id": record["id"]} for record in self._records("scan")}.values())

    def _records(self, kind):
        return [record for record in self.broker.records() if record["type"] == f"io.benchlight.{kind}.v1"]

    def answer(self, count):
        """The newest of at least `count` delivered scans."""
        until(lambda: len(self.delivered()) >= count, 20)
        found = self.delivered()
        return found[-1] if len(found) >= count else {}

    def box(self, serial, seconds, until_lit=None):
        """Scan a box; return what the lamps did and what was delivered.

        A board that gets too little processor time rightly answers `unknown`. Then the scan is repeated.
        """
        for attempt in range(3):
            count = len(self.delivered()) + 1
            story = self.board.watch(seconds, self.board.scan(serial), until_lit)
            said = self.answer(count)
            late = any(record["data"]["scan"] == said.get("id") and record["data"]["cause"] == "late_commit" for record in self._records("change"))
            if said.get("reason") not in BUSY and not late:
                break
            self.busy += 1
            print(f"  this machine is busy: {'late_commit' if late else said['reason']}, once more", flush=True)
            until(lambda: not self.board.lit(), 35)
        return story, said

    def memory(self, name):
        """Note the agent's resident and private memory; return the resident, in MB."""
        words = self.board.run("grep -E 'VmRSS|VmHWM|RssAnon' /proc/$agent/status")[1].split()
        values = {words[at].rstrip(":"): int(words[at + 1]) * 1024 / 1e6 for at in range(0, len(words) - 2, 3)}
        self.results.figure(name, f"{values['VmRSS']:.1f}, of it its own {values['RssAnon']:.1f}, at its most {values['VmHWM']:.1f}")
        return values["VmRSS"]


def until(condition, seconds, every=0.05):
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(every)
    return True


def about(value, wanted):
    """Equal, apart from what an emulated machine adds."""
    return abs(value - wanted) <= max(0.09, wanted * 0.35)


def pi(results, scans):
    """Everything in one boot of the board; `scans` is how many are measured."""
    program = cross.with_simulators(cross.TARGETS["arm64"])
    broker = Broker()
    try:
        with Pi(program, broker, 900) as board:
            station = Station(board, broker, results)
            ground(station)
            station.services()
            doctor(station)
            for driver in ("rppal", "gpiochip"):
                lamps(station, driver)
            measured(station, scans)
    except TimeOut as where:
        results.check("pi: done in its time", False, where)
    except Exception as fault:  # noqa: BLE001 - any exception is a failure of this part
        results.check("pi: the station runs", False, "".join(traceback.format_exception(fault)[-3:]))
    finally:
        broker.stop()


def ground(station):
    """Without these nothing else here would prove anything."""
    board = station.board
    _, model = board.run("tr -d '\\0' </proc/device-tree/model; echo; cut -d' ' -f1 /proc/uptime")
    model, _, up = model.partition("\n")
    print(f"  {model}, linux {board.linux.version}, up after {up.strip()} s", flush=True)
    board.run(f"date -u -s @{int(time.time())}")
    station.results.figure("board and kernel", f"{model}, Linux {board.linux.version}")
    station.check("the board is a Raspberry Pi 3", model.startswith("Raspberry Pi 3 Model B"), model)
    for pin, function in ((FOREIGN_OUTPUT, OUTPUT), (FOREIGN_PERIPHERAL, ALTERNATE_0)):
        address = PINS + FUNCTION + pin // 10 * 4
        word = board.machine.word(address) & ~(7 << pin % 10 * 3) | function << pin % 10 * 3
        board.run(f"devmem {address:#x} 32 {word:#x}")
    board.run(f"devmem {PINS + SET:#x} 32 {1 << FOREIGN_OUTPUT:#x}")
    functions = board.functions()
    station.check("a pin is read from outside as it is set inside",
                  functions[FOREIGN_OUTPUT] == OUTPUT and functions[FOREIGN_PERIPHERAL] == ALTERNATE_0 and board.level(FOREIGN_OUTPUT) == 1, functions)


def doctor(station):
    """`doctor` with the default driver."""
    for _ in range(2):
        code, words = station.benchlight("doctor", "auto", 120)
        # Its limit of 12 s is short on a board that gets too little processor time.
        if "it hangs" not in words:
            break
    # Its lines are folded.
    unfolded = " ".join(words.split())
    station.check("`doctor` names the Pi's model, and rppal as what `auto` takes", "by rppal on a Raspberry Pi 3 Model B" in unfolded, words)
    station.check("`doctor` fails nothing", code == 0, words)


def lamps(station, driver):
    """Scan to lamp to message with one driver, and every way to end."""
    board = station.board
    before = board.functions()
    station.start(driver)

    def check(promise, held, found=""):
        return station.check(f"{driver}: {promise}", held, found)

    held = board.run("grep -c benchlight /sys/kernel/debug/gpio")[1].strip()
    check("the kernel knows who holds the lines" if driver == "gpiochip" else "the kernel's line interface is not used", held == ("4" if driver == "gpiochip" else "0"), held)
    check("after the start the lamps are outputs, and dark", board.driven() == set(LAMPS) and not board.lit(), (board.driven(), board.lit()))

    story, said = station.box(READY, 6)
    green = story.spans("green")
    check("ready is one steady green of about 3 s, then dark", len(green) == 1 and 2.2 <= green[0][1] <= 4.5 and not board.lit(), story)
    check("nothing lights beside that green", not story.spans("red") and all(green and end < green[0][0] + 0.001 for end in map(sum, story.spans("amber"))), story)
    check("ready sounds once", len(story.spans("buzzer")) == 1, story)
    check("and is delivered as what was shown", (said.get("serial"), said.get("reason"), said.get("lamp")) == (READY, "assigned", "ready"), said or station.log())

    story, said = station.box(REMOVED, 5)
    red = [length for _, length in story.spans("red")[1:-1]]
    check("stop is red at 1 Hz and no green", len(red) >= 2 and about(statistics.median(red), 0.5) and not story.spans("green"), story)
    check("and is delivered", (said.get("serial"), said.get("verdict"), said.get("lamp")) == (REMOVED, "not_ready", "stop"), said)

    story, said = station.box(PENDING, 4)
    amber = story.spans("amber")
    check("hold is steady amber", amber and amber[-1][1] > 2 and not story.spans("green"), story)
    check("and is delivered as pending", (said.get("serial"), said.get("reason"), said.get("lamp")) == (PENDING, "assignment_pending", "hold"), said)

    board.run("kill $kandji; wait $kandji")
    board.scan(ALSO_READY)
    steady = until(lambda: board.lit() == {"red"} and not [lit for _, lit in board.watch(1.2).changes if lit != {"red"}], 60)
    check("a station that cannot answer shows steady red", steady, (board.lit(), station.log()))
    station.services()
    check("and is dark again when it can", until(lambda: not board.lit(), 90), (board.lit(), station.log()))

    code = station.end()
    check("SIGTERM ends the agent in order, and dark", code == 0 and not board.lit(), (code, board.lit(), station.log()))
    kept = set(LAMPS) if driver == "rppal" else set()
    check("after that the pins are driven dark" if kept else "after that the pins are inputs, for their pulls to keep dark", board.driven() == kept, board.driven())

    station.start(driver)
    pressed = board.scan(READY)
    green = board.watch(15, pressed, lambda lit: "green" in lit).spans("green")
    station.end("KILL")
    # Now the agent is gone. A register keeps what was written last; a released line becomes an input.
    left = board.lit() & board.driven()
    code, words = station.benchlight("lamps off", driver)
    check("killed while green, `lamps off` makes it dark", green and code == 0 and not board.lit(), (green, left, code, words, board.lit()))
    check("until then it is lit" if driver == "rppal" else "until then no pin is driven", ("green" in left) == (driver == "rppal") and (driver == "rppal" or not left), left)

    after = board.functions()
    ours = set(LAMPS.values())
    changed = [pin for pin in range(54) if pin not in ours and before[pin] != after[pin]]
    check("no other pin was touched", not changed and after[FOREIGN_OUTPUT] == OUTPUT and after[FOREIGN_PERIPHERAL] == ALTERNATE_0 and board.level(FOREIGN_OUTPUT) == 1,
          (changed, before, after))


def measured(station, scans):
    """Scan to lamp and memory, with the default driver."""
    board, results = station.board, station.results
    took = station.start("auto")
    log = station.log(40)
    station.check("auto: takes rppal", "driver=\"rppal\"" in log or "driver=rppal" in log, log)
    results.figure("start of the agent to able, broker and scanner included, s", round(took, 1))
    memory = station.memory("resident memory idle, MB")
    station.check("auto: idle it takes less than 20 MB", memory < 20, memory)
    before, busy = len(station.delivered()), station.busy
    times, wrong = [], []
    for number in range(scans):
        serial = (READY, ALSO_READY)[number % 2]
        story, said = station.box(serial, 10, lambda lit: "green" in lit)
        green = story.spans("green")
        if green and said.get("serial") == serial:
            times.append(green[0][0] * 1000)
        else:
            wrong.append((serial, str(story), said))
        # The next scan must find dark lamps.
        until(lambda: not board.lit(), 35)
    station.check(f"auto: {scans} boxes in a row are each green", len(times) == scans, (wrong[:5], station.log()))
    asked = scans + station.busy - busy
    station.check("auto: each is delivered", until(lambda: len(station.delivered()) == before + asked, 20), (before, asked, len(station.delivered()), [said for said in station.delivered()[before:] if said["reason"] != "assigned"], station.log(3 * scans)))
    results.figure("scans measured, one after the other", scans)
    results.figure("scans answered as unknown because this machine was too busy", station.busy)
    if times:
        times.sort()
        for name, at in (("median", 0.5), ("p99", 0.99)):
            results.figure(f"end key to green at the pin, {name}, ms", round(times[min(len(times) - 1, int(at * len(times)))]))
        results.figure("end key to green at the pin, longest, ms", round(times[-1]))
    station.memory("resident memory after these scans, MB")
    code = station.end()
    station.check("auto: SIGTERM ends it in order, and dark", code == 0 and not board.lit(), (code, board.lit()))
