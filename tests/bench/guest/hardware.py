"""The simulated hardware of a guest: pins of gpio-sim and of a chip on USB, and USB scanners made with the kernel's gadget support."""

import functools
import os
import re
import struct
import subprocess
import threading
import time
from pathlib import Path

import hold

CONFIGFS = Path("/sys/kernel/config")
TRACING = Path("/sys/kernel/debug/tracing")


def write(path, value):
    Path(path).write_text(f"{value}\n")


def until(condition, seconds, every=0.02):
    """Wait until `condition` is true; return its value, or None when the time is up."""
    ends = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > ends:
            return None
        time.sleep(every)


class Pins:
    """A chip of simulated pins with a Raspberry Pi's label and line names."""

    def __init__(self, label="pinctrl-bcm2711", lines=58, name="pins"):
        home = CONFIGFS / "gpio-sim" / name
        bank = home / "bank0"
        bank.mkdir(parents=True)
        write(bank / "num_lines", lines)
        write(bank / "label", label)
        for line in range(28):
            (bank / f"line{line}").mkdir()
            write(bank / f"line{line}/name", f"GPIO{line}")
        write(home / "live", 1)
        self.chip = (bank / "chip_name").read_text().strip()
        self.folder = Path("/sys/devices/platform") / (home / "dev_name").read_text().strip() / self.chip
        self._home, self._lines, self._first = home, lines, None

    def remove(self):
        """Remove the chip, whoever holds its lines."""
        write(self._home / "live", 0)

    def put_back(self):
        """Add the chip again, perhaps under another number."""
        write(self._home / "live", 1)
        self.chip = (self._home / "bank0/chip_name").read_text().strip()
        self.folder = Path("/sys/devices/platform") / (self._home / "dev_name").read_text().strip() / self.chip

    def level(self, line):
        """The level that one would measure from outside."""
        return int((self.folder / f"sim_gpio{line}/value").read_text())

    def number(self, line):
        """The kernel's number of a line, as in its trace."""
        if self._first is None:
            trace = TRACING / "instances/first"
            trace.mkdir()
            write(trace / "events/gpio/gpio_value/enable", 1)
            device, held = hold.request(f"/dev/{self.chip}", self._lines - 1)
            os.close(held)
            os.close(device)
            self._first = _driven(trace)[-1][1] - (self._lines - 1)
            trace.rmdir()
        return self._first + line

    def pull(self, line, direction):
        """Solder a resistor: `pull-up` or `pull-down`."""
        write(self.folder / f"sim_gpio{line}/pull", direction)

    def record(self, lines):
        """Start measuring; see `Recording`."""
        return Recording(self, lines)


class Recording:
    """Levels over time, as a list of (seconds since the start, {line: level}), one entry per change.

    The kernel itself records every level that a program drives, with its time, so no change is missed.
    """

    _count = 0

    def __init__(self, pins, lines):
        Recording._count += 1
        self._trace = TRACING / f"instances/recording{Recording._count}"
        self._trace.mkdir()
        write(self._trace / "trace_clock", "mono")
        write(self._trace / "events/gpio/gpio_value/enable", 1)
        self._pins, self._numbers = pins, {pins.number(line): line for line in lines}
        self.start = time.monotonic()
        self.changes = [(0.0, {line: pins.level(line) for line in lines})]
        self.ended = None

    def stop(self):
        """End measuring; return the changes."""
        if self.ended is None:
            self.ended = time.monotonic() - self.start
            for at, number, level in _driven(self._trace):
                line, levels = self._numbers.get(number), self.changes[-1][1]
                if line is not None and at >= self.start and levels[line] != level:
                    if at - self.start - self.changes[-1][0] > 0.0005:
                        self.changes.append((at - self.start, {**levels, line: level}))
                    else:  # counts as one change: a program drives the lines of a lane one after the other
                        self.changes[-1][1][line] = level
            self._trace.rmdir()
        return self.changes

    def spans(self, line, level=1):
        """(start, length) of each time `line` had `level`; after `stop`."""
        spans, since = [], None
        for at, levels in [*self.changes, (self.ended, None)]:
            here = levels is not None and levels[line] == level
            if here and since is None:
                since = at
            elif not here and since is not None:
                spans.append((since, at - since))
                since = None
        return spans


def _driven(trace):
    """(time, the kernel's number of the pin, level) for each time that a program drove a pin."""
    return [(float(at), int(number), int(level))
            for at, number, level in re.findall(r"(\d+\.\d+): gpio_value: (\d+) set (\d)", (trace / "trace").read_text())]


