# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bucket sync: make one bucket, or a prefix of it, have what another has. The data never comes to this host."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .errors import Cancelled, EnvSyncError
from .host import locks
from .host.progress import Host
from .host.stopping import Stop
from .run import Run, result, running
from .stores.s3.client import DELETE_BATCH, Bucket, kept
from .stores.s3.compare import DIFFERENT, DOUBTFUL, Listed, by_listing, by_looking, is_gone, may_not_look
from .stores.s3.store import split_url
from .stores.s3.tally import Tally, surplus_file
from .streams.pipeline import Group
from .tasks import policy
from .tasks.task import S3Options, Task

MIB = 1024 * 1024

#: how many objects are copied at once where the task does not say: the servers do the work
_AT_ONCE = 16

#: how many parts of one large object are copied at once
_PARTS_AT_ONCE = 8

#: how many copies may fail before the rest is not tried
_MOST_FAILURES = 20

_ATTEMPTS = 8

#: how many objects a plan looks at in one go
_LOOKED_AT = 512

#: how long the answer to a copy may take, in seconds: a server of the compatible ones may answer when it is done
_COPY_PATIENCE = 900

#: classes whose objects cannot be read before they have been restored
_ARCHIVED = frozenset(("GLACIER", "DEEP_ARCHIVE"))

#: what a copy in parts has to be told, as it copies the bytes alone
_PROPERTIES = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")


@dataclass(frozen=True)
class Limits:
    """From what size on an object is copied in parts, and how large the parts are at least, in bytes.

    ``patience`` is how long the answer to a copy may take, in seconds.
    S3 copies 5 GiB in one request at most; a copy takes its time in proportion to the size, and parts go side by side.
    """

    threshold: int = 5 * 1024 * MIB
    part: int = 512 * MIB
    patience: float = _COPY_PATIENCE


class _Place:
    """A bucket, or what is below a prefix of it."""

    def __init__(self, url: str, options: S3Options, stop: Stop) -> None:
        name, prefix = split_url(url)
        self.prefix = f"{prefix}/" if prefix else ""
        self.bucket = Bucket(name, options, _ATTEMPTS, 1, stop)
        self.url = f"s3://{name}/{self.prefix}".rstrip("/")

    def overlaps(self, other: _Place) -> bool:
        """Say whether an object could be in both."""
        longer, shorter = sorted((self.prefix, other.prefix), key=len, reverse=True)
        return self.bucket.name == other.bucket.name and longer.startswith(shorter)

    def objects(self) -> Iterator[Listed]:
        """Yield all objects, in the order of their names' bytes, as S3 lists them; raises where a server does not."""
        doing = f"listing {self.url}"
        with self.bucket.during(doing):
            pages = self.bucket.client.pages("list_objects_v2", Bucket=self.bucket.name, Prefix=self.prefix)
        last = b""
        while True:
            with self.bucket.during(doing):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", []):
                name = found["Key"][len(self.prefix) :]
                if name.encode() < last:
                    raise EnvSyncError(doing, f"the listing is not in order at {name}", "Use a server that sorts it.")
                last = name.encode()
                yield Listed(
                    name,
                    found["Size"],
                    found["ETag"],
                    found["LastModified"].timestamp(),
                    found.get("StorageClass") in _ARCHIVED,
                )


def plan(task: Task, host: Host) -> dict[str, Any]:
    """Say what a sync would do; change nothing."""
    rules = policy.read_policy()
    task = rules.apply(task)
    source, destination = _places(task, host.stop)
    tally = Tally()
    _look_ahead(source, destination, tally, host)
    doomed = _doomed(source, destination, tally, task.delete)
    steps = []
    if tally.copied:
        steps.append(f"copy {tally.copied} objects ({tally.copied_bytes} bytes) from {source.url} to {destination.url}")
    if doomed:
        steps.append(f"remove {doomed} objects from {destination.url}, which {source.url} does not have")
    return {
        "changed": bool(steps),
        "skipped": "" if steps else _nothing(source, destination, tally),
        "source": source.url,
        "destination": destination.url,
        "steps": steps,
        "warnings": list(_warnings(source, destination, tally, task.delete)),
        "policy": rules.lines(),
        "copy": tally.names,
        "delete": tally.extra_names if doomed else [],
        **_numbers(tally, doomed),
    }


