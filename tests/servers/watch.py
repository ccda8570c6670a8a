# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``watch.py FOLDER NOTES COMMAND...``: run a command in a folder, and note what was done with what lies there.

The kernel tells (inotify(7)): each opening, reading, writing, removal of anything in the folder, at any depth. A line
for each goes to the file NOTES; the exit status is the command's. It stands alone, as hosts get a copy of it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys

_EVENTS = {
    0x1: "read",
    0x2: "changed",
    0x4: "mode changed",
    0x20: "opened",
    0x40: "moved away",
    0x80: "moved here",
    0x100: "made",
    0x200: "removed",
}
_HEAD = struct.Struct("iIII")


def main(folder: str, notes: str, *command: str) -> int:
    """Run the command; write what happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    places = {}
    for place in [place for place, _folders, _names in os.walk(folder)]:
        places[libc.inotify_add_watch(descriptor, os.fsencode(place), sum(_EVENTS))] = place
    if descriptor < 0 or -1 in places:
        raise OSError(ctypes.get_errno(), "inotify")
    status = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False).returncode
    with open(notes, "w", encoding="utf-8") as stream:
        for place, what, name in _happened(descriptor, places):
            stream.write(f"{os.path.join(os.path.relpath(place, folder), name)} was {what}\n")
    return status


def _happened(descriptor: int, places: dict[int, str]) -> list[tuple[str, str, str]]:
    found = []
    while True:
        try:
            data = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return found
        while data:
            watch, mask, _cookie, length = _HEAD.unpack_from(data)
            name = os.fsdecode(data[_HEAD.size : _HEAD.size + length].rstrip(b"\0"))
            data = data[_HEAD.size + length :]
            found += [(places.get(watch, "?"), what, name) for bit, what in _EVENTS.items() if mask & bit]


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
