# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What GNU tar writes is read as GNU tar reads it; what it does not write is refused, before tar sees it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.archive import pass_on
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.files.tar_headers import (
    Damaged,
    Entry,
    Scanner,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

POSIX, GNU = b"ustar\x0000", b"ustar  \0"
END = b"\0" * 1024


def header(name: bytes, kind: bytes = b"0", size: int | bytes = 0, **fields: Any) -> bytes:
    """Return a header as GNU tar writes it, but for what is given."""
    if isinstance(size, int):
        size = b"%011o\0" % size
    made = bytearray(512)

    def put(at: int, value: bytes) -> None:
        made[at : at + len(value)] = value

    put(0, name)
    put(100, fields.get("mode", b"0000644\0"))
    put(108, fields.get("uid", b"0000000\0"))
    put(116, b"0000000\0")
    put(124, size)
    put(136, fields.get("mtime", b"00000000000\0"))
    put(156, kind)
    put(157, fields.get("link", b""))
    put(257, fields.get("magic", POSIX))
    put(345, fields.get("prefix", b""))
    put(148, b" " * 8)
    put(148, fields.get("checksum", b"%06o\0 " % sum(made)))
    return bytes(made)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def pax(*said: tuple[bytes, bytes], kind: bytes = b"x", **fields: Any) -> bytes:
    """Return an extended header with these records."""
    data = b""
    for keyword, value in said:
        rest = b" " + keyword + b"=" + value + b"\n"
        length = len(rest)
        while len(b"%d" % length) + len(rest) != length:
            length = len(b"%d" % length) + len(rest)
        data += b"%d" % length + rest
    return raw_pax(data, kind, **fields)


def raw_pax(data: bytes, kind: bytes = b"x", **fields: Any) -> bytes:
    return header(b"./PaxHeaders/x", kind, len(data), **fields) + padded(data)


def long(kind: bytes, name: bytes, end: bytes = b"\0") -> bytes:
    return header(b"././@LongLink", kind, len(name + end), magic=GNU) + padded(name + end)


def file(name: bytes = b"./a", data: bytes = b"x", **fields: Any) -> bytes:
    return header(name, size=len(data), **fields) + padded(data)


SPARSE = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"0"))
SPARSE_NAME = (b"GNU.sparse.name", b"./a")
OUT = b"../outside"

