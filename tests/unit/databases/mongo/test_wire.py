# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MongoDB's messages, as drivers write them."""

from __future__ import annotations

import socket
import struct

import bson
import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.wire import (
    Malformed,
    answer,
    receive,
)


def message(opcode: int, body: bytes, number: int = 7) -> bytes:
    return struct.pack("<iiii", 16 + len(body), number, 0, opcode) + body


def sent(data: bytes) -> socket.socket:
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    return ours


HEAD = {"insert": "users", "ordered": True, "$db": "shop"}
DOCUMENTS = b"".join(bson.encode({"_id": n}) for n in range(2))
SEQUENCE = b"\1" + struct.pack("<i", 4 + len(b"documents\0") + len(DOCUMENTS)) + b"documents\0" + DOCUMENTS


@pytest.mark.parametrize(("flags", "answered"), [(0, True), (2, False), (1, True)])
def test_a_command_with_a_sequence_of_documents(flags: int, answered: bool) -> None:
    checksum = b"sum." if flags & 1 else b""
    body = struct.pack("<I", flags) + b"\0" + bson.encode(HEAD) + SEQUENCE + checksum
    with sent(message(2013, body)) as connection:
        request = receive(connection)
        assert request is not None and receive(connection) is None
    assert (request.number, request.database, request.answered) == (7, "shop", answered)
    assert list(request.command) == ["insert", "ordered", "documents"]
    assert [document["_id"] for document in request.command["documents"]] == [0, 1]


def test_the_hello_of_every_driver_is_understood_and_answered_alike() -> None:
    body = struct.pack("<i", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode({"ismaster": 1})
    with sent(message(2004, body)) as connection:
        request = receive(connection)
    assert request is not None and request.command == {"ismaster": 1} and request.database == "admin"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        answer(ours, request, {"ok": 1.0})
        data = theirs.recv(1000)
    assert struct.unpack("<iiii", data[:16]) == (len(data), 0, 7, 1)
    assert bson.decode(data[36:]) == {"ok": 1.0}


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<iiii", 15, 1, 0, 2013),
        struct.pack("<iiii", 2**31 - 1, 1, 0, 2013),
        message(2012, b"\0" * 20),
        message(2013, b""),
        message(2013, struct.pack("<I", 0) + b"\0" + struct.pack("<i", 900)),
        message(2013, struct.pack("<I", 0) + b"\7" + bson.encode(HEAD)),
        message(2013, struct.pack("<I", 0) + b"\0" + bson.encode({"no": "$db"})),
        message(2004, b""),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with sent(data) as connection, pytest.raises(Malformed):
        receive(connection)


def test_a_message_that_is_cut_off_is_an_end() -> None:
    with sent(message(2013, b"\0" * 100)[:50]) as connection:
        assert receive(connection) is None
