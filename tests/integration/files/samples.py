# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees and archives: described, forged, damaged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any, Callable

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

Make = Callable[..., Task]


def described(top: Path) -> dict[str, Any]:
    """Return all that there is to say of a tree, by name."""

    def one(path: str) -> dict[str, Any]:
        found = os.lstat(path)
        kind = stat.S_IFMT(found.st_mode)
        return {
            "mode": oct(found.st_mode),
            "owner": (found.st_uid, found.st_gid),
            "time": found.st_mtime_ns if path != str(top) and kind != stat.S_IFDIR else 0,
            "links": found.st_nlink,
            "data": Path(path).read_bytes() if kind == stat.S_IFREG else None,
            "target": os.readlink(path) if kind == stat.S_IFLNK else None,
            "xattrs": {
                k: os.getxattr(path, k, follow_symlinks=False) for k in os.listxattr(path, follow_symlinks=False)
            },
        }

    found = {".": one(str(top))}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = one(path)
    return found


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith(".env_sync"))


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """Return a tar archive of members: name, type, and what it links to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, kind, target in members:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, target
            item.size = 4 if kind == tarfile.REGTYPE else 0
            made.addfile(item, io.BytesIO(b"evil"))
    return stream.getvalue()


def forge(tmp_path: Path, point: str, data: bytes) -> None:
    """Replace a point's archive as somebody could who may write to the store: with a manifest that agrees."""
    (tmp_path / "store" / point / "tree.tar").write_bytes(data)
    path = tmp_path / "store" / f"{point}.manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum", None)
    manifest["members"][0].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    path.write_text(json.dumps(manifest))


TREE = (".", tarfile.DIRTYPE, "")
LINK = ("./link", tarfile.SYMTYPE, "..")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
