# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rule of leases, on a document in memory; the real servers are in tests/integration/pairs."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.lease import (
    DocumentStorage,
    Lease,
    LockLost,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.linux import Process, this_process
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.stopping import Stop


class Memory:
    """A document that is changed only where it is what it was read as, and a clock that the test moves on."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.changes = 0
        self.time = 1000.0

    def read(self) -> tuple[Mapping[str, Any], Any]:
        return dict(self.fields), self.changes if self.fields else None

    def write(self, fields: Mapping[str, Any], state: Any) -> bool:
        if state != (self.changes if self.fields else None):
            return False
        self.fields.update(fields)
        self.changes += 1
        return True

    def remove(self, state: Any) -> None:
        self.fields = {}

    def now(self) -> float:
        return self.time


def lease(memory: Memory) -> tuple[DocumentStorage, Lease]:
    storage = DocumentStorage(memory, life=60)
    return storage, Lease(storage, "locking app", Stop)


def ended_process() -> Process:
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    return dataclasses.replace(this_process(), pid=ended.pid)


def test_one_holds_it_and_gives_it_up() -> None:
    memory = Memory()
    with lease(memory)[1].held(), pytest.raises(EnvSyncError, match=r"is pulling into it \(process \d+\)"):
        lease(memory)[1].take()
    assert memory.fields == {}


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ({"process": ended_process().to_dict()}, True),
        ({"process": this_process().to_dict()}, False),
        # A clone of this host: its name and its numbers, another boot. A container: another set of numbers.
        ({"process": {**ended_process().to_dict(), "mark": "another-boot 1"}}, False),
        ({"process": {**ended_process().to_dict(), "namespace": "pid:[1]"}}, False),
        # What version 0.3 wrote, of this very host; and what is no process at all.
        ({}, False),
        ({"process": {"pid": "x"}}, False),
        ({"until": 999.0}, True),
    ],
)
def test_anothers_is_free_when_its_end_has_come_or_its_process_is_gone(holder: dict[str, Any], free: bool) -> None:
    memory = Memory()
    memory.fields = {"token": "theirs", "host": "db-1", "until": 1050.0, **holder}
    storage, _lease = lease(memory)
    said = storage.acquire()
    storage.release()
    assert (said == "") is free


def test_a_holder_that_was_silent_too_long_learns_it_before_it_does_anything() -> None:
    memory = Memory()
    _storage, first = lease(memory)
    first.take()
    first.prove()
    memory.time += 61
    storage, second = lease(memory)
    second.take()
    with pytest.raises(LockLost, match=r"the lock was lost: .* has taken it"):
        first.prove()
    # Not even when the other's end has come: it may be suspended as this one was.
    memory.time += 61
    for _again in range(2):
        with pytest.raises(LockLost, match="has it now"):
            first.regain()
    second.prove()
    storage.release()
    first.regain()  # nobody has it: what is left may be cleaned up
    first.prove()


def test_one_that_was_silent_and_not_missed_goes_on() -> None:
    memory = Memory()
    _storage, only = lease(memory)
    only.take()
    memory.time += 600
    only.prove()
