"""Debian with systemd on the virtual Pi: the package, installed by docs/install.md, and what the service manager promises."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from hardware import KeptPins, Pins, Scanner, SerialScanner, until
from results import check, figure, note, run
from station import ALSO_READY, PENDING, READY, TOKEN, Broker, Services, read_in
from systemd_guide import Guide

GREEN, RED = 17, 27
PASSWORD = "simulated-password"
HOME = Path("/run/bench")
GROUP = Path("/sys/fs/cgroup/system.slice/benchlight.service")
# The doctor waits 12 s for a part, which is short for an emulated machine on a busy host.
HUNG = "no answer within"
CONFIG = Path("/etc/benchlight/benchlight.toml")
NEWER = "/root/benchlight_0.1.0-2_arm64.deb"


def sh(*words, **more):
    """Run a command; return its output and exit code."""
    return subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          text=True, errors="replace", timeout=300, **more)


def show(*properties):
    """Properties of the unit."""
    text = sh("systemctl", "show", "benchlight.service", *[f"--property={name}" for name in properties]).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def pid():
    return int(show("MainPID")["MainPID"])


def active(seconds=90):
    return until(lambda: show("ActiveState")["ActiveState"] == "active", seconds, 0.3)


def ready(seconds=120):
    """Wait until the station's STATUS= says that it is ready for scans."""
    return until(lambda: "ready for scans" in show("StatusText")["StatusText"], seconds, 0.3)


class Station:
    """The hardware, the services and the subscriber: everything but the agent, which systemd runs."""

    def __init__(self):
        HOME.mkdir(exist_ok=True)
        self.guide = Guide()
        self.pins = self.scanner = self.services = None
        self.broker = Broker(HOME)
        # The delivered message of the newest scan.
        self.last = {}

    def plug(self):
        self.pins = Pins()
        self.scanner = Scanner("bench", 0).plug()

    def serve(self):
        if not until(self.broker.listens, 60, 0.2):
            raise RuntimeError("Debian's mosquitto does not listen: " + sh("systemctl", "status", "mosquitto").stdout)
        self.broker.listen()
        self.services = Services(HOME).start()

    def green(self):
        return self.pins.level(GREEN)

    def dark(self):
        return not self.green() and not self.pins.level(RED)

    def scan(self, serial, promise, scanner=None):
        """One box, from the first key to the broker."""
        # Otherwise the first keys after a boot may come with a pause between them, unlike any scanner's.
        read_in()
        until(self.dark, 40, 0.02)
        start, moment = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        (scanner or self.scanner).scan(serial)
        lit = until(self.green, 20, 0.002)
        took = time.monotonic() - start
        # Records of an earlier boot may come first, if the power was cut before their delivery was recorded.
        until(lambda: [body for body in self.broker.scans() if body["time"] >= moment], 60, 0.05)
        bodies = [body for body in self.broker.scans() if body["time"] >= moment]
        self.last = bodies[-1]["data"] if bodies else {}
        check(promise, lit and (self.last.get("serial"), self.last.get("verdict"), self.last.get("lamp")) == (serial, "ready", "ready"), (lit, bodies, log(15)))
        return took


def log(lines):
    return sh("journalctl", "-u", "benchlight", "-n", lines, "-o", "cat", "--no-pager").stdout


# --- the first boot: installation ---------------------------------------------------------------------------------


def installed(station):
    """the package installs and starts nothing"""
    for deb in Path("/packages").glob("*.deb"):
        shutil.copy(deb, "/root")
    words = station.guide.run("apt install", seconds=600)
    check("install: says that nothing was started, and what is next", "nothing was started" in words and "benchlight doctor" in words, words)
    state = show("ActiveState", "UnitFileState")
    check("install: the service is neither started nor enabled", state == {"ActiveState": "inactive", "UnitFileState": "disabled"}, state)
    groups = sh("id", "-nG", "benchlight").stdout.split()
    check("install: the user benchlight is there, in the groups of scanners and lamps", {"benchlight", "input", "dialout", "gpio"} <= set(groups), groups)
    modes = {name: (oct(Path(name).stat().st_mode & 0o777), Path(name).owner()) for name in ("/etc/benchlight", "/etc/benchlight/credentials", CONFIG)}
    check("install: the folder for secrets is the agent's alone", list(modes.values()) == [("0o755", "root"), ("0o700", "benchlight"), ("0o644", "root")], modes)
    check("install: no journal is made", not Path("/var/lib/benchlight").exists())
    check("install: completions, manual page and examples are in their places", all(Path("/usr/share", name).exists() for name in (
        "bash-completion/completions/benchlight", "zsh/vendor-completions/_benchlight", "fish/vendor_completions.d/benchlight.fish",
        "man/man1/benchlight.1.gz", "doc/benchlight/examples/one-bench.toml")))