# --- USB keyboards -----------------------------------------------------------------------------------------------

# A boot keyboard, as hand scanners are by default.
KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810395057501050819012905910295017503910395067508"
    "15002565050719002965 8100c0"
)

SHIFT = 0x02
ENTER, TAB, KEYPAD_ENTER, CAPS_LOCK = 0x28, 0x2B, 0x58, 0x39


def _letters(order):
    return {letter: 0x04 + at for at, letter in enumerate(order)}


@functools.cache
def layout(name):
    """Which key (and shift) a scanner set to this layout presses for a character."""
    keys = {}
    order = {
        "us": "abcdefghijklmnopqrstuvwxyz",
        # The character printed on the key at each position of the US alphabet.
        "de": "abcdefghijklmnopqrstuvwxzy",
        "fr": "qbcdefghijkl,noparstuvzxyw",
    }[name]
    for letter, code in _letters(order).items():
        if letter.isalpha():
            keys[letter], keys[letter.upper()] = (code, 0), (code, SHIFT)
    if name == "fr":
        keys["m"], keys["M"] = (0x33, 0), (0x33, SHIFT)
    for at, digit in enumerate("1234567890"):
        keys[digit] = (0x1E + at, SHIFT if name == "fr" else 0)
    keys["-"] = {"us": (0x2D, 0), "de": (0x38, 0), "fr": (0x23, 0)}[name]
    keys["/"] = {"us": (0x38, 0), "de": (0x24, SHIFT), "fr": (0x37, SHIFT)}[name]
    keys[" "] = (0x2C, 0)
    return keys


class Scanner:
    """A USB hand scanner that types: a real device on a simulated bus, with its own ids."""

    def __init__(self, name, bus, vendor=0x0C2E, product=0x0B61, serial="SN0001", maker="Metrologic", model="Wedge 1000"):
        self.home = CONFIGFS / "usb_gadget" / name
        self.bus = f"dummy_udc.{bus}"
        self.home.mkdir()
        write(self.home / "idVendor", hex(vendor))
        write(self.home / "idProduct", hex(product))
        strings = self.home / "strings/0x409"
        strings.mkdir(parents=True)
        for key, value in (("manufacturer", maker), ("product", model), ("serialnumber", serial)):
            write(strings / key, value)
        (self.home / "configs/c.1").mkdir(parents=True)
        self._functions()
        self.by_id = Path(f"/dev/input/by-id/usb-{maker}_{model}_{serial}-event-kbd".replace(" ", "_"))
        self.plugged = False
        self._gadget = None

    def _functions(self):
        self._hid(protocol=1, subclass=1, length=8, description=KEYBOARD)

    def _hid(self, protocol, subclass, length, description):
        function = self.home / "functions/hid.usb0"
        function.mkdir(parents=True)
        write(function / "protocol", protocol)
        write(function / "subclass", subclass)
        write(function / "report_length", length)
        (function / "report_desc").write_bytes(description)
        (self.home / "configs/c.1/hid.usb0").symlink_to(function)

    def plug(self, wait=True):
        """Plug it in; wait until the kernel and udev have the keyboard."""
        write(self.home / "UDC", self.bus)
        self.plugged = True
        device = (self.home / "functions/hid.usb0/dev").read_text().strip()
        name = Path(f"/sys/dev/char/{device}").resolve().name
        self._gadget = until(lambda: Path(f"/dev/{name}").exists() and os.open(f"/dev/{name}", os.O_RDWR), 5)
        if wait and not until(self.by_id.exists, 15):
            raise RuntimeError(f"{self.by_id} did not come")
        return self

    def unplug(self):
        """Unplug it."""
        write(self.home / "UDC", "")
        self.plugged = False
        if self._gadget is not None:
            os.close(self._gadget)
            self._gadget = None

    def remove(self):
        """Unplug it and remove the device, because the kernel has room for only four."""
        if self.plugged:
            self.unplug()
        for link in (self.home / "configs/c.1").iterdir():
            if link.is_symlink():
                link.unlink()
        for function in (self.home / "functions").iterdir():
            function.rmdir()
        until(lambda: not self.by_id.exists(), 10)

    def event(self):
        """The current event device, such as `event3`."""
        return os.path.basename(os.path.realpath(self.by_id))

    def press(self, key, modifier=0):
        """One key down and up."""
        self._report(modifier, key)
        self._report()

    def _report(self, modifier=0, key=0):
        os.write(self._gadget, struct.pack("8B", modifier, 0, key, 0, 0, 0, 0, 0))

    def scan(self, text, end=ENTER, set_to="us", rolling=False):
        """Type a code as fast as the bus allows. With `rolling` the next key goes down as the last one goes up."""
        keys = [layout(set_to)[character] for character in text] + ([(end, 0)] if end is not None else [])
        before = None
        for key, modifier in keys:
            if not rolling:
                self.press(key, modifier)
                continue
            if key == before:
                self._report()
            self._report(modifier, key)
            before = key
        if rolling:
            self._report()


