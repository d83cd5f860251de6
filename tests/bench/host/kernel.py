"""A Debian kernel with the simulated hardware, and the modules that a guest loads, in load order."""

import lzma
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import apt
from .cache import CACHE, alone

# The first suite whose kernel has gpio-sim is used; bookworm's 6.1 and trixie's 6.12 are built without it.
SUITES = (["forky"], ["sid"])

GUEST = (
    # simulated pins, keyboards, and a USB bus whose devices the guest makes itself
    "configfs", "gpio-sim", "uinput", "evdev", "hid-generic", "usbhid", "dummy_hcd", "usb_f_hid", "usb_f_acm", "libcomposite",
    # a chip of pins that keep their level when nobody holds them, as a Raspberry Pi's do
    "hid-mcp2221",
    # serial scanners
    "cdc_acm", "usbserial", "ftdi_sio", "xhci_pci", "xhci_hcd", "ehci_pci",
    # the machine's own disks and its root on this machine's files
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "9p", "9pnet_virtio", "overlay", "ext4", "loop",
)
PI = (
    "configfs", "gpio-sim", "uinput", "evdev", "hid-generic", "usbhid", "dummy_hcd", "usb_f_hid", "usb_f_acm", "libcomposite", "cdc_acm", "usbserial", "hid-mcp2221",
    "virtio_pci", "virtio_blk", "virtio_net", "9p", "9pnet_virtio", "overlay", "ext4",
    # a Raspberry Pi 3's own USB, a network behind it, and its card
    "phy_generic", "dwc2", "cdc_ether", "bcm2835", "sdhci_iproc", "mmc_block", "bcm2835_wdt",
)


class Kernel:
    """The kernel and modules that a guest boots from."""

    def __init__(self, home):
        self.home = Path(home)
        self.image = self.home / "vmlinuz"
        self.busybox = self.home / "busybox"
        self.version = (self.home / "version").read_text().strip()

    def modules(self):
        """The modules in load order."""
        return sorted((self.home / "modules").glob("*.ko"))

    def device_tree(self, board):
        """The device tree of a Raspberry Pi, such as `bcm2837-rpi-3-b`."""
        return self.home / "dtb" / f"{board}.dtb"


def kernel(architecture):
    """The kernel for `architecture`, fetched once."""
    names = GUEST if architecture == "amd64" else PI
    home = CACHE / f"kernel-{architecture}"
    stamp = "\n".join(names)

    def complete():
        return (home / "complete").exists() and (home / "complete").read_text() == stamp

    if not complete():
        with alone():
            if not complete():
                _first(home, architecture, names)
                (home / "complete").write_text(stamp)
    return Kernel(home)


def _first(home, architecture, names):
    """Fetch it from the first suite that has it."""
    why = []
    for suites in SUITES:
        try:
            return _fetch(home, suites, architecture, names)
        except apt.Unavailable as fault:
            why.append(str(fault))
    raise apt.Unavailable("no kernel with simulated pins: " + "; ".join(why))


def _fetch(home, names_of_suites, architecture, names):
    print(f"fetching a kernel for {architecture} from {names_of_suites[-1]}", flush=True)
    suites = apt.Suites(CACHE / "apt" / f"{names_of_suites[-1]}-{architecture}", names_of_suites, architecture)
    depends = suites.fields(f"linux-image-{architecture}").get("Depends", "")
    images = re.findall(r"linux-image-\d[^ ,]+", depends)
    if not images:
        raise apt.Unavailable(f"no linux-image-{architecture} in {', '.join(names_of_suites)}")
    version = images[-1].removeprefix("linux-image-")
    packages = [images[-1]]
    if suites.fields(f"linux-modules-{version}"):
        # Newer kernels are split into several packages, on which the image package only depends.
        packages = [f"linux-base-{version}", f"linux-modules-{version}", f"linux-binary-{version}"]
    shutil.rmtree(home, ignore_errors=True)
    (home / "modules").mkdir(parents=True)
    (home / "dtb").mkdir()
    with tempfile.TemporaryDirectory(prefix="benchlight-kernel-") as work:
        work = Path(work)
        suites.unpack([*packages, "busybox-static"], work)
        images = [path for path in work.rglob("vmlinu[xz]*") if path.is_file()]
        if not images:
            raise apt.Unavailable(f"no kernel image in {' '.join(packages)}")
        shutil.copy(images[0], home / "vmlinuz")
        shutil.copy(next(path for path in work.rglob("bin/busybox") if path.is_file()), home / "busybox")
        for tree in work.rglob("bcm2*-rpi-*.dtb"):
            shutil.copy(tree, home / "dtb")
        if "gpio_sim" not in _collect(work, home / "modules", names):
            raise apt.Unavailable(f"linux {version} has no gpio-sim")
    (home / "version").write_text(version + "\n")


def _collect(root, into, names):
    """Copy the named modules and what they depend on, decompressed and numbered in load order."""
    found = {}
    for path in root.rglob("*.ko*"):
        name = re.match(r"(.*)\.ko(\.xz|\.zst)?$", path.name)
        if name:
            found[name[1].replace("-", "_")] = path
    done = []

    def add(name):
        name = name.replace("-", "_")
        if name in done or name not in found:  # absent: built in
            return
        data = _decompressed(found[name])
        for needed in re.search(rb"\0depends=([^\0]*)\0", data)[1].decode().split(","):
            add(needed)
        done.append(name)
        (into / f"{len(done):03}-{name}.ko").write_bytes(data)

    for name in names:
        add(name)
    return done


def _decompressed(path):
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        if not shutil.which("zstd"):
            apt.install(["zstd"], ["zstd"], "kernel modules are compressed with it")
        return subprocess.run(["zstd", "-qdc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def initramfs(out, files):
    """Pack `files` ({path in the guest: path here, or bytes}) as an initramfs; no root and no cpio needed."""
    import gzip

    folders = {"dev"}
    for name in files:
        parts = Path(name).parts[:-1]
        folders.update("/".join(parts[: n + 1]) for n in range(len(parts)))
    half = Path(f"{out}.half")
    half.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(half, "wb", compresslevel=1) as packed:
        inode = 0

        def entry(name, mode, data=b"", device=(0, 0)):
            nonlocal inode
            inode += 1
            text = name.encode() + b"\0"
            fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(text), 0)
            head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + text
            packed.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

        for folder in sorted(folders):
            entry(folder, 0o40755)
        entry("dev/console", 0o20600, device=(5, 1))
        entry("dev/null", 0o20666, device=(1, 3))
        for name, source in files.items():
            data = source if isinstance(source, bytes) else Path(source).read_bytes()
            entry(name, 0o100755, data)
        entry("TRAILER!!!", 0)
    half.rename(out)
