# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the original stored: a tar of a directory."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo import legacy
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

ONE = [bson.encode({"_id": n, "text": "x" * n}) for n in range(3)]
TWO = [bson.encode({"_id": "only"})]


def tar_of(**entries: Any) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    stream.seek(0)
    return stream


@pytest.mark.parametrize(
    "entries",
    [
        {"app/../x.bson": TWO[0]},
        {"/app/x.bson": TWO[0]},
        {"other/x.bson": TWO[0]},
        {"app/sub/x.bson": TWO[0]},
        {"app/x.sh": b""},
        {"app/.bson": TWO[0]},
        {"app/x.bson": (tarfile.SYMTYPE, "/etc/passwd")},
        {"app/x.bson": (tarfile.LNKTYPE, "app/y.bson")},
    ],
)
def test_a_tar_that_leaves_its_folder_is_refused(tmp_path: Path, entries: dict[str, Any]) -> None:
    with pytest.raises(EnvSyncError, match="which no dump of app does"):
        legacy.scan(tar_of(**entries), "app", "reading", str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"app/x.bson": TWO[0][:-1]}, "document 1 cannot be"),
        ({"app/x.bson": TWO[0] + TWO[0][:-1] + b"x"}, "document 2 does not end"),
        ({"app/x.metadata.json": b"{"}, "x.metadata.json cannot be read"),
        ({}, "no collection"),
    ],
)
def test_a_damaged_tar_is_refused(entries: dict[str, Any], says: str) -> None:
    with pytest.raises(EnvSyncError, match=says):
        legacy.scan(tar_of(**entries), "app", "reading")


def test_a_tar_that_was_cut_between_two_files_is_refused() -> None:
    whole = tar_of(**{"app/x.bson": TWO[0], "app/y.bson": TWO[0]}).getvalue()
    for size in (1024, 2048):
        with pytest.raises(EnvSyncError, match="the tar has no end"):
            legacy.scan(io.BytesIO(whole[:size]), "app", "reading")


@pytest.mark.parametrize("name", ["prelude.json", "app/prelude.json", "./app/prelude.json"])
def test_what_newer_programs_add_to_a_directory_is_passed_over(tmp_path: Path, name: str) -> None:
    stream = tar_of(**{"app/x.bson": TWO[0], name: b'{"ServerVersion":"7.0.1"}'})
    assert list(legacy.scan(stream, "app", "reading", str(tmp_path / "out"))) == ["x"]
    assert os.listdir(tmp_path / "out" / "app") == ["x.bson"]


def test_a_tar_is_counted_and_unpacked(tmp_path: Path) -> None:
    stream = tar_of(**{"app/a%24b.bson": b"".join(ONE), "app/a%24b.metadata.json": b'{"indexes": []}'})
    collections = legacy.scan(stream, "app", "reading", str(tmp_path / "out"))
    assert {name: collection.documents for name, collection in collections.items()} == {"a$b": 3}
    assert (tmp_path / "out" / "app" / "a%24b.bson").read_bytes() == b"".join(ONE)
