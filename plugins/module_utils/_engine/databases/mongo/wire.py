# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB's messages, as far as a shell and a server exchange them (MongoDB manual, "Wire Protocol").

Documents stay in BSON but for a command's own keys, so that what passes through is the same, type by type.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

try:
    import bson
    from bson.raw_bson import RawBSONDocument

    HAS_BSON = True
except ImportError:
    HAS_BSON = False  # it comes with pymongo, whose lack client.py reports

_HEADER = struct.Struct("<iiii")
_REPLY = struct.Struct("<iqii")
_OP_REPLY = 1
_OP_QUERY = 2004
_OP_MSG = 2013

_CHECKSUM_PRESENT = 1
_MORE_TO_COME = 2

#: a message has 48 MB at most, in bytes
_LARGEST = 48_000_000 + 64 * 1024


class Malformed(Exception):
    """What came is not a message of this protocol."""


@dataclass(frozen=True)
class Request:
    """A command: its first key is its name; ``values`` are BSON documents, lists of these, or plain values."""

    number: int
    database: str
    command: Mapping[str, Any]
    answered: bool
    opcode: int


def receive(connection: socket.socket) -> Request | None:
    """Return the next command; None at the end.

    :raises Malformed: it is not one.
    """
    head = _exactly(connection, _HEADER.size)
    if head is None:
        return None
    size, number, _to, opcode = _HEADER.unpack(head)
    if not _HEADER.size < size <= _LARGEST:
        raise Malformed(f"a message of {size} bytes")
    data = _exactly(connection, size - _HEADER.size)
    if data is None:
        return None
    try:
        if opcode == _OP_MSG:
            return _message(number, data)
        if opcode == _OP_QUERY:
            return _query(number, data)
    except (bson.errors.InvalidBSON, struct.error, ValueError, KeyError, IndexError) as error:
        raise Malformed(str(error)) from error
    raise Malformed(f"opcode {opcode}")


def _message(number: int, data: bytes) -> Request:
    (flags,) = struct.unpack_from("<I", data)
    end = len(data) - (4 if flags & _CHECKSUM_PRESENT else 0)
    position = 4
    body: dict[str, Any] = {}
    sequences: dict[str, list[Any]] = {}
    while position < end:
        kind = data[position]
        (size,) = struct.unpack_from("<i", data, position + 1)
        section = data[position + 1 : position + 1 + size]
        if size < 5 or len(section) != size:
            raise ValueError("a section that is cut off")
        if kind == 0:
            body = dict(RawBSONDocument(section).items())
        elif kind == 1:
            name, _nul, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = _documents(documents)
        else:
            raise ValueError(f"a section of kind {kind}")
        position += 1 + size
    database = str(body.pop("$db"))
    return Request(number, database, {**body, **sequences}, not flags & _MORE_TO_COME, _OP_MSG)


def _query(number: int, data: bytes) -> Request:
    """Read the message in which drivers say hello, whatever the server's age."""
    name, _nul, rest = data[4:].partition(b"\0")
    command = dict(RawBSONDocument(rest[8:]).items())
    return Request(number, name.decode().partition(".")[0], command, True, _OP_QUERY)


def _documents(data: bytes) -> list[Any]:
    found, position = [], 0
    while position < len(data):
        (size,) = struct.unpack_from("<i", data, position)
        if size < 5:
            raise ValueError("a document that is cut off")
        found.append(RawBSONDocument(data[position : position + size]))
        position += size
    return found


def answer(connection: socket.socket, request: Request, document: Any) -> None:
    """Send the answer to a command: a mapping, or a document in BSON."""
    data = document.raw if isinstance(document, RawBSONDocument) else bson.encode(document)
    if request.opcode == _OP_MSG:
        body, opcode = b"\0\0\0\0\0" + data, _OP_MSG
    else:
        body, opcode = _REPLY.pack(8, 0, 0, 1) + data, _OP_REPLY
    connection.sendall(_HEADER.pack(_HEADER.size + len(body), 0, request.number, opcode) + body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    """Return so many bytes; None where the connection ends."""
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
