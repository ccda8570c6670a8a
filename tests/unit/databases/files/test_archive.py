# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of an archive is let through, and when."""

from __future__ import annotations

import io
import tarfile

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.archive import pass_on, shown
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError


def archive(*names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name in names:
            item = tarfile.TarInfo(name)
            item.size = 1000
            made.addfile(item, io.BytesIO(b"x" * 1000))
    return stream.getvalue()


@pytest.mark.parametrize("size", [1, 511, 512, 10240, 1 << 20])
def test_a_good_archive_passes_byte_for_byte_in_whatever_pieces_it_comes(size: int) -> None:
    data = archive("./a", "./" + "long" * 60, "./b")
    stream, passed = io.BytesIO(data), io.BytesIO()
    # A reader may give less than it is asked for.
    reader = type(
        "Reader", (), {"read": lambda self, wanted: stream.read(min(size, wanted)), "close": lambda self: None}
    )
    assert pass_on(reader(), passed.write, "reading").entries == 3
    assert passed.getvalue() == data


def test_nothing_of_a_refused_member_passes() -> None:
    data = archive("./a", "../b", "./c")
    passed = io.BytesIO()
    with pytest.raises(EnvSyncError, match="out of the tree"):
        pass_on(io.BytesIO(data), passed.write, "reading")
    assert passed.getvalue() == archive("./a")[:1536]


@pytest.mark.parametrize("wrong", ["other/x", "/up", "uploads/../x"])
def test_all_members_have_to_be_in_the_root(wrong: str) -> None:
    pass_on(io.BytesIO(archive("uploads/a")), lambda block: None, "reading", ["uploads"])
    with pytest.raises(EnvSyncError, match="out of the tree"):
        pass_on(io.BytesIO(archive("uploads/a", wrong)), lambda block: None, "reading", ["uploads"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive" * 100,
        archive("./a")[:1000],
        archive("./a")[:1536],
        archive("./a") + b"x",
        archive("./a")[:1536] + b"\1" * 512 + archive("../b"),
    ],
)
def test_a_damaged_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(EnvSyncError, match="damaged"):
        pass_on(io.BytesIO(data), lambda block: None, "reading")


def test_an_unknown_type_is_refused() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as made:
        item = tarfile.TarInfo("./a")
        item.type = b"D"
        made.addfile(item)
    with pytest.raises(EnvSyncError, match="unknown type"):
        pass_on(io.BytesIO(stream.getvalue()), lambda block: None, "reading")


def test_a_name_can_be_shown_whatever_it_is() -> None:
    assert shown("a\nb\x1b[1m\udce9é") == "a\\nb\\x1b[1m\\xe9é"
