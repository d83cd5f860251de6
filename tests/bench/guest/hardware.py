"""The simulated hardware of a guest: pins of gpio-sim, and USB scanners made by the kernel's own gadget side."""

import os
import struct
import subprocess
import threading
import time
from pathlib import Path

CONFIGFS = Path("/sys/kernel/config")


def write(path, value):
    Path(path).write_text(f"{value}\n")


def until(condition, seconds, every=0.02):
    """Wait for `condition` to hold; what it returned, or None when the time is over."""
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
        self._home = home

    def level(self, line):
        """The level somebody outside would measure."""
        return int((self.folder / f"sim_gpio{line}/value").read_text())

    def pull(self, line, direction):
        """Solder a resistor: `pull-up` or `pull-down`."""
        write(self.folder / f"sim_gpio{line}/pull", direction)

    def record(self, lines):
        """Start measuring; see `Recording`."""
        return Recording(self, lines)


class Recording:
    """Levels over time: a list of (seconds since the start, {line: level}), one entry per change."""

    def __init__(self, pins, lines):
        self._files = {line: os.open(pins.folder / f"sim_gpio{line}/value", os.O_RDONLY) for line in lines}
        self.start = time.monotonic()
        self.changes = [(0.0, self._now())]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _now(self):
        return {line: int(os.pread(file, 8, 0)) for line, file in self._files.items()}

    def _run(self):
        while not self._stop.is_set():
            levels = self._now()
            if levels != self.changes[-1][1]:
                self.changes.append((time.monotonic() - self.start, levels))
            time.sleep(0.003)

    def stop(self):
        """End measuring; the changes."""
        self._stop.set()
        self._thread.join()
        for file in self._files.values():
            os.close(file)
        self.ended = time.monotonic() - self.start
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


# --- USB keyboards -----------------------------------------------------------------------------------------------

# A boot keyboard, as hand scanners are in their factory setting.
KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810395057501050819012905910295017503910395067508"
    "15002565050719002965 8100c0"
)

SHIFT = 0x02
ENTER, TAB, KEYPAD_ENTER, CAPS_LOCK = 0x28, 0x2B, 0x58, 0x39


def _letters(order):
    return {letter: 0x04 + at for at, letter in enumerate(order)}


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
    """A USB hand scanner that types: a real device on a simulated bus, with ids of its own."""

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
        function = self.home / "functions/hid.usb0"
        function.mkdir(parents=True)
        write(function / "protocol", 1)
        write(function / "subclass", 1)
        write(function / "report_length", 8)
        (function / "report_desc").write_bytes(KEYBOARD)
        (self.home / "configs/c.1/hid.usb0").symlink_to(function)

    def plug(self, wait=True):
        """Put the plug in; wait until the kernel and udev have the keyboard."""
        write(self.home / "UDC", self.bus)
        self.plugged = True
        device = (self.home / "functions/hid.usb0/dev").read_text().strip()
        name = Path(f"/sys/dev/char/{device}").resolve().name
        self._gadget = until(lambda: Path(f"/dev/{name}").exists() and os.open(f"/dev/{name}", os.O_RDWR), 5)
        if wait and not until(self.by_id.exists, 15):
            raise RuntimeError(f"{self.by_id} did not come")
        return self

    def unplug(self):
        """Pull the plug."""
        write(self.home / "UDC", "")
        self.plugged = False
        if self._gadget is not None:
            os.close(self._gadget)
            self._gadget = None

    def remove(self):
        """Pull the plug and give the device back: the kernel has room for four of them."""
        if self.plugged:
            self.unplug()
        for link in (self.home / "configs/c.1").iterdir():
            if link.is_symlink():
                link.unlink()
        for function in (self.home / "functions").iterdir():
            function.rmdir()
        until(lambda: not self.by_id.exists(), 10)

    def event(self):
        """The event device of now, such as `event3`."""
        return os.path.basename(os.path.realpath(self.by_id))

    def press(self, key, modifier=0):
        """One key down and up."""
        os.write(self._gadget, struct.pack("8B", modifier, 0, key, 0, 0, 0, 0, 0))
        os.write(self._gadget, bytes(8))

    def scan(self, text, end=ENTER, set_to="us"):
        """Type a code as the scanner does: as fast as the bus takes it."""
        keys = layout(set_to)
        for character in text:
            self.press(*keys[character])
        if end is not None:
            self.press(end)


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


def start_udev():
    """Device links by udev's own rules, as on a real machine."""
    subprocess.run(["/usr/lib/systemd/systemd-udevd", "--daemon"], check=True)
