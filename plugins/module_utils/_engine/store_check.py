# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store check: what an operator wants to know of a store before anything depends on it, tried once.

It writes an object of its own, reads it back, looks whether it is listed at once, and removes it. It looks at no point
and touches none. What must not stay is never written: an account that may not remove objects, or is there to pull,
writes in a bucket by an upload that is given up.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .catalogue import TOLERANCE
from .errors import Cancelled, EnvSyncError
from .host.progress import Host
from .host.stopping import pause
from .points.name import how_long
from .run import Run, result, running
from .stores import Store, open_store
from .stores.base import SelfStoring
from .stores.inspector import FAILED, NOTE, OK, SEVERITIES, UNKNOWN, WARNING, Finding
from .tasks.task import Task

#: what the objects that a check writes begin with: none of them is named like one of a point's
PREFIX = "env_sync-check-"

#: how much is written to see how fast that goes, in bytes
_TRIAL = 8 * 1024 * 1024

#: how old what a check has written must be before another one takes it for one that was killed, in seconds
_STALE = 24 * 3600

#: how long an object may take to be listed, in seconds
_PATIENCE = 10.0

#: how far the store's clock may be off without a word, in seconds
_CLOCK = 60

_ASK_BACK = "Say what the account is for: action push or pull."


def check(task: Task, account: str, host: Host, dry_run: bool = False) -> dict[str, Any]:
    """Try a store, and say what was found.

    :param account: what the store's account is for: ``push``, ``pull``, or empty where nobody says; then it is to be
        able to do everything, and nothing that it can do is too much.
    :param dry_run: write nothing.
    :returns: ``changed`` (something of the check stays), ``skipped``, ``store``, ``account``, ``checks`` (of each what
        :class:`Finding` has), ``severity`` (the gravest), ``left`` (what stays), ``warnings``, ``durations``.
    """
    # A check is about a store, and not about a database: it has no status of its own.
    with running(replace(task, name=f"check {task.url}"), host, dry_run=True) as run:
        store = open_store(task, host.cancelled)
        probe = _Probe(store, account, dry_run, run)
        with run.phase("checking the store"):
            found = list(probe.findings())
        worst = max((finding.severity for finding in found), key=SEVERITIES.index)
        return result(
            run,
            changed=bool(probe.left),
            skipped="",
            store=store.url(),
            account=account,
            checks=[finding.to_dict() for finding in found],
            severity=worst,
            left=probe.left,
        )


