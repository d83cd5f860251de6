"""USB serial scanners: one from the guest's gadget support (CDC-ACM), one plugged in from outside and fed by a socket."""

import json
import time
from pathlib import Path

from hardware import SerialScanner, start_udev, until
from results import ask, check, run
from station import ALSO_READY, PAUSE, PENDING, READY, REMOVED, Agent, Broker, Services, config, serials, tail, wait_for_scans

HOME = Path("/tmp/station")


def station(broker, name):
    """A fresh station with one serial scanner, which it finds by itself."""
    text = config([{"name": "left", "kind": "serial", "device": "auto", "pause": PAUSE}], {"kind": "none"}, state=f"{HOME}/{name}")
    return Agent(HOME, text, name).start(broker)


def state(broker):
    return json.loads(broker.last("health"))["scanners"]["left"]["state"]


def acm(broker):
    """a scanner in serial mode (CDC-ACM)"""
    scanner = SerialScanner("acm", 0).plug()
    agent = station(broker, "acm")
    # A different code each time: a repeat within 5 s would join the earlier scan.
    for code, end, name in ((READY, "\r\n", "CR LF"), (ALSO_READY, "\r", "CR"), (PENDING, "\n", "LF"), (REMOVED, "", "a pause")):
        before = len(broker.scans())
        scanner.scan(code, end)
        bodies = wait_for_scans(broker, before + 1)[before:]
        check(f"serial: a code ended by {name}", serials(bodies) == [code], (bodies, tail(agent.log)))
    before = len(broker.scans())
    # Eight characters could be a serial number.
    scanner.scan(READY[:8], "")
    time.sleep(0.1)
    scanner.unplug()
    check("serial: unplugged, health says so", until(lambda: state(broker) != "ok", 15, 0.1), broker.last("health"))
    scanner.plug()
    check("serial: replugged, taken again", until(lambda: state(broker) == "ok", 20, 0.1), (broker.last("health"), tail(agent.log)))
    scanner.scan(ALSO_READY)
    bodies = until(lambda: [body for body in broker.scans()[before:] if body["data"]["serial"]], 30)
    check("serial: and read again, whole", serials(bodies or []) == [ALSO_READY], broker.scans()[before:])
    check("serial: the agent ends in order", agent.stop() == 0, tail(agent.log))
    scanner.unplug()
    until(lambda: not scanner.by_id.exists(), 10)


def ftdi(broker):
    """a USB serial scanner plugged in from outside, its bytes from a socket"""
    def plug():
        ask("monitor", line="device_add usb-serial,id=scanner,chardev=scanner,always-plugged=on")
        return until(lambda: list(Path("/dev/serial/by-id").glob("*")) if Path("/dev/serial/by-id").exists() else [], 15, 0.1)
    found = plug()
    if not check("usb serial: the scanner has a name of its own", found, list(Path("/dev").glob("tty[UA]*"))):
        return
    agent = station(broker, "ftdi")
    before = len(broker.scans())
    ask("send", socket="scanner", text=READY + "\r\n")
    bodies = wait_for_scans(broker, before + 1)[before:]
    check("usb serial: what the socket sends is a scan", serials(bodies) == [READY], (bodies, tail(agent.log)))
    before = len(broker.scans())
    ask("send", socket="scanner", text=READY[:8])
    time.sleep(0.1)
    ask("monitor", line="device_del scanner")
    check("usb serial: unplugged, health says so", until(lambda: state(broker) != "ok", 15, 0.1), broker.last("health"))
    plug()
    check("usb serial: replugged, taken again", until(lambda: state(broker) == "ok", 20, 0.1), (broker.last("health"), tail(agent.log)))
    ask("send", socket="scanner", text=ALSO_READY + "\r")
    bodies = until(lambda: [body for body in broker.scans()[before:] if body["data"]["serial"]], 30)
    check("usb serial: the half code is none, the next one is whole", serials(bodies or []) == [ALSO_READY], broker.scans()[before:])
    agent.stop()
    ask("monitor", line="device_del scanner")


def main():
    start_udev()
    HOME.mkdir(exist_ok=True)
    broker = Broker(HOME).start()
    services = Services(HOME).start()
    run("serial", [acm, ftdi], broker)
    services.stop()