def undone(station):
    """the doctor right after the installation"""
    station.guide.run("benchlight doctor", code=78)
    station.plug()
    done = subprocess.run(["benchlight", "doctor", "--json"], capture_output=True, text=True, timeout=120)
    lines = json.loads(done.stdout)
    failed = {re.sub(r"line \d+", "line", line["part"]): (line["finding"], line["remedy"]) for line in lines if line["state"] == "fail"}
    check("doctor after the installation: with scanner and lamps there, exactly the token, the two addresses are left to do",
          set(failed) == {"config line", "source kandji", "source kandji, url", "broker"}, lines)
    check("doctor after the installation: each comes with what to do", all(remedy for _, remedy in failed.values())
          and "kandji-token" in failed.get("source kandji", ("",))[0] and "example's" in failed.get("broker", ("",))[0], failed)
    fine = {line["part"]: line["state"] for line in lines}
    check("doctor after the installation: scanner, lamps and journal are well", [fine.get(part) for part in ("scanner left", "lamps main", "journal")] == ["ok"] * 3, lines)


def configured(station):
    """config and secrets as in the guide"""
    station.serve()
    station.guide.run("benchlight.toml")
    station.guide.run("kandji-token", TOKEN + "\n")
    station.guide.run("mqtt-password", PASSWORD + "\n")
    station.guide.run("LoadCredential=")
    words = station.guide.run("benchlight check")
    check("install: check finds the config good", "good: station ams1/bench-1" in words, words)
    words = station.guide.run("benchlight doctor", again=HUNG)
    check("install: the doctor finds every part well", "fail" not in words and words.count("ok  ") >= 6, words)
    recording = station.pins.record([GREEN, RED])
    station.guide.run("lamps test")
    recording.stop()
    both = [levels for _, levels in recording.changes if levels[GREEN]]
    check("install: `lamps test` lit both lamps, green never alone", both and all(levels[RED] for levels in both) and station.dark(), recording.changes)
    words = station.guide.run("benchlight lookup")
    check("install: the look-up shows the box's verdict", "ready" in words and "assigned" in words.lower(), words)


def started(station):
    """started by systemd"""
    station.guide.run("enable --now")
    check("systemd: the service is active, by Type=notify", active(5) and show("Type")["Type"] == "notify", show("ActiveState", "Result"))
    check("systemd: STATUS= says in words how the station is", ready(), show("StatusText"))
    words = station.guide.run("systemctl status")
    check("systemd: `systemctl status` shows it", "ready for scans" in words and "enabled" in words, words)
    took = station.scan(READY, "systemd: scan -> lamp -> message, inside the sandbox")
    figure("first key to green on the virtual Pi (arm64, systemd's sandbox), ms", round(took * 1000))
    words = station.guide.run("journal why")
    check("install: `journal why` tells the story of the box", READY in words and "delivered" in words.lower(), words)
    words = station.guide.run("benchlight doctor", again=HUNG)
    check("install: the doctor beside the agent takes nothing away", words.count("in_use") >= 2 and "fail" not in words, words)


def inside(*words, user=None):
    """A command in the mount namespace of the agent."""
    entry = ["nsenter", "-t", pid(), "-m", "--"]
    if user:
        entry += ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]
    return sh(*entry, *words)


def in_group(*words):
    """A command under the unit's device rules."""
    return sh("sh", "-c", f'echo $$ >{GROUP}/cgroup.procs && exec "$@"', "sh", *words)


