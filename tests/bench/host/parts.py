"""The parts of the bench. Each is a function of the results and of whether the long form is wanted."""

from . import cuts as power
from . import days as card
from . import cross, guests
from . import package as deb
from . import pi as board
from . import systemd as service
from . import units as tests


def ground(results, slow):
    """the simulated hardware itself"""
    guests.run_part("ground", results, 600, clock=guests.JUMPING)


def scanners(results, slow):
    """USB scanners that type, on a real kernel's input layer"""
    guests.run_part("scanners", results, 1200, clock=guests.COUNTED)


def serial(results, slow):
    """USB serial scanners"""
    socket = "socket,id=scanner,path={folder}/scanner,server=on,wait=off"
    guests.run_part("serials", results, 600, extra=["-chardev", socket], clock=guests.COUNTED)


def lamps(results, slow):
    """lamps on simulated pins: every signal, and darkness at every end"""
    guests.run_part("lamps", results, 1200, clock=guests.JUMPING)


def cuts(results, slow):
    """power cuts while scans run, and a card that is full, turns read-only, or returns NUL"""
    power.cuts(results, 100 if slow else 10)
    card.days(results)


def pi(results, slow):
    """a virtual Raspberry Pi 3: scan to lamp to message, its pins read from outside"""
    board.pi(results, 200 if slow else 30)


def systemd(results, slow):
    """a virtual Raspberry Pi with Debian and systemd: the package, docs/install.md, the service"""
    service.systemd(results)


def package(results, slow):
    """the contents of the Debian packages for arm64 and armhf"""
    for architecture in cross.TARGETS:
        made = deb.build(architecture)
        results.figure(f"package for {architecture}, MB", f"{made.stat().st_size / 1e6:.1f}")
        deb.inspect(made, results.check)


def units(results, slow):
    """the unit tests on both of the Pi's targets, in QEMU's user mode"""
    targets = list(cross.TARGETS.values())
    cross.tools(targets)
    tests.units(targets, cross.standard_library(targets), results)


PARTS = {"ground": ground, "scanners": scanners, "serial": serial, "lamps": lamps, "cuts": cuts, "pi": pi, "systemd": systemd,
         "package": package, "units": units}
# Parts that have a long form.
LONG = ("cuts", "pi")
# Parts of the everyday tests: they use one kind of guest and take minutes.
EVERYDAY = ("ground", "scanners", "serial", "lamps", "cuts")
