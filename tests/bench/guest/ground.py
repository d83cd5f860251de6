"""The simulated hardware itself: without these, no other assertion of the bench would prove anything."""

import os
import termios
import time
import tty

import hold
from hardware import Pins, Scanner, SerialScanner, start_udev, until
from results import check, figure, run


class Console:
    """The login console, which gets what a keyboard types while no program grabs it."""

    def __init__(self):
        self._file = os.open("/dev/tty1", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._file)

    def typed(self, seconds=0.5):
        """The text that reached the console."""
        ends, text = time.monotonic() + seconds, b""
        while time.monotonic() < ends:
            try:
                text += os.read(self._file, 4096)
            except BlockingIOError:
                time.sleep(0.02)
        return text.decode("ascii", "replace")

    def clear(self):
        termios.tcflush(self._file, termios.TCIFLUSH)


def pins():
    """the level that a program drives is visible outside"""
    chip = Pins(name="ground", label="ground", lines=8)
    device, line = hold.request(f"/dev/{chip.chip}", 3)
    seen = []
    for level in (1, 0):
        hold.drive(line, level)
        seen.append(chip.level(3))
    check("ground: a simulated pin shows outside what a program drives", seen == [1, 0], seen)
    os.close(line)
    os.close(device)


def keyboard():
    """a USB scanner is a separate keyboard that types into the console while no program grabs it"""
    console = Console()
    scanner = Scanner("ground", 3, serial="GROUND").plug()
    start = time.monotonic()
    scanner.scan("C02XK0AAJG5H")
    took = time.monotonic() - start
    typed = console.typed()
    check("ground: an ungrabbed scan is typed into the login console", typed.strip().upper() == "C02XK0AAJG5H", typed)
    figure("a 12-character scan on the simulated bus, ms", round(took * 1000))
    first = scanner.event()
    scanner.unplug()
    check("ground: pulling the plug takes the device away", until(lambda: not scanner.by_id.exists(), 5), os.listdir("/dev/input"))
    other = Scanner("other", 2, serial="OTHER").plug()
    scanner.plug()
    check("ground: a replugged scanner comes under another event number", scanner.event() != first, first)
    scanner.unplug()
    other.unplug()


def serial():
    """a USB serial scanner's bytes arrive"""
    scanner = SerialScanner("groundserial", 3, serial="GROUNDSERIAL").plug()
    port = os.open(str(scanner.by_id), os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    scanner.scan("C02XK0AAJG5H")
    text = until(lambda: os.read(port, 64), 5)
    check("ground: a USB serial scanner's bytes arrive", text and text.startswith(b"C02"), text)
    os.close(port)
    scanner.unplug()


def main():
    start_udev()
    run("ground", [pins, keyboard, serial])