def sandboxed(station):
    """the sandbox is in force"""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid()}/status").read_text().splitlines() if ":\t" in line)
    account = pwd.getpwnam("benchlight")
    check("sandbox: runs as benchlight, not as root", status["Uid"].split() == [str(account.pw_uid)] * 4, status["Uid"])
    check("sandbox: no new privileges, system calls filtered", (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), (status["NoNewPrivs"], status["Seccomp"]))
    rights = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    check("sandbox: not one capability, and none to be had", not any(rights.values()), rights)
    written = {}
    for folder in ("/etc", "/usr", "/var/lib", "/boot", "/opt", "/etc/benchlight"):
        done = inside("touch", f"{folder}/bench-was-here")
        if done.returncode == 0 or "Read-only file system" not in done.stdout:
            written[folder] = done.stdout
    check("sandbox: the system is read-only, even for root inside it", not written, written)
    own = inside("sh", "-c", "touch /var/lib/benchlight/bench && rm /var/lib/benchlight/bench")
    check("sandbox: the journal's folder is the exception", own.returncode == 0 and oct(Path("/var/lib/benchlight").stat().st_mode)[-3:] == "700", own.stdout)
    Path("/home/somebody").mkdir(exist_ok=True)
    Path("/tmp/somebody").touch()
    seen = inside("ls", "-A", "/root", "/home", "/tmp").stdout
    check("sandbox: people's homes and temporary files are not seen", "somebody" not in seen and "guide.json" not in seen and ".deb" not in seen, seen)
    processes = inside("ls", "/proc", user="benchlight").stdout.split()
    check("sandbox: other people's processes are not seen", str(pid()) in processes and "1" not in processes, processes[:20])
    check("sandbox: the kernel's settings are read-only", inside("sh", "-c", "echo 1 >/proc/sys/kernel/printk").returncode != 0)
    event = f"/dev/input/{station.scanner.event()}"
    opened = {device: in_group("sh", "-c", f"exec 3{how}{device}").stdout for device, how in (
        ("/dev/vda", "<"), ("/dev/kmsg", "<"), ("/dev/tty1", "<"), ("/dev/mem", "<"), ("/dev/uinput", ">"), (event, ">"))}
    check("sandbox: disks, memory, consoles and made-up keyboards are closed, scanners cannot be written",
          all("Operation not permitted" in said for said in opened.values()), opened)
    needed = {device: in_group("sh", "-c", f"exec 3{how}{device}").stdout for device, how in ((event, "<"), (f"/dev/{station.pins.chip}", "<>"))}
    check("sandbox: the scanner and the lamps' chip are open", not any(needed.values()), needed)
    families = sh("systemctl", "show", "benchlight", "-p", "RestrictAddressFamilies", "-p", "MemoryMax", "-p", "TasksMax", "-p", "LimitCORE").stdout
    check("sandbox: bounds of memory and tasks are set, no core files", "MemoryMax=268435456" in families and "TasksMax=128" in families and "LimitCORE=0" in families, families)
    check("sandbox: the kernel holds the bound of memory", (GROUP / "memory.max").read_text().strip() == "268435456")


def secrets(station):
    """credentials by LoadCredential="""
    home = Path(f"/proc/{pid()}")
    environment, words = (home / "environ").read_bytes(), (home / "cmdline").read_bytes()
    check("credentials: not in the environment, not on the command line", TOKEN.encode() not in environment + words and PASSWORD.encode() not in environment + words)
    check("credentials: systemd handed them over", b"CREDENTIALS_DIRECTORY=/run/credentials/benchlight.service" in environment, environment)
    stored = Path("/etc/benchlight/credentials/kandji-token")
    refused = sh("sudo", "-u", "benchlight", "cat", stored)
    check("credentials: the files are root's, the agent's user cannot read them", stored.owner() == "root" and refused.returncode != 0 and TOKEN not in refused.stdout, refused.stdout)
    handed = Path("/run/credentials/benchlight.service/kandji-token")
    other = sh("sudo", "-u", "nobody", "cat", handed)
    check("credentials: the agent's copy is nobody else's", handed.read_text().strip() == TOKEN and other.returncode != 0 and TOKEN not in other.stdout, other.stdout)
    told = sh("systemctl", "show", "benchlight").stdout + sh("systemctl", "status", "benchlight").stdout
    check("credentials: systemd tells nobody", TOKEN not in told and PASSWORD not in told)


class StopPost:
    """The result of ExecStopPost=. systemd forgets it when it restarts the service, so here the restart waits until it has been read."""

    later = Path("/run/systemd/system/benchlight.service.d/bench.conf")

    @classmethod
    def wait(cls):
        """Delay restarts until the next boot of this machine."""
        cls.later.parent.mkdir(parents=True, exist_ok=True)
        cls.later.write_text("[Service]\nRestartSec=15\n")
        sh("systemctl", "daemon-reload")

    def __init__(self):
        self.seen = ""
        self._ended = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._ended and "code=exited" not in self.seen:
            self.seen = show("ExecStopPost")["ExecStopPost"]

    def end(self, promise):
        self._ended = True
        self._thread.join(10)
        check(promise, "argv[]=/usr/bin/benchlight lamps off" in self.seen and "code=exited" in self.seen and "status=0" in self.seen, self.seen)