HOSTILE: dict[str, tuple[bytes, str]] = {
    # names that lead out
    "dots": (file(OUT), "leads out of the tree"),
    "absolute": (file(b"/etc/cron.d/x"), "leads out of the tree"),
    "dots in a prefix": (file(b"x", prefix=b"./a/../.."), "leads out of the tree"),
    "dots in a pax path": (pax((b"path", OUT)) + file(), "leads out of the tree"),
    "dots in a long name": (long(b"L", OUT) + file(magic=GNU), "leads out of the tree"),
    "dots in a sparse name": (pax(*SPARSE, (b"GNU.sparse.name", OUT)) + file(), "leads out of the tree"),
    "an empty name": (file(b""), "has no name"),
    "a double slash": (file(b"./a//b"), "leads through . or an empty name"),
    "a dot inside": (file(b"./a/./b"), "leads through . or an empty name"),
    "a file named as a folder": (file(b"./a/"), "has the name of a folder"),
    "a hard link to outside": (header(b"./a", b"1", link=OUT), "leads out of the tree"),
    "a hard link to outside by pax": (pax((b"linkpath", OUT)) + header(b"./a", b"1", link=b"./b"), "leads out"),
    "a hard link to outside by a long link": (
        long(b"K", OUT) + header(b"./a", b"1", link=b"./b", magic=GNU), "leads out",
    ),
    "a hard link to nothing": (header(b"./a", b"1"), "is a link to nothing"),
    "through a link": (header(b"./l", b"2", link=b"..") + file(b"./l/x"), "leads through a symbolic link"),
    "through a link's second name": (
        header(b"./l", b"2", link=b"..") + header(b"./m", b"1", link=b"./l") + file(b"./m/x"), "symbolic link",
    ),
    "a hard link through a link": (
        header(b"./l", b"2", link=b"/etc") + header(b"./m", b"1", link=b"./l/shadow"), "symbolic link",
    ),
    "the tree as a link": (header(b".", b"2", link=b"/"), "would replace the tree itself"),
    # two readings
    "sparse name, then path": (pax(*SPARSE, SPARSE_NAME, (b"path", b"./b")) + file(), "sparse file"),
    "path, then sparse name": (pax((b"path", b"./b"), *SPARSE, SPARSE_NAME) + file(), "sparse file"),
    "a sparse name alone": (pax(SPARSE_NAME) + file(), "sparse file"),
    "older sparse formats": (pax((b"GNU.sparse.map", b"0,1"), SPARSE_NAME) + file(), "says GNU.sparse.map"),
    "sparse format 2": (pax((b"GNU.sparse.major", b"2"), *SPARSE[1:], SPARSE_NAME) + file(), "sparse.major in a form"),
    "path twice": (pax((b"path", b"./a"), (b"path", b"./b")) + file(), "says path twice"),
    "two extended headers": (pax((b"path", b"./a")) + pax((b"path", b"./b")) + file(), "two headers of one meaning"),
    "two long names": (long(b"L", b"./a") + long(b"L", b"./b") + file(magic=GNU), "two headers of one meaning"),
    "a long name and a path": (long(b"L", b"./a") + pax((b"path", b"./b")) + file(), "two headers of one meaning"),
    "a path and a long name": (pax((b"path", b"./b")) + long(b"L", b"./a") + file(), "two headers of one meaning"),
    "a long name before posix": (long(b"L", b"./a") + file(), "mixes the formats"),
    "a path before gnu": (pax((b"path", b"./a")) + file(magic=GNU), "mixes the formats"),
    "a global header": (pax((b"path", b"./b"), kind=b"g") + file(), "unknown type"),
    "a character set": (pax((b"hdrcharset", b"BINARY")) + file(), "says hdrcharset"),
    "another's keyword": (pax((b"SUN.path", b"./b")) + file(), "says SUN.path"),
    "an empty path": (pax((b"path", b"")) + file(), "says path in a form"),
    "NUL in a path": (pax((b"path", b"./a\0/../b")) + file(), "says path in a form"),
    "NUL in a long name": (long(b"L", b"./a\0b") + file(magic=GNU), "does not end where it should"),
    "a long name without an end": (long(b"L", b"./a", end=b"") + file(magic=GNU), "does not end where it should"),
    "a record too long": (raw_pax(b"99 path=./a\n") + file(), "cannot be read"),
    "a record too short": (raw_pax(b"5 path=./a\n") + file(), "cannot be read"),
    "a record without an end": (raw_pax(b"11 path=./ab") + file(), "cannot be read"),
    "a record with a sign": (raw_pax(b"+12 path=./a\n") + file(), "cannot be read"),
    "gnu with a prefix that is none": (file(OUT, magic=GNU, prefix=b"./a"), "leads out of the tree"),
    "old sparse in posix": (header(b"./a", b"S"), "mixes the formats"),
    "no magic": (file(magic=b"\0" * 8), "GNU tar does not write"),
    "half a magic": (file(magic=b"ustar\0 \0"), "GNU tar does not write"),
    # numbers
    "a negative size": (header(b"./a", size=b"\xff" * 12), "size is not a number"),
    "a size with a sign": (header(b"./a", size=b"-0000000001\0"), "size is not a number"),
    "a blank size": (header(b"./a", size=b"\0" * 12), "size is not a number"),
    "a huge size": (header(b"./a", size=b"\x80" + b"\xff" * 11), "size is not a number"),
    "a size beyond all": (header(b"./a", size=b"\x80\0\0\0" + (2**62).to_bytes(8, "big")), "has 46116860184273879"),
    "a pax size of many digits": (pax((b"size", b"9" * 30)) + file(), "says size in a form"),
    "a negative pax size": (pax((b"size", b"-1")) + file(), "says size in a form"),
    "a time that is none": (pax((b"mtime", b"1e9")) + file(), "says mtime in a form"),
    "a time of many digits": (pax((b"mtime", b"9" * 40)) + file(), "says mtime in a form"),
    "a mode in hexadecimal": (file(mode=b"0x1ff  \0"), "mode is not a number"),
    "a wrong checksum": (file(checksum=b"000000\0 "), "checksum is wrong"),
    "a folder with contents": (header(b"./a", b"5", 512) + b"\0" * 512, "is not a file has contents"),
    "a link with contents": (header(b"./a", b"2", 512, link=b"b") + header(OUT), "is not a file has contents"),
    "a header of any size": (header(b"x", b"x", 2**33), "bytes, and 8388608 at most are taken"),
    "an empty extension": (header(b"x", b"x", 0) + file(), "a header has 0 bytes"),
    # other kinds
    "a volume": (header(b"./a", b"V"), "unknown type"),
    "a part of a volume": (header(b"./a", b"M"), "unknown type"),
    "a dump's folder": (header(b"./a", b"D"), "unknown type"),
    "Solaris's extended header": (header(b"./a", b"X"), "unknown type"),
    "an extension for nobody": (pax((b"path", b"./b")), "belongs to no member"),
    # special files
    "a device": (header(b"./a", b"3"), "is a device node"),
    "a disk": (header(b"./a", b"4"), "is a device node"),
    "set-user-ID": (file(mode=b"0004755\0"), "set-user-ID"),
    "set-group-ID": (file(mode=b"0002755\0"), "set-group-ID"),
    "capabilities": (pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2")) + file(), "security.capability"),
    "a trusted attribute": (pax((b"SCHILY.xattr.trusted.md.sum", b"x")) + file(), "trusted.md.sum"),
    "an attribute of a folder": (pax((b"SCHILY.xattr.security.ima", b"")) + header(b"./a", b"5"), "security.ima"),
    "ESC in a name": (file(b"../\x1b[2J"), r"\.\./\\x1b\[2J"),
}  # fmt: skip

GOOD = file(b"./good", b"good")


@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [1 << 20, 512, 7])
def test_what_gnu_tar_does_not_write_is_refused(data: bytes, why: str, size: int) -> None:
    stream, passed = io.BytesIO(GOOD + data + END), io.BytesIO()
    reader = type("Reader", (), {"read": lambda self, _wanted: stream.read(size), "close": lambda self: None})
    with pytest.raises(EnvSyncError, match=rf"^reading: (its member|the archive is damaged).*{why}") as raised:
        pass_on(reader(), passed.write, "reading")
    assert str(raised.value).isprintable()
    # What came before may have passed, and nothing of what is refused: links alone do no harm.
    rest = passed.getvalue()[len(GOOD) :]
    assert passed.getvalue().startswith(GOOD)
    assert data.startswith(rest) and len(rest) in (0, 512, 1024)
    assert not rest or "link" in why