def sync(task: Task, host: Host, limits: Limits | None = None) -> dict[str, Any]:
    """Copy what is new or changed; then, where the task says ``delete``, remove what the source does not have.

    An object is unchanged where its size is the same, and its ETag too or the copy is younger; where both ETags are of
    one kind and differ, both objects are looked at, whether these tell of other bytes. Nothing is removed
    where anything could not be read or copied, nor where the source is empty.

    :returns: ``changed``, ``skipped``, ``source``, ``destination``, ``copied``, ``copied_bytes``, ``unchanged``,
        ``deleted``, ``extra`` (objects that only the destination has), ``archived`` and ``vanished`` (objects that were
        not copied), ``rate`` (bytes a second), ``durations`` (seconds), ``warnings``.
    """
    with running(task, host) as run:
        task = policy.read_policy().apply(task)
        source, destination = _places(task, host.stop)
        key = f"s3_sync {destination.url}"
        with (
            locks.hold(key, f"the sync to {destination.url} on this host", task.lock_wait, host.cancelled),
            surplus_file(task.temppath) if task.delete else contextlib.nullcontext() as surplus,
        ):
            tally = Tally(surplus)
            copier = _Copier(source, destination, task.s3, limits or Limits(), run, tally)
            with run.phase("copying"):
                copier.copy_all(task.jobs or _AT_ONCE)
            doomed = _doomed(source, destination, tally, task.delete)
            if doomed:
                with run.phase("removing", members_total=doomed):
                    _delete(destination, tally.surplus(), run)
        for warning in _warnings(source, destination, tally, task.delete):
            run.warn(warning)
        changed = bool(tally.copied or doomed)
        skipped = "" if changed else _nothing(source, destination, tally)
        run.progress.finish("done", skipped or f"{destination.url} has what {source.url} has")
        return result(
            run,
            changed=changed,
            skipped=skipped,
            source=source.url,
            destination=destination.url,
            rate=round(tally.copied_bytes / run.seconds),
            **_numbers(tally, doomed),
        )


def _places(task: Task, stop: Stop) -> tuple[_Place, _Place]:
    source, destination = (_Place(url, task.s3, stop) for url in (task.source_bucket, task.destination_bucket))
    if source.overlaps(destination):
        raise EnvSyncError(
            f"syncing {source.url} to {destination.url}",
            "one is in the other",
            "Correct source_bucket and destination_bucket.",
        )
    return source, destination


def _to_copy(source: _Place, destination: _Place, tally: Tally) -> Iterator[tuple[Listed, bool]]:
    """Yield what is to be copied, and what may have to be, with whether it is certain; the tally gets everything else.

    Both listings are read side by side, once.
    """
    there = destination.objects()
    other = next(there, None)
    for item in source.objects():
        tally.seen += 1
        while other is not None and other.name.encode() < item.name.encode():
            tally.only_there(other.name)
            other = next(there, None)
        found = DIFFERENT
        if other is not None and other.name == item.name:
            found, other = by_listing(item, other), next(there, None)
        if found not in (DIFFERENT, DOUBTFUL):
            tally.keep()
        elif item.archived:
            tally.archived += 1
        elif found == DOUBTFUL:
            yield item, False
        else:
            tally.copy(item)
            yield item, True
    while other is not None:
        tally.only_there(other.name)
        other = next(there, None)


def _differs(source: _Place, destination: _Place, item: Listed, tally: Tally) -> bool:
    """Look at an object and at its copy; the tally gets what comes of it."""
    keys = (source.bucket, source.prefix + item.name, destination.bucket, destination.prefix + item.name)
    try:
        differs = by_looking(*keys, item.etag)
    except EnvSyncError as error:
        if not may_not_look(error):
            tally.copy(item)  # and not done
            raise
        tally.keep(unseen=True)
        return False
    if differs:
        tally.copy(item)
    else:
        tally.keep()
    return differs