class _Probe:
    """One check of one store; ``left`` is what could not be removed."""

    def __init__(self, store: Store, account: str, dry_run: bool, run: Run) -> None:
        self._store = store
        self._inspector = store.inspector()
        self._account = account
        self._dry_run = dry_run
        self._run = run
        self._name = f"{PREFIX}{secrets.token_hex(8)}"
        #: a removal was carried out, which may leave something where there are versions
        self._removed = False
        self.left: list[str] = []

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, the gravest not first: in the order in which a run would come upon it."""
        began = time.monotonic()
        try:
            self._store.preflight(write=False)
            for _listed in self._store.list(self._name):
                pass
        except Cancelled:
            raise
        except EnvSyncError as error:
            yield _refused("open", error)
            return
        yield Finding("open", OK, f"opened and listed in {how_long(time.monotonic() - began)}")
        try:
            yield from self._inspector.settings(self._account, self._dry_run)
            told = self._inspector.server_time()
            if told is not None:
                yield _clock(told - time.time())
            if isinstance(self._store, SelfStoring):
                return  # it takes no objects: its settings say all there is
            if self._dry_run:
                yield Finding("write", UNKNOWN, "not tried in check mode, nor are reading, listing and removing")
                yield from self._inspector.exposure("")
            else:
                yield from self._objects(told is None)
        except Cancelled:
            raise
        except EnvSyncError as error:
            yield _refused("connection", error)

    def _objects(self, by_objects: bool) -> Iterator[Finding]:
        """Write, list, read and remove an object, as far as the account may.

        :param by_objects: the clock of the store shows by an object alone.
        """
        may_remove, removing = self._removing()
        yield removing
        if may_remove:
            self._store.delete(self._stale())
        yield from self._reading()
        data = os.urandom(_TRIAL)
        try:
            trial = self._inspector.trial(f"{self._name}-trial", data)
        except Cancelled:
            raise
        except EnvSyncError as error:
            yield self._no_writing(error)
            yield from self._tidy([])
            return
        if trial is not None:
            yield self._writing()
            yield from trial
            data = data[:1024]
        if trial is not None and (not may_remove or self._account == "pull"):
            why = "this account is there to pull" if may_remove else "this account may not remove what it writes"
            yield Finding("read back", UNKNOWN, f"not tried, as {why}", "Check with an account that may do both, too.")
            yield from self._inspector.exposure("")
            yield from self._tidy([])
            return
        yield from self._whole_object(data, trial is None, by_objects)

    def _whole_object(self, data: bytes, first: bool, by_objects: bool) -> Iterator[Finding]:
        """Write an object, look at it from all sides, and remove it.

        :param first: this is the first that is written.
        """
        name = self._name
        written = False
        try:
            before = time.time()
            began = time.monotonic()
            try:
                self._store.put_bytes(name, data)
            except Cancelled:
                raise
            except EnvSyncError as error:
                yield self._no_writing(error)
                return
            took, after, written = time.monotonic() - began, time.time(), True
            if first:
                yield self._writing()
                yield Finding("throughput", OK, f"{len(data) >> 20} MiB were written at {_rate(len(data), took)}")
            yield self._listed(name, len(data))
            found = self._store.stat(name)
            if by_objects and found is not None:
                # Times of files and objects are of whole seconds in places.
                yield _clock(min(0.0, found.modified + 1 - before) or max(0.0, found.modified - after))
            yield self._read_back(name, data)
            yield from self._inspector.exposure(name)
        finally:
            gone = list(self._tidy([name] if written else []))
        yield from gone

    # -- the single steps --------------------------------------------------------------------------------------------

    def _removing(self) -> tuple[bool, Finding]:
        """Return whether the account may remove objects: it is asked to remove one that is not there."""
        try:
            self._store.delete([self._name])
        except Cancelled:
            raise
        except EnvSyncError as error:
            if self._account == "push":
                why = "refused: who breaks into this host cannot remove points; what a failed push leaves stays, too"
                return False, Finding("remove", OK, why, "Have another account sweep and prune.")
            return False, Finding("remove", OK if self._account == "pull" else NOTE, f"refused: {error.why}")
        self._removed = True
        if self._account == "pull" and self._store.kind == "s3":
            why = "allowed, and a pull never removes anything"
            return True, Finding("remove", WARNING, why, "Take that right away (docs/stores/policies/pull.json).")
        if self._account == "push" and self._store.kind == "s3":
            why = "allowed: who breaks into this host can remove all points"
            return True, Finding(
                "remove", NOTE, why, "Take that right away (docs/stores/policies/push.json), or lock objects."
            )
        return True, Finding("remove", OK, "allowed")

    def _stale(self) -> list[str]:
        """Return what checks that were killed have left."""
        before = time.time() - _STALE
        return [entry.name for entry in self._store.list(PREFIX) if entry.modified < before]

    def _reading(self) -> Iterator[Finding]:
        readable = self._inspector.may_read(self._name)
        if readable is None:
            return
        if readable and self._account == "push":
            why = "allowed, and a push needs no right to read"
            yield Finding("read", NOTE, why, "Take that right away (docs/stores/policies/push.json).")
        elif readable:
            yield Finding("read", OK, "allowed")
        elif self._account == "push":
            yield Finding("read", OK, "refused: who breaks into this host cannot read points")
        else:
            severity = FAILED if self._account == "pull" else NOTE
            yield Finding("read", severity, "refused", "Allow s3:GetObject (docs/stores/policies/pull.json).")

    def _writing(self) -> Finding:
        if self._account != "pull":
            return Finding("write", OK, "allowed")
        why = "allowed, and a pull writes nothing: who breaks into this host can replace points"
        if self._store.kind == "s3":
            return Finding("write", WARNING, why, "Take that right away (docs/stores/policies/pull.json).")
        return Finding("write", WARNING, why, "Let another user own it, or mount it read-only.")

    def _no_writing(self, error: EnvSyncError) -> Finding:
        if self._account == "pull":
            return Finding("write", OK, "refused, and a pull needs none")
        if self._account == "push":
            return _refused("write", error)
        return Finding("write", NOTE, f"refused, as is right for a pull: {error.why}", _ASK_BACK)

    def _listed(self, name: str, size: int) -> Finding:
        began = time.monotonic()
        while True:
            found = self._store.stat(name)
            listed = [entry.name for entry in self._store.list(name)]
            waited = time.monotonic() - began
            if found is not None and found.size == size and name in listed:
                break
            if waited > _PATIENCE:
                why = f"what was written is not listed after {how_long(waited)}"
                return Finding("list", FAILED, why, "Take a store that lists at once: a push could not be found.")
            pause(0.2, self._run.stop, "checking the store")
        if waited > 2.0:
            why = f"what was written was listed only after {how_long(waited)}"
            return Finding("list", WARNING, why, "Let a pull start some time after the push.")
        return Finding("list", OK, "what was written is listed at once")

    def _read_back(self, name: str, data: bytes) -> Finding:
        try:
            began = time.monotonic()
            found = self._store.get_bytes(name)
            took = time.monotonic() - began
        except Cancelled:
            raise
        except EnvSyncError as error:
            if self._account == "push":
                return Finding("read back", OK, "refused, and a push needs none")
            return _refused("read back", error)
        if found != data:
            why = f"{len(found)} bytes came back, and they are not what was written"
            return Finding("read back", FAILED, why, "Keep no points there before it is known why.")
        return Finding("read back", OK, f"the same bytes, {_rate(len(data), took)}")

    def _tidy(self, names: list[str]) -> Iterator[Finding]:
        """Remove what was written, with its older versions; yield what became of it."""
        if not names and not self._removed:
            return
        why = ""
        with self._run.stop.cleaning("what the check has written"):
            try:
                self._store.delete(names)
                still = [entry.name for entry in self._store.list(self._name)]
            except EnvSyncError as error:
                still, why = names, f" ({error.why})"
            self.left = still or self._inspector.staying(self._name)
        if self.left:
            advice = "Remove it." if still else "A lifecycle rule (NoncurrentVersionExpiration) removes it in the end."
            yield Finding("leaves nothing", WARNING if still else NOTE, f"{', '.join(self.left)} stays{why}", advice)
        elif names:
            yield Finding("leaves nothing", OK, "what was written is gone at once")


def _refused(what: str, error: EnvSyncError) -> Finding:
    return Finding(what, FAILED, error.why, error.hint)


def _clock(difference: float) -> Finding:
    """Return what to say of the store's clock.

    :param difference: how far it is ahead of this host's, in seconds; negative where it is behind.
    """
    away = abs(difference)
    if away <= 2:
        return Finding("clock", OK, "as this host's, to 2 s")
    how = f"{how_long(away)} {'ahead of' if difference > 0 else 'behind'} this host's"
    if away <= _CLOCK:
        return Finding("clock", OK, how)
    advice = "Set both clocks by NTP."
    if away <= TOLERANCE:
        return Finding("clock", WARNING, how, advice)
    return Finding("clock", FAILED, f"{how}: points would seem to be from the future, or too old", advice)


def _rate(count: int, seconds: float) -> str:
    if count < 1024 * 1024:
        return f"in {how_long(seconds)}"
    return f"{count / max(seconds, 0.001) / 1048576:.1f} MiB/s"