def test_the_good_one_passes() -> None:
    passed = io.BytesIO()
    assert pass_on(io.BytesIO(GOOD + END), passed.write, "reading").entries == 1
    assert passed.getvalue() == GOOD + END


def scan(data: bytes, size: int = 1000) -> list[Entry]:
    scanner = Scanner()
    found = [entry for start in range(0, len(data), size) for entry in scanner.feed(data[start : start + size])]
    scanner.finish()
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with names of all lengths, links, holes, old and odd times."""
    top = tmp_path / "tree"
    top.mkdir()
    for length in (1, 90, 99, 100, 101, 150, 255):
        folder = top / ("f" * length)
        folder.mkdir()
        for inner in (1, 99, 100, 101, 155, 255):
            (folder / ("n" * inner)).write_bytes(b"x" * inner)
        (folder / "link").symlink_to("t" * length)
        os.link(folder / "n", folder / "second")
    for name in (b"new\nline", b"latin\xe9", b"back\\slash", b"a=b", "snow ☃".encode()):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(b"")
    for number, name in enumerate(("sparse", "s" * 250)):
        with open(top / name, "wb") as stream:
            for place in range(40 * number):
                stream.seek(place * 1_000_000)
                stream.write(b"x" * 5000)
            stream.truncate(50_000_000)
    os.utime(top / "sparse", (-1.5, -1.5))
    os.setxattr(top / "sparse", "user.a=b%c", b"\0\n=")
    return top


@pytest.mark.parametrize("form", ["posix", "gnu"])
@pytest.mark.parametrize("sparse", [[], ["--sparse"]], ids=["plain", "sparse"])
def test_what_gnu_tar_writes_is_read_as_it_reads_it(tree: Path, form: str, sparse: list[str]) -> None:
    argv = ["tar", "--create", "--file=-", f"--format={form}", "--directory", str(tree), *sparse]
    if form == "posix":
        argv += ["--xattrs", "--acls"]
    data = subprocess.run([*argv, "."], stdout=subprocess.PIPE, check=True).stdout
    entries = scan(data)
    listed = subprocess.run(
        ["tar", "--list", "--file=-", "--quoting-style=literal", "--null"],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert b"\n".join(entry.name for entry in entries) + b"\n" == listed
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape", encoding="utf-8") as archive:
        theirs = archive.getmembers()
    assert [os.fsencode(member.name) for member in theirs] == [entry.name.rstrip(b"/") for entry in entries]
    assert [os.fsencode(member.linkname) for member in theirs] == [entry.link for entry in entries]
    for size in (511, 10240, len(data)):
        assert scan(data, size) == entries


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_python_writes_in_these_formats_too(form: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as made:
        for name in ("a", "./b", "d/" + "n" * 95, "p" * 90 + "/" + "n" * 90):
            made.addfile(tarfile.TarInfo(name))
    assert [len(entry.name) for entry in scan(stream.getvalue())] == [1, 3, 97, 181]


@pytest.mark.parametrize("data", [b"", END[:512], GOOD, GOOD + END[:512], GOOD + END + b"x", GOOD[:700]])
def test_an_archive_has_an_end(data: bytes) -> None:
    with pytest.raises(Damaged):
        scan(data)


def test_many_small_members_cost_little(tmp_path: Path) -> None:
    """A tree of a hundred thousand files is looked at in seconds."""
    data = b"".join(pax((b"mtime", b"%d.5" % number)) + file(b"./%d" % number) for number in range(5000)) + END
    began = time.process_time()
    assert len(scan(data, 1 << 20)) == 5000
    assert time.process_time() - began < 2.0