def _look_ahead(source: _Place, destination: _Place, tally: Tally, host: Host) -> None:
    """Have the tally say what a sync would do."""

    def look(item: Listed) -> None:
        if host.cancelled():
            raise Cancelled(f"comparing {source.url} with {destination.url}", "it was told to stop")
        try:
            _differs(source, destination, item, tally)
        except EnvSyncError as error:
            if not is_gone(error):
                raise

    doubtful = (item for item, certain in _to_copy(source, destination, tally) if not certain)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
        while True:
            some = list(itertools.islice(doubtful, _LOOKED_AT))
            if host.cancelled():
                raise Cancelled(f"comparing {source.url} with {destination.url}", "it was told to stop")
            if not some:
                return
            list(threads.map(look, some))


def _doomed(source: _Place, destination: _Place, tally: Tally, delete: bool) -> int:
    """Return how many objects are to be removed; refuse to empty the destination."""
    if not delete:
        return 0
    if tally.extra and not tally.seen:
        raise EnvSyncError(
            f"removing {tally.extra} objects from {destination.url}",
            f"{source.url} is empty, and so would this be",
            "Check source_bucket; remove the objects yourself if you mean it.",
        )
    return tally.extra


def _nothing(source: _Place, destination: _Place, tally: Tally) -> str:
    if not tally.seen:
        return f"{source.url} is empty"
    return f"{destination.url} has all {tally.unchanged} objects of {source.url}"


def _warnings(source: _Place, destination: _Place, tally: Tally, delete: bool) -> Iterator[str]:
    if tally.archived:
        yield f"{tally.archived} objects of {source.url} are archived and were left out: restore them to copy them"
    if tally.vanished:
        yield f"{tally.vanished} objects of {source.url} were removed there before they were copied"
    if tally.unseen:
        yield (
            f"{tally.unseen} objects of {destination.url} have the size of those of {source.url} and other ETags, are "
            "younger, and could not be looked at: they are taken for the same. Allow s3:GetObject on both buckets"
        )
    if tally.extra and not tally.seen and not delete:
        yield f"{source.url} is empty, and {destination.url} is not"


def _numbers(tally: Tally, deleted: int) -> dict[str, int]:
    return {
        "copied": tally.copied,
        "copied_bytes": tally.copied_bytes,
        "unchanged": tally.unchanged,
        "deleted": deleted,
        "extra": tally.extra - deleted,
        "archived": tally.archived,
        "vanished": tally.vanished,
    }


def _delete(place: _Place, names: Iterator[str], run: Run) -> None:
    while True:
        if run.host.cancelled():
            raise Cancelled(f"removing objects from {place.url}", "it was told to stop")
        batch = [place.prefix + name for name in itertools.islice(names, DELETE_BATCH)]
        if not batch:
            return
        doing = f"removing {len(batch)} objects from {place.url}"
        still = place.bucket.delete(batch, doing)
        if still:
            why = f"{len(still)} are still there; {still[0].get('Key')}: {still[0]['Code']}"
            raise EnvSyncError(
                doing, why, f"Allow s3:DeleteObject on the bucket {place.bucket.name}, or leave out delete."
            )
        run.progress.add(0, len(batch))


