"""The card of a station: a file with ext4, behind a cache that a power cut empties."""

import os
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from . import apt
from .cache import CACHE

SECTOR = 512


def disk(name, megabytes):
    """Make a fresh ext4 disk in the bench's cache; return its path."""
    path = CACHE / name
    path.unlink(missing_ok=True)
    make(path, megabytes)
    return path


def make(path, megabytes):
    """An empty ext4 in a new file. No blocks are reserved for root, so a full card is also full for the agent."""
    apt.install(["e2fsprogs"], ["/usr/sbin/mkfs.ext4"], "the card of the virtual station")
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-m", "0", path, f"{megabytes}M"], check=True, stdout=subprocess.DEVNULL)


class Card:
    """A fresh ext4 card. `drive` says how a machine uses it: with QEMU's caches, or with one that forgets."""

    def __init__(self, chance, megabytes=96):
        CACHE.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="card-", dir=CACHE)
        self.path = Path(self._folder.name) / "card"
        make(self.path, megabytes)
        self._forgetful = Forgetful(self.path, chance)

    def drive(self, cache):
        """QEMU's arguments for this card; `cache` is one of QEMU's modes, or `forgetful`."""
        if cache == "forgetful":
            # With writeback the guest's flushes reach the server.
            return ["-drive", f"file=nbd:unix:{self._forgetful.address},format=raw,if=virtio,cache=writeback"]
        return ["-drive", f"file={self.path},format=raw,if=virtio,cache={cache}"]

    def cut(self):
        """Cut the power: the card loses what it had only in its cache. Returns (writes kept, writes lost)."""
        return self._forgetful.cut()

    def remove(self):
        self._forgetful.stop()
        self._folder.cleanup()


class Forgetful:
    """A card with a volatile cache, served over NBD: at a power cut, writes that were not flushed are kept, lost or torn at random.

    QEMU's own caches belong to this machine and survive a killed guest. Real cards promise nothing before a flush.
    """

    def __init__(self, path, chance):
        self._path, self._chance = path, chance
        self._folder = tempfile.TemporaryDirectory(prefix="benchlight-card-")
        self.address = str(Path(self._folder.name) / "nbd")
        self._volatile = []
        self._free = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.address)
        self._server.listen()
        self._threads = []
        self.flushes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._server.close()
        self._folder.cleanup()

    def cut(self):
        # The machine is dead, but what it had sent is still received.
        for thread in self._threads:
            thread.join(20)
        self._threads.clear()
        kept = lost = 0
        with self._free, open(self._path, "r+b") as file:
            for offset, data in self._volatile:
                # Decide each sector separately, but usually like its neighbours: cards write in pages, in any order.
                fate = self._chance.choice(("kept", "lost", "torn"))
                for at in range(0, len(data), SECTOR):
                    if fate == "kept" or fate == "torn" and self._chance.random() < 0.5:
                        file.seek(offset + at)
                        file.write(data[at:at + SECTOR])
                kept, lost = kept + (fate == "kept"), lost + (fate != "kept")
            self._volatile.clear()
        return kept, lost

    def _accept(self):
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[link], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, link):
        with link, open(self._path, "r+b", buffering=0) as file:
            stream = link.makefile("rb")
            try:
                self._greet(link, stream)
                while self._answer(link, stream, file):
                    pass
            except (OSError, struct.error):
                pass  # the machine died in the middle of a message

    def _greet(self, link, stream):
        # The fixed newstyle handshake of the NBD protocol, with a single export.
        size = os.path.getsize(self._path)
        flags = 1 | 1 << 2  # has flags, takes flushes
        link.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        no_zeroes = struct.unpack(">I", stream.read(4))[0] & 2
        while True:
            _, option, length = struct.unpack(">8sII", stream.read(16))
            stream.read(length)

            def reply(kind, data=b"", option=option):
                link.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)

            if option == 1:  # export by name
                link.sendall(struct.pack(">QH", size, flags) + (b"" if no_zeroes else bytes(124)))
                return
            if option in (6, 7):  # info, go
                reply(3, struct.pack(">HQH", 0, size, flags))
                reply(1)
                if option == 7:
                    return
            else:
                reply(0x80000001)  # not known here

    def _answer(self, link, stream, file):
        _, _, kind, handle, offset, length = struct.unpack(">IHH8sQI", stream.read(28))
        data = b""
        if kind == 1:
            written = stream.read(length)
            if len(written) < length:
                return False
            with self._free:
                self._volatile.append((offset, written))
        elif kind == 0:
            data = self._read(file, offset, length)
        elif kind == 3:
            self._flush(file)
        elif kind == 2:
            return False
        link.sendall(struct.pack(">II8s", 0x67446698, 0 if kind in (0, 1, 3) else 22, handle) + data)
        return True

    def _read(self, file, offset, length):
        with self._free:
            data = bytearray(os.pread(file.fileno(), length, offset))
            for start, written in self._volatile:
                first, last = max(start, offset), min(start + len(written), offset + length)
                if first < last:
                    data[first - offset:last - offset] = written[first - start:last - start]
        return bytes(data)

    def _flush(self, file):
        with self._free:
            for offset, written in self._volatile:
                os.pwrite(file.fileno(), written, offset)
            self._volatile.clear()
            self.flushes += 1
