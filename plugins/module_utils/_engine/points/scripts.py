# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operator's scripts, read once, so that the bytes that are hashed are the bytes that run; what they changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import EnvSyncError

#: larger files are not scripts, in bytes
LARGEST = 256 * 1024 * 1024


@dataclass(frozen=True)
class Script:
    """A script as it was when the run began.

    ``path`` is where the operator keeps it, for messages; ``content`` is what runs, whatever becomes of that file.
    ``included`` are the files that it includes (``psql`` can), read at the same time.
    """

    path: str
    content: bytes = field(repr=False)
    included: tuple[Script, ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its folder: what the manifest calls the script."""
        return os.path.basename(self.path)

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def text(self, doing: str) -> str:
        """Return the content as text; raises where it is not UTF-8."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise EnvSyncError(doing, f"{self.path} is not UTF-8 text", "Save it as UTF-8.") from error


@dataclass(frozen=True)
class Effect:
    """What a script did, as it was found afterwards on a connection of our own: it ran to its end, and is committed.

    ``changed`` counts the rows (documents, files) that it inserted, updated or deleted; ``tables`` has the share of
    each table (collection, index) in it. ``altered`` names what else it changed: tables truncated, dropped, made or
    altered, in words that hold no value of any row. ``units`` is what this DBMS calls rows and tables.
    """

    script: Script
    changed: int
    tables: Mapping[str, int] = field(default_factory=dict)
    altered: Sequence[str] = ()
    units: tuple[str, str] = ("rows", "tables")

    @property
    def nothing(self) -> bool:
        """Whether the script left everything as it was."""
        return not self.changed and not self.altered

    @property
    def sentence(self) -> str:
        """What the script did, for a log."""
        what, places = self.units
        where = f" in {len(self.tables)} {places}" if self.tables else ""
        also = f"; {', '.join(self.altered)}" if self.altered else ""
        return f"{self.script.path} changed {self.changed} {what}{where}{also}"

    def to_dict(self) -> dict[str, Any]:
        """Return what the manifest and a module's result say.

        ``script``, ``sha256``, ``changed``, ``altered``, and ``included`` where it includes other files.
        """
        said: dict[str, Any] = {
            "script": self.script.name,
            "sha256": self.script.sha256,
            "changed": self.changed,
            "altered": len(self.altered),
        }
        if self.script.included:
            said["included"] = [{"script": one.name, "sha256": one.sha256} for one in self.script.included]
        return said


def read_scripts(paths: Sequence[str]) -> tuple[Script, ...]:
    """Read the scripts at the start of a run.

    :raises EnvSyncError: one of them can't be read.
    """
    return tuple(_read(path) for path in paths)


def _read(path: str) -> Script:
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise EnvSyncError(
            f"reading the script {path}", str(error.strerror), "Check the transformation file's name."
        ) from error
    if len(content) > LARGEST:
        raise EnvSyncError(f"reading the script {path}", f"it is larger than {LARGEST} bytes", "Check the file's name.")
    return Script(path, content)