class SerialScanner(Scanner):
    """A USB scanner in serial mode (CDC-ACM)."""

    def __init__(self, name, bus, vendor=0x0C2E, product=0x0B6A, serial="AC0001", maker="Metrologic", model="Serial 1000"):
        super().__init__(name, bus, vendor, product, serial, maker, model)
        self.by_id = Path(f"/dev/serial/by-id/usb-{maker}_{model}_{serial}-if00".replace(" ", "_"))

    def _functions(self):
        function = self.home / "functions/acm.usb0"
        function.mkdir(parents=True)
        (self.home / "configs/c.1/acm.usb0").symlink_to(function)

    def plug(self, wait=True):
        write(self.home / "UDC", self.bus)
        self.plugged = True
        port = (self.home / "functions/acm.usb0/port_num").read_text().strip()
        if wait and not until(self.by_id.exists, 15):
            raise RuntimeError(f"{self.by_id} did not come")
        self._gadget = until(lambda: Path(f"/dev/ttyGS{port}").exists() and os.open(f"/dev/ttyGS{port}", os.O_RDWR | os.O_NOCTTY), 5)
        subprocess.run(["stty", "-F", f"/dev/ttyGS{port}", "raw", "-echo"], check=True)
        return self

    def scan(self, text, end="\r\n", set_to=None):
        os.write(self._gadget, (text + end).encode())


# --- pins that keep their level ----------------------------------------------------------------------------------

# 64 bytes each way, unlike a keyboard's reports.
BYTES = bytes.fromhex("0600ff0901a10109021500 26ff0075089540 8102 09031500 26ff0075089540 9102 c0")


class KeptPins(Scanner):
    """Four pins on USB, Microchip's MCP2221, that keep their level when released, as a Raspberry Pi's do.

    A released gpio-sim pin returns to its pull, so there a dead agent's lamps are always dark.
    """

    label = "mcp2221_gpio"

    def __init__(self, name, bus):
        super().__init__(name, bus, 0x04D8, 0x00DD, "PINS", "Microchip", "MCP2221")
        self._levels, self._inputs = [0] * 4, [1] * 4

    def _functions(self):
        self._hid(protocol=0, subclass=0, length=64, description=BYTES)

    def plug(self, wait=True):
        super().plug(wait=False)
        threading.Thread(target=self._serve, daemon=True).start()
        if wait and not until(lambda: any("04D8:00DD" in str(path.resolve()) for path in Path("/sys/bus/gpio/devices").glob("gpiochip*")), 20):
            raise RuntimeError("the kernel made no chip of the pins on USB")
        return self

    def _serve(self):
        """Answer the kernel's driver as the real chip does."""
        while True:
            try:
                asked = os.read(self._gadget, 64)
                answer = bytearray(64)
                answer[0] = asked[0]
                if asked[0] == 0x10:  # parameters of the I2C side: the speed is set
                    answer[3] = asked[3]
                elif asked[0] == 0x50:  # set
                    for pin in range(4):
                        new = slice(2 + 4 * pin, 6 + 4 * pin)
                        change_level, level, change_direction, is_input = answer[new] = asked[new]
                        self._levels[pin] = level if change_level else self._levels[pin]
                        self._inputs[pin] = is_input if change_direction else self._inputs[pin]
                elif asked[0] == 0x51:  # read
                    for pin in range(4):
                        answer[2 + 2 * pin:4 + 2 * pin] = self._levels[pin], self._inputs[pin]
                os.write(self._gadget, answer)
            except (OSError, TypeError):  # unplugged
                return

    def level(self, line):
        """The level that the chip drives; 0 if it drives none."""
        return int(bool(self._levels[line] and not self._inputs[line]))


def start_udev():
    """Device links by udev's rules, as on a real machine."""
    subprocess.run(["/usr/lib/systemd/systemd-udevd", "--daemon"], check=True)