def hung(station):
    """stopped while green"""
    StopPost.wait()
    before, restarts = pid(), int(show("NRestarts")["NRestarts"])
    until(station.dark, 40)
    station.scanner.scan(ALSO_READY)
    lit = until(station.green, 20, 0.002)
    os.kill(before, signal.SIGSTOP)
    start = time.monotonic()
    after = StopPost()
    still = station.green()
    dark = until(station.dark, 60, 0.01)
    took = time.monotonic() - start
    check("watchdog: stopped while green, the lamps go dark within its 10 s and a few more", lit and still and dark and took < 25, (lit, still, dark, took))
    figure("stopped while green, until dark, s", round(took, 1))
    lights = station.pins.record([GREEN])
    again = until(lambda: pid() not in (0, before) and active(0.1), 60, 0.2)
    check("watchdog: systemd has seen it and started the agent again", again and int(show("NRestarts")["NRestarts"]) > restarts
          and "watchdog" in sh("journalctl", "-u", "benchlight", "--no-pager").stdout.lower(), show("NRestarts", "Result", "ActiveState"))
    after.end("watchdog: ExecStopPost= has run `lamps off` with success")
    check("watchdog: ready again", ready(), show("StatusText"))
    lights.stop()
    check("watchdog: and no green comes by itself afterwards", not lights.spans(GREEN), lights.changes)
    station.scan(READY, "watchdog: the next scan is answered")


def killed(station):
    """killed while green"""
    before, restarts = pid(), int(show("NRestarts")["NRestarts"])
    until(station.dark, 40)
    station.scanner.scan(ALSO_READY)
    lit = until(station.green, 20, 0.002)
    after = StopPost()
    os.kill(before, signal.SIGKILL)
    start = time.monotonic()
    dark = until(station.dark, 20, 0.005)
    check("killed: the lamps go dark at once", lit and dark and time.monotonic() - start < 6, (lit, dark, time.monotonic() - start))
    again = until(lambda: pid() not in (0, before) and active(0.1), 60, 0.2)
    check("killed: systemd has started the agent again", again and int(show("NRestarts")["NRestarts"]) == restarts + 1, show("NRestarts", "Result"))
    after.end("killed: ExecStopPost= has run `lamps off` with success")
    check("killed: ready again", ready(), show("StatusText"))


def unplugged(station):
    """a scanner that is unplugged and replugged"""
    station.scanner.unplug()
    check("scanner: unplugged, the station says that it can answer no scan", until(lambda: "no_scanner" in show("StatusText")["StatusText"], 60, 0.3), show("StatusText"))
    station.scanner.plug()
    check("scanner: plugged in again, it is ready without a restart", ready(), show("StatusText"))
    station.scan(READY, "scanner: and answers")


def restarted(station, config):
    """Run the agent with that config; True if it is ready for scans."""
    CONFIG.write_text(config)
    sh("systemctl", "restart", "benchlight")
    return active() and ready()


def by_serial(station):
    """a scanner on USB serial"""
    def by_port(kind):
        return [os.path.realpath(link) for link in Path("/dev/benchlight/by-port").glob(f"*-{kind}")]

    scanner = SerialScanner("serial", 1).plug()
    port, event = os.path.realpath(scanner.by_id), f"/dev/input/{station.scanner.event()}"
    known = sh("udevadm", "info", "--query=property", port).stdout
    check("udev: each scanner has a name by its port, too", (by_port("kbd"), by_port("serial")) == ([event], [port]), (by_port("kbd"), by_port("serial")))
    check("udev: ModemManager is to leave the scanner alone, its group may open it", "ID_MM_DEVICE_IGNORE=1" in known and Path(port).group() == "dialout", known)
    config = CONFIG.read_text()
    well = restarted(station, config.replace("[indicator]", '[[scanner]]\nname = "second"\nkind = "serial"\n\n[indicator]'))
    check("serial: ready with a second scanner", well, show("StatusText"))
    station.scan(ALSO_READY, "serial: scan -> lamp -> message, inside the sandbox", scanner)
    check("serial: it came from that scanner", station.last.get("scanner") == "second", station.last)
    scanner.remove()
    check("serial: ready without it again", restarted(station, config), show("StatusText"))


