# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import (
    CUSTOM,
    DIRECTORY,
    Entry,
    Toc,
    python_codec,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.unit.databases.postgresql.archives import encoding, entry, toc


def read(data: bytes) -> Toc:
    return Toc.read(io.BytesIO(data))


def variety(form: int) -> list[Entry]:
    """Return entries that have every kind of value that a table of contents can hold."""
    extra = b"\x01" + bytes(8) if form == CUSTOM else b""
    data = b"\x02" + b"\x00\x10" + bytes(6) if form == CUSTOM else b"3041.dat"
    return [
        replace(encoding("UTF8"), extra=extra),
        entry("TABLE", "naïve ☃", extra=extra, dependencies=("5", "16"), relkind=ord("r"), table_am="heap"),
        entry("TABLE DATA", "t", had_data=1, extra=data, copy_stmt="COPY public.t (a) FROM stdin;\n", drop_stmt=None),
        entry("FUNCTION", "f(integer)", extra=extra, defn="x" * 300, namespace=None, owner=None, tablespace=None),
        entry(
            "BLOBS", "BLOBS", had_data=1, extra=b"\x02" + bytes(8) if form == CUSTOM else b"blobs.toc", with_oids=None
        ),
    ]


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
@pytest.mark.parametrize("minor", range(12, 17))
@pytest.mark.parametrize(("int_size", "off_size"), [(4, 8), (8, 4), (8, 8)])
def test_what_is_written_is_what_is_read(form: int, minor: int, int_size: int, off_size: int) -> None:
    entries = [
        replace(
            one,
            table_am=one.table_am if minor >= 14 else None,
            relkind=one.relkind if minor >= 16 else 0,
            extra=one.extra[: 1 + off_size] if form == CUSTOM else one.extra,
        )
        for one in variety(form)
    ]
    compression = 0 if minor >= 15 else -1
    made = toc(
        *entries, version=(1, minor, 0), format=form, int_size=int_size, off_size=off_size, compression=compression
    )
    assert read(made.to_bytes()) == made
    assert read(made.to_bytes()).to_bytes() == made.to_bytes()


def test_not_a_byte_more_is_read() -> None:
    """What follows in a custom archive is the data, which goes to pg_restore as it is."""
    source = io.BytesIO(toc(*variety(CUSTOM), format=CUSTOM).to_bytes() + b"data")
    Toc.read(source)
    assert source.read() == b"data"


def test_a_source_that_gives_little_at_a_time_is_read_all_the_same() -> None:
    data = toc(*variety(DIRECTORY)).to_bytes()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    assert Toc.read(Slow(data)).to_bytes() == data


@pytest.mark.parametrize("name", ["LATIN1", "WIN1252", "EUC_JP", "SJIS", "KOI8R"])
def test_texts_are_read_in_the_archives_own_encoding(name: str) -> None:
    tag = {"LATIN1": "café", "WIN1252": "5 €", "EUC_JP": "表", "SJIS": "表", "KOI8R": "таблица"}[name]
    made = toc(encoding(name), entry("TABLE", tag), codec=python_codec(name))
    found = read(made.to_bytes())
    assert found.entries[1].tag == tag
    assert found.to_bytes() == made.to_bytes()


@pytest.mark.parametrize("name", ["SQL_ASCII", "UTF8", "LATIN1", "MULE_INTERNAL", "NONSENSE"])
def test_bytes_that_are_no_text_come_back_as_they_were(name: str) -> None:
    data = toc(encoding(name), entry("TABLE", "XX")).to_bytes().replace(b"XX", b"\xff\x81")
    assert read(data).to_bytes() == data


def test_data_members_are_the_files_that_hold_data() -> None:
    found = toc(*variety(DIRECTORY), entry("TABLE", "no data", extra=b"9.dat")).data_members()
    assert {name: one.tag for name, one in found.items()} == {"3041.dat": "t", "blobs.toc": "BLOBS"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it ends early"),
        (b"PGDM", "it ends early"),
        (b"-- SQL dump", "no pg_dump archive"),
        (b"PGDMP\x01\x0b\x00\x04\x08\x01", r"version 1\.11"),
        (b"PGDMP\x01\x11\x00\x04\x08\x01", r"version 1\.17"),
        (b"PGDMP\x01\x0e\x00\x03\x08\x01", "impossible sizes"),
        (b"PGDMP\x01\x0e\x00\x04\x08\x09", "format 9"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, why: str) -> None:
    with pytest.raises(EnvSyncError, match=why):
        read(data)


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
def test_no_part_passes_for_the_whole(form: int) -> None:
    data = toc(*variety(form), format=form).to_bytes()
    for length in range(len(data)):
        with pytest.raises(EnvSyncError):
            read(data[:length])


def bears_changes(data: bytes, positions: Sequence[int], seed: str) -> None:
    """Each of 500 changes, of one byte at one of the positions, is told or comes back as it is read."""
    dice = random.Random(seed)
    for _unused in range(500):
        changed = bytearray(data)
        changed[dice.choice(positions)] ^= dice.randrange(1, 256)
        try:
            found = read(bytes(changed))
        except EnvSyncError:
            continue
        assert read(found.to_bytes()) == found


SET_ENCODING = b"SET client_encoding = 'UTF8';"


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
@pytest.mark.parametrize("minor", [12, 16])
def test_a_wrong_byte_is_no_accident(form: int, minor: int) -> None:
    data = toc(*variety(form), format=form, version=(1, minor, 0)).to_bytes()
    start = data.index(SET_ENCODING)
    statement = range(start, start + len(SET_ENCODING))
    bears_changes(data, [place for place in range(len(data)) if place not in statement], f"{form} {minor}")


def test_a_wrong_byte_where_the_encoding_is_named_is_no_accident() -> None:
    data = toc(encoding("UTF8"), entry("TABLE", "é")).to_bytes()
    start = data.index(SET_ENCODING)
    bears_changes(data, range(start, start + len(SET_ENCODING)), "encoding")


@pytest.mark.parametrize("lie", [250 * 2**20, 2**31 - 1, 2**32 - 1], ids=hex)
@pytest.mark.parametrize("of", ["a string", "the number of entries"])
def test_a_length_that_lies_costs_no_memory(of: str, lie: int) -> None:
    whole = toc(*variety(DIRECTORY)).to_bytes()
    head = toc().to_bytes()
    position = whole.index(b"app") - 4 if of == "a string" else len(head) - 4
    data = whole[:position] + lie.to_bytes(4, "little") + whole[position + 4 :]
    tracemalloc.start()
    try:
        with pytest.raises(EnvSyncError, match="it is damaged"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name",
    [
        *["", "..", "\x7fTF8", "\nTF8", "'TF8", "undefined", "idna"],
        "\0TF8",
        "hex",
        "rot13",
        "zlib",
    ],
)
def test_an_encoding_that_is_none_changes_nothing(name: str) -> None:
    data = toc(encoding(name), entry("TABLE", "é")).to_bytes()
    assert read(data).to_bytes() == data
