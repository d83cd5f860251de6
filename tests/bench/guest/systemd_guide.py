"""docs/install.md as a script: its commands in order, word for word except for a few names."""

import json
import re
import subprocess
from pathlib import Path

from results import check, note

# What is different on a virtual Pi. Deadline and pause are long, because on an emulated machine, on a busy host, typing can
# stall in the middle of a code.
NAMES = {
    'kind = "hid" ': 'pause = "2s"\nkind = "hid" ',
    "https://acme.api.kandji.io": "http://127.0.0.1:8801",
    "mqtts://broker.example:8883": "mqtt://127.0.0.1:1883",
    "[mqtt]\n": '[verdict]\ndeadline = "8s"\n\n[mqtt]\n',
    "/dev/mmcblk0p3": "/dev/vdb",
}
# Not run here: blocks for the reader's own computer, blocks done by the guest's first process, and blocks tested by tests/publisher/guide.rs.
ELSEWHERE = {"your-computer", "raspberry-pi-os", "broker"}


class Guide:
    """The blocks of commands. Which ones have been run is stored on the card, across reboots."""

    def __init__(self, page="/packages/install.md", memory="/root/guide.json"):
        self.blocks, self.elsewhere = [], []
        for words, text in re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", Path(page).read_text(), re.M | re.S):
            if words == "sh":
                self.blocks.append(text)
            else:
                self.elsewhere.append((words, text))
        self._memory = Path(memory)
        self._ran = json.loads(self._memory.read_text()) if self._memory.exists() else []

    def run(self, what, given="", code=0, seconds=300, again=None):
        """Run the next block, in which `what` stands; `given` is typed into it. Its output.

        If it prints `again`, this slow machine delayed it: it is run up to three times.
        """
        at = len(self._ran)
        text = self.blocks[at] if at < len(self.blocks) else ""
        if what not in text:
            raise RuntimeError(f"the next block of docs/install.md is not the one with {what!r}: {text}")
        self._ran.append(what)
        self._memory.write_text(json.dumps(self._ran))
        done = self.shell(text, given, seconds)
        for _ in range(2):
            if again and again in done.stdout:
                note(f"once more, it said {again!r}: {text.strip()}")
                done = self.shell(text, given, seconds)
        check(f"install.md: {text.splitlines()[0][:90]}", done.returncode == code, (done.returncode, done.stdout[-1200:]))
        return done.stdout

    def shell(self, text, given="", seconds=300):
        """Commands, as typed into a shell; standard output and error together."""
        for there, here in NAMES.items():
            text = text.replace(there, here)
        return subprocess.run(["bash", "-ec", text], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", cwd="/root", timeout=seconds)

    def end(self):
        """Check that every block has been run, except those marked as not runnable here."""
        check(f"install.md: each of its {len(self.blocks)} blocks of commands was run, in order", len(self._ran) == len(self.blocks), self._ran)
        known = [(words, text) for words, text in self.elsewhere if words.startswith("sh ")]
        check("install.md: what was not run here says so", {words[3:] for words, _ in known} == ELSEWHERE, known)
        check("install.md: every fence is a block of commands", len(known) == len(self.elsewhere), self.elsewhere)