def kept_pins(station):
    """pins that keep their level when nobody holds them"""
    pins = KeptPins("kept", 2).plug()
    config = CONFIG.read_text()
    well = restarted(station, re.sub(r"^green = 17.*$", f'chip = "{pins.label}"\ngreen = 2', config, flags=re.M).replace("red = 27", "red = 3"))
    check("kept pins: ready with lamps on another chip", well, (show("StatusText"), log(8)))
    read_in()
    before = pid()
    station.scanner.scan(READY)
    lit = until(lambda: pins.level(2), 20, 0.002)
    after = StopPost()
    os.kill(before, signal.SIGKILL)
    dark = until(lambda: not pins.level(2) and not pins.level(3), 20, 0.005)
    check("kept pins: killed while green, dark again: by ExecStopPost= alone", lit and dark, (lit, pins.level(2), log(8)))
    after.end("kept pins: ExecStopPost= has run `lamps off` with success")
    until(lambda: pid() not in (0, before), 60, 0.2)
    check("kept pins: ready with the old ones again", restarted(station, config), show("StatusText"))
    station.scan(ALSO_READY, "kept pins: and these light")
    pins.remove()


def readable(station):
    """the log"""
    entries = [json.loads(line) for line in sh("journalctl", "-u", "benchlight", "-o", "json", "--no-pager").stdout.splitlines()]
    own = [entry for entry in entries if entry.get("_COMM") == "benchlight"]
    texts = [entry["MESSAGE"] for entry in own]
    check("log: every line is text, without colours", own and all(isinstance(text, str) and "\x1b" not in text for text in texts), [text for text in texts if not isinstance(text, str)][:2])
    wrong = [(entry["PRIORITY"], text) for entry, text in zip(own, texts) for word, priority in (("ERROR ", "3"), (" WARN ", "4"), (" INFO ", "6"))
             if text.startswith(word) and entry["PRIORITY"] != priority]
    unmarked = [text for text in texts if not text.startswith(("ERROR ", " WARN ", " INFO ", "DEBUG "))]
    check("log: a warning is a warning for journalctl, too", not wrong and not unmarked and {"4", "6"} <= {entry["PRIORITY"] for entry in own}, (wrong[:5], unmarked[:5]))
    check("log: no second time stamp", not any(re.search(r"\d\d:\d\d:\d\d", text) for text in texts), texts[:5])
    # One line per scan and per change of state, none per heartbeat.
    check("log: one line for each scan", sum(READY in text for text in texts) >= 2 and len(own) < 160, (len(own), texts[-20:]))
    everything = sh("journalctl", "-o", "export", "--no-pager").stdout
    check("log: no secret in any log of the machine", TOKEN not in everything and PASSWORD not in everything)
    for text in texts[:12]:
        note("journalctl: " + text[:160])


def reboot(station):
    """the reboot in the guide"""
    for name in ("seq", "epoch"):
        (Path("/root") / name).write_text(str(station.last[name]))
    os.sync()
    print("@@ reboot", flush=True)
    station.guide.run("sudo reboot")
    time.sleep(300)
    check("reboot: it comes", False, sh("systemctl", "list-jobs").stdout)


# --- the second boot: started by systemd --------------------------------------------------------------------------


def by_itself(station):
    """after a reboot"""
    check("reboot: the service came up by itself", active(120), show("ActiveState", "Result") | {"log": log(10)})
    moment = int(show("ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"]) / 1e6
    figure("boot to ready on the virtual Pi (kernel's start to service ready), s", round(moment, 1))
    before = int(show("ExecMainStartTimestampMonotonic")["ExecMainStartTimestampMonotonic"]) / 1e6
    figure("of that, start of the agent to ready, s", round(moment - before, 2))
    check("reboot: it says what it cannot do yet", until(lambda: "cannot answer" in show("StatusText")["StatusText"], 60, 0.3), show("StatusText"))
    station.serve()
    check("reboot: the services there, it still lacks a scanner", until(lambda: "no_scanner" in show("StatusText")["StatusText"], 150, 0.3), show("StatusText"))
    station.plug()
    check("reboot: the scanner plugged in, it is ready", ready(), show("StatusText"))
    check("reboot: no green before the first scan", until(station.dark, 20, 0.1) and not station.green())
    took = station.scan(READY, "reboot: scan -> lamp -> message")
    figure("first key to green on the virtual Pi after a boot, ms", round(took * 1000))
    data = station.last
    check("reboot: the journal goes on: same epoch, the next number", data["epoch"] == Path("/root/epoch").read_text() and data["seq"] == int(Path("/root/seq").read_text()) + 1, data)
    memory = {line.split(":")[0]: int(line.split()[1]) for line in Path(f"/proc/{pid()}/status").read_text().splitlines() if line.startswith(("VmRSS", "RssAnon"))}
    figure("resident memory of the agent on the virtual Pi, MB (of it its own)", f"{memory['VmRSS'] / 1000:.1f} ({memory['RssAnon'] / 1000:.1f})")
    check("reboot: the agent takes less than 20 MB", memory["VmRSS"] * 1024 < 20_000_000, memory)