class _Copier:
    """Copies objects, several at once."""

    def __init__(
        self, source: _Place, destination: _Place, options: S3Options, limits: Limits, run: Run, tally: Tally
    ) -> None:
        self._source = source
        self._destination = destination
        self._client = Bucket(destination.bucket.name, options, _ATTEMPTS, 1, run.stop, limits.patience)
        self._keeping = kept(options, "none")
        self._most_parts = options.max_upload_parts
        self._limits = limits
        self._run = run
        self._tally = tally
        self._not_copied: list[Listed] = []
        self._failures: list[EnvSyncError] = []

    def copy_all(self, at_once: int) -> None:
        """Copy all that there is to copy; raise the first failure when the others have been tried too."""
        objects = _to_copy(self._source, self._destination, self._tally)
        with Group(self._run.host.cancelled) as group:

            def work(objects: Iterator[tuple[Listed, bool]]) -> None:
                for item, certain in objects:
                    self._try(group, item, certain)

            group.each(work, itertools.takewhile(self._goes_on, objects), at_once)
        self._tally.copied -= len(self._not_copied)
        self._tally.copied_bytes -= sum(item.size for item in self._not_copied)
        self._tally.vanished = len(self._not_copied) - len(self._failures)
        if self._failures:
            first = self._failures[0]
            many = (
                f" ({len(self._failures)} objects could not be copied, this is the first)" if self._failures[1:] else ""
            )
            raise EnvSyncError(first.doing, first.why + many, first.hint)

    def _goes_on(self, _item: object) -> bool:
        return len(self._failures) < _MOST_FAILURES

    def _try(self, group: Group, item: Listed, certain: bool) -> None:
        try:
            if not certain and not _differs(self._source, self._destination, item, self._tally):
                return
            if item.size < self._limits.threshold:
                self._copy(item)
            else:
                self._copy_in_parts(group, item)
        except Cancelled:
            raise
        except EnvSyncError as error:
            self._not_copied.append(item)
            if not is_gone(error):
                self._failures.append(error)
        else:
            self._run.progress.add(item.size, 1)

    def _copy(self, item: Listed) -> None:
        with self._client.during(self._doing(item)):
            self._client.client.copy_object(**self._target(item), CopySource=self._origin(item), **self._keeping)

    def _copy_in_parts(self, group: Group, item: Listed) -> None:
        """Copy an object that is too large for one request; every part comes from the very object that was listed."""
        doing = self._doing(item)
        with self._client.during(doing):
            client = self._client.client
            found = client.head_object(Bucket=self._source.bucket.name, Key=self._source.prefix + item.name)
            properties = {name: found[name] for name in _PROPERTIES if found.get(name)}
            upload = client.create_multipart_upload(**self._target(item), **properties, **self._keeping)
        target = {**self._target(item), "UploadId": upload["UploadId"]}
        try:
            parts = self._copy_parts(group, item, target, found["ETag"], found["ContentLength"])
            with self._client.during(doing):
                client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(EnvSyncError), self._client.stop.cleaning(), self._client.during(doing):
                client.abort_multipart_upload(**target)
            raise

    def _copy_parts(
        self, group: Group, item: Listed, target: dict[str, str], etag: str, size: int
    ) -> list[dict[str, Any]]:
        step = max(self._limits.part, -(-size // self._most_parts))
        starts = range(0, size, step)

        def copy(number: int) -> dict[str, Any]:
            group.check()
            start = starts[number]
            stop = min(start + step, size)
            with self._client.during(f"{self._doing(item)} (part {number + 1})"):
                answer = self._client.client.upload_part_copy(
                    **target,
                    PartNumber=number + 1,
                    CopySource=self._origin(item),
                    CopySourceIfMatch=etag,
                    CopySourceRange=f"bytes={start}-{stop - 1}",
                )
            sums = {name: value for name, value in answer["CopyPartResult"].items() if name.startswith("Checksum")}
            return {"PartNumber": number + 1, "ETag": answer["CopyPartResult"]["ETag"], **sums}

        with concurrent.futures.ThreadPoolExecutor(_PARTS_AT_ONCE) as threads:
            return list(threads.map(copy, range(len(starts))))

    def _doing(self, item: Listed) -> str:
        return f"copying s3://{self._source.bucket.name}/{self._source.prefix}{item.name} to {self._destination.url}"

    def _origin(self, item: Listed) -> dict[str, str]:
        return {"Bucket": self._source.bucket.name, "Key": self._source.prefix + item.name}

    def _target(self, item: Listed) -> dict[str, str]:
        return {"Bucket": self._destination.bucket.name, "Key": self._destination.prefix + item.name}
