# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mongodump`` writes: read whole, or refused."""

from __future__ import annotations

import io
from typing import Any

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.archive import (
    Archive,
    Collection,
    Crc64,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.servers.mongo_stand_in import block, crc64, end, prelude

ONE = [bson.encode({"_id": n, "text": "x" * n}) for n in range(3)]
TWO = [bson.encode({"_id": "only"})]


def described(name: str, kind: str = "collection", **options: Any) -> dict[str, Any]:
    indexes = [] if kind == "view" else [{"v": 2, "key": {"_id": 1}, "name": "_id_"}]
    return {"options": options, "indexes": indexes, "collectionName": name, "type": kind}


HEAD = prelude("app", [described("one"), described("two"), described("v", "view", viewOn="one", pipeline=[])])
BLOCKS = (
    block("app", "one", ONE[:2])
    + block("app", "two", TWO)
    + end("app", "two", crc64(TWO[0]))
    + block("app", "one", ONE[2:])
    + end("app", "one", crc64(b"".join(ONE)))
)


def read(data: bytes, block_size: int = 1 << 20) -> Archive:
    archive = Archive(io.BytesIO(data), "app", "reading")
    while archive.read(block_size):
        pass
    return archive


@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
def test_a_whole_archive_is_read_however_it_comes(block_size: int) -> None:
    collections = read(HEAD + BLOCKS, block_size).collections
    assert {name: c.documents for name, c in collections.items()} == {"one": 3, "two": 1, "v": 0}
    assert collections["v"].kind == "view"
    assert collections["v"].options == {"viewOn": "one", "pipeline": []}
    assert collections["one"].indexes[0]["name"] == "_id_"


def test_every_truncated_archive_is_refused() -> None:
    whole = HEAD + BLOCKS
    for size in range(len(whole)):
        with pytest.raises(EnvSyncError, match="damaged"):
            read(whole[:size])


def test_every_flipped_byte_in_the_blocks_is_noticed() -> None:
    """But for those that nothing reads: a block's CRC counts in its last header only."""
    unread = [len(HEAD) + BLOCKS.index(b"CRC\0", start) + 4 for start in starts_of_open_headers()]
    free = {offset + n for offset in unread for n in range(8)}
    for offset in range(len(HEAD), len(HEAD + BLOCKS)):
        if offset not in free:
            data = bytearray(HEAD + BLOCKS)
            data[offset] ^= 1
            with pytest.raises(EnvSyncError, match="damaged"):
                read(bytes(data))


def starts_of_open_headers() -> list[int]:
    heads = [bson.encode({"db": "app", "collection": name, "EOF": False, "CRC": bson.Int64(0)}) for name in _ORDER]
    starts, position = [], 0
    for head in heads:
        position = BLOCKS.index(head, position)
        starts.append(position)
        position += 1
    return starts


_ORDER = ("one", "two", "one")


def test_the_archive_of_another_database_is_refused() -> None:
    with pytest.raises(EnvSyncError, match="holds database other"):
        read(prelude("other", [described("one")]) + end("other", "one", 0))


def test_a_time_series_ends_with_its_buckets() -> None:
    head = prelude("app", [described("series", "timeseries")])
    data = block("app", "system.buckets.series", TWO) + end("app", "system.buckets.series", crc64(TWO[0]))
    assert read(head + data).collections["series"].documents == 1
    with pytest.raises(EnvSyncError, match="ends before collection series"):
        read(head)


def test_crc_is_the_one_of_the_standard() -> None:
    for crc, agrees in ((0x995DC9BBDF1939FA, True), (0x995DC9BBDF1939FB, False)):
        check = Crc64()
        check.update(memoryview(b"1234"))
        check.update(memoryview(b"56789"))
        assert check.agrees(crc) is agrees


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 200001])
def test_crc_of_any_length(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    check = Crc64()
    check.update(memoryview(data))
    assert check.agrees(crc64(data))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '"x"',
        "{",
        '{"options": ["x"]}',
        '{"options": "x"}',
        '{"options": 3}',
        '{"indexes": {"name": "x"}}',
        '{"indexes": ["x"]}',
        '{"indexes": [{"key": {"a": 1}}]}',
        '{"indexes": [{"name": 3}]}',
        '{"options": {"validator": {"$oid": "x"}}}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_metadata_of_another_form_is_not_metadata(text: str) -> None:
    with pytest.raises(ValueError):
        Collection.from_metadata("people", text)