def partition(station):
    """a data partition"""
    station.guide.run("mkfs.ext4")
    station.guide.run("var-lib-benchlight.mount")
    words = station.guide.run("enable --now var-lib-benchlight.mount")
    check("data partition: the journal lies on it", "/dev/vdb" in words and "noatime" in words, words)
    check("data partition: ready", active() and ready(), log(10))
    station.scan(ALSO_READY, "data partition: scan -> lamp -> message")
    data = station.last
    check("data partition: the journal has moved with its epoch and its numbers", data["epoch"] == Path("/root/epoch").read_text() and data["seq"] == int(Path("/root/seq").read_text()) + 2, data)
    Path("/root/seq").write_text(str(data["seq"]))


# --- the third boot: a read-only root -----------------------------------------------------------------------------


def read_only(station):
    """an overlay in memory over a read-only card"""
    card = sh("findmnt", "-n", "-o", "FSTYPE,OPTIONS", "/").stdout
    check("read-only root: the root is an overlay", card.startswith("overlay"), card)
    there = sh("findmnt", "-n", "-o", "SOURCE,OPTIONS", "/var/lib/benchlight").stdout
    check("read-only root: the data partition is mounted by itself, and can be written", there.startswith("/dev/vdb") and "rw" in there.split()[1].split(","), there)
    check("read-only root: the service came up by itself", active(120), log(10))
    station.serve()
    station.plug()
    check("read-only root: ready", ready(), show("StatusText"))
    station.scan(READY, "read-only root: scan -> lamp -> message")
    data = station.last
    check("read-only root: the journal goes on", data["epoch"] == Path("/root/epoch").read_text() and data["seq"] == int(Path("/root/seq").read_text()) + 1, data)
    Path("/etc/written-in-memory").touch()


# --- the fourth boot: upgrade, removal ----------------------------------------------------------------------------


def kept(station):
    """back on a writable root"""
    check("read-only root: what was written to the root is gone", not Path("/etc/written-in-memory").exists())
    check("read-only root: afterwards the service comes up", active(120), log(10))
    station.serve()
    station.plug()
    check("read-only root: afterwards ready", ready(), show("StatusText"))
    station.scan(ALSO_READY, "read-only root: afterwards scan -> lamp -> message")
    data = station.last
    # One number belongs to the scan made with the read-only root.
    check("read-only root: the scan made then is kept, the numbers have no gap", data["seq"] == int(Path("/root/seq").read_text()) + 2
          and data["epoch"] == Path("/root/epoch").read_text(), data)
    Path("/root/seq").write_text(str(data["seq"]))


def upgraded(station):
    """an upgrade"""
    before, config = pid(), CONFIG.read_bytes()
    words = station.guide.run("0.1.0-2", seconds=600)
    check("upgrade: the config was checked first", "good: station ams1/bench-1" in words, words)
    check("upgrade: the agent was restarted", active() and pid() not in (0, before), show("MainPID", "ActiveState"))
    version = sh("dpkg-query", "-W", "-f", "${Version} ${Status}", "benchlight").stdout
    check("upgrade: the new package is installed", version == "0.1.0-2 install ok installed", version)
    secret = Path("/etc/benchlight/credentials/kandji-token")
    check("upgrade: config and secrets are kept", CONFIG.read_bytes() == config and secret.read_text().strip() == TOKEN and show("UnitFileState")["UnitFileState"] == "enabled")
    check("upgrade: ready again", ready(), show("StatusText"))
    station.scan(READY, "upgrade: scan -> lamp -> message")
    data = station.last
    check("upgrade: the journal is kept", data["epoch"] == Path("/root/epoch").read_text() and data["seq"] == int(Path("/root/seq").read_text()) + 1, data)


