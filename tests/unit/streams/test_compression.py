# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the zstandard library writes, read by zstd's program, and the other way round."""

from __future__ import annotations

import contextlib
import random
import subprocess

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams import compression
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.compression import (
    Compressing,
    Decompressing,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.streams.reader import BLOCK, BytesReader, Reader

DATA = random.Random(1).randbytes(BLOCK) + b"text " * 2 * BLOCK + b"end"


def read_all(reader: Reader, size: int = BLOCK) -> bytes:
    with contextlib.closing(reader):
        return b"".join(iter(lambda: reader.read(size), b""))


def zstd(*arguments: str, data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *arguments], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
@pytest.mark.parametrize("threads", [1, 2, 64])
def test_the_program_unpacks_what_the_library_packs(data: bytes, threads: int) -> None:
    assert zstd("-d", data=read_all(Compressing(BytesReader(data), 0, threads), 1000)) == data


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
@pytest.mark.parametrize("size", [1000, BLOCK, 2 * BLOCK])
def test_the_library_unpacks_what_the_program_packs(data: bytes, size: int) -> None:
    assert read_all(Decompressing(BytesReader(zstd("-3", data=data)), len(data), "x"), size) == data


def test_a_member_that_was_packed_in_pieces_is_unpacked_to_its_end() -> None:
    packed = zstd("-1", data=DATA) + zstd("-1", data=b"more")
    assert read_all(Decompressing(BytesReader(packed), len(DATA) + 4, "x")) == DATA + b"more"


def test_a_higher_level_packs_smaller_and_0_is_1() -> None:
    text = random.Random(2).choices([b"production ", b"staging ", b"integration ", b"development "], k=100_000)
    sizes = [len(read_all(Compressing(BytesReader(b"".join(text)), level, 0))) for level in (0, 1, 19)]
    assert sizes[0] == sizes[1] > sizes[2]


def test_the_program_tells_who_unpacks_by_hand_of_damage() -> None:
    packed = bytearray(read_all(Compressing(BytesReader(DATA), 0, 0)))
    packed[BLOCK // 2] ^= 1  # in the part that could not be compressed: only the checksum knows
    done = subprocess.run(["zstd", "-t", "-q"], input=bytes(packed), capture_output=True, check=False)
    assert done.returncode != 0
    assert b"hecksum" in done.stderr


@pytest.mark.parametrize(
    ("packed", "raw_size", "why"),
    [
        (zstd("-1", data=DATA)[: BLOCK // 2], len(DATA), "it is not as long as the manifest says"),
        (b"", 1, "it is not as long as the manifest says"),
        (zstd("-1", data=DATA), len(DATA) + 1, "it is not as long as the manifest says"),
        (zstd("-1", data=DATA), len(DATA) - 1, "it is not as long as the manifest says"),
        (b"no such thing", 13, "Unknown frame descriptor"),
    ],
    ids=["half", "nothing", "too short", "too long", "something else"],
)
def test_what_is_no_whole_member_is_an_error_and_no_end(packed: bytes, raw_size: int, why: str) -> None:
    reader = Decompressing(BytesReader(packed), raw_size, "decompressing x")
    with pytest.raises(EnvSyncError, match=f"decompressing x: .*({why}).*Choose another point"):
        read_all(reader)


def test_without_the_library_and_for_gzip_programs_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compression.in_process("zstd")
    assert not compression.in_process("gzip")
    monkeypatch.setattr(compression, "HAS_ZSTANDARD", False)
    assert not compression.in_process("zstd")


@pytest.mark.parametrize(("level", "flag"), [(0, "-1"), (7, "-7"), (19, "-19")])
def test_the_program_gets_the_level_and_the_threads(level: int, flag: str) -> None:
    assert compression.compressor("zstd", level, 3) == ("zstd", "-q", "-c", flag, "-T3")
    assert compression.compressor("zstd", level, 64)[-1] == "-T8"


def test_gzip_has_no_level_above_9() -> None:
    assert compression.compressor("gzip", 19, 3)[-1] == "-9"