def refused(station):
    """an upgrade with a config that the new version does not accept"""
    before, config = pid(), CONFIG.read_text()
    CONFIG.write_text(config.replace("[indicator]", "[indicator]\nblue = 9"))
    done = sh("dpkg", "-i", NEWER)
    check("upgrade, bad config: the mistake is shown with its place and a remedy", done.returncode == 0 and "benchlight.toml:" in done.stdout and "blue" in done.stdout
          and "does not accept the config" in done.stdout, (done.returncode, done.stdout))
    check("upgrade, bad config: the agent of before goes on", pid() == before and show("ActiveState")["ActiveState"] == "active", show("MainPID", "ActiveState"))
    station.scan(ALSO_READY, "upgrade, bad config: and answers")
    sh("systemctl", "stop", "benchlight")
    done = sh("dpkg", "-i", NEWER)
    check("upgrade, station down, bad config: says that it does not start, and why", done.returncode == 0 and "does not start" in done.stdout and "blue" in done.stdout
          and show("ActiveState")["ActiveState"] == "failed", (done.returncode, done.stdout, show("ActiveState")))
    CONFIG.write_text(config)
    done = sh("dpkg", "-i", NEWER)
    check("upgrade, station down: it is started again", done.returncode == 0 and "benchlight doctor" not in done.stdout and active(5), done.stdout)
    check("upgrade, station down: ready", ready(), show("StatusText"))


def removed(station):
    """removal and purge"""
    until(station.dark, 40)
    station.scanner.scan(PENDING)
    until(lambda: station.pins.level(RED), 15, 0.005)
    station.guide.run("apt remove")
    check("remove: the agent is stopped, the lamps are dark", station.dark() and not GROUP.exists() and pid() == 0, show("MainPID", "ActiveState"))
    check("remove: the program is gone", not Path("/usr/bin/benchlight").exists() and show("LoadState")["LoadState"] == "not-found", show("LoadState"))
    check("remove: config, secrets and journal stay", CONFIG.exists() and Path("/etc/benchlight/credentials/kandji-token").exists() and any(Path("/var/lib/benchlight").glob("journal.sqlite*")))
    done = sh("dpkg", "-i", NEWER)
    check("remove: installed again, it says that nothing was started", done.returncode == 0 and "nothing was started" in done.stdout
          and show("ActiveState", "UnitFileState") == {"ActiveState": "inactive", "UnitFileState": "disabled"}, (done.stdout, show("ActiveState", "UnitFileState")))
    sh("dpkg", "-r", "benchlight")
    station.guide.run("apt purge")
    check("purge: the journal is gone, from the data partition, too", not any(Path("/var/lib/benchlight").iterdir()), list(Path("/var/lib/benchlight").iterdir()))
    owner = pwd.getpwnam("benchlight").pw_uid
    left = sh("find", "/", "-xdev", "(", "-path", "/packages", "-o", "-path", "/bench", "-o", "-path", "/root", "-o", "-path", "/proc", "-o", "-path", "/sys", ")", "-prune",
              "-o", "(", "-iname", "*benchlight*", "-o", "-uid", owner, ")", "-print").stdout.split()
    # The administrator made the mount of the data partition, so the package leaves it.
    own = {"/etc/systemd/system/var-lib-benchlight.mount", "/etc/systemd/system/local-fs.target.wants/var-lib-benchlight.mount", "/var/lib/benchlight"}
    check("purge: nothing is left behind but the data partition's mount", set(left) <= own, set(left) - own)
    status = sh("dpkg-query", "-W", "benchlight")
    check("purge: dpkg knows nothing of it", status.returncode != 0, status.stdout)
    station.guide.end()


LIVES = {
    "install": (installed, undone, configured, started, sandboxed, secrets, hung, killed, unplugged, by_serial, kept_pins, readable, reboot),
    "reboot": (by_itself, partition),
    "readonly": (read_only,),
    "end": (kept, upgraded, refused, removed),
}


def main():
    life = re.search(r"\blife=(\w+)", Path("/proc/cmdline").read_text())[1]
    station = Station()
    try:
        run(f"systemd, {life}", LIVES[life], station, failed=lambda: note(log(12).replace("\n", " / ")))
    finally:
        if station.services:
            station.services.stop()
        sys.stdout.flush()
