# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket, on AWS or on any compatible server."""

from __future__ import annotations

import builtins
import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ...errors import EnvSyncError
from ...host.stopping import interruptible
from ...points.name import belongs
from ...streams.reader import BLOCK, HashingReader, Reader
from ...tasks.task import S3Options
from ..base import Store, Stored, StoredObject
from ..inspector import Inspector
from .client import DELETE_BATCH, Bucket, error_code, kept
from .download import ObjectReader
from .inspector import S3Inspector
from .pieces import PIECE
from .upload import Part, Upload, part_size, put_whole

#: how many pieces the store's helpers have in memory, for all of its readers and writers together
_HELPERS = 4

#: what servers say of an object that is locked, where they do not just put a marker before it
_LOCKED = re.compile(r"object ?lock|retention|worm", re.IGNORECASE)

#: what a server answers to a call that it does not have
_NO_SUCH_CALL = ("NotImplemented", "MethodNotAllowed")


@dataclass(frozen=True)
class Limits:
    """What bounds a store's requests.

    ``part`` is the size of a part of an upload, in bytes, as long as all parts will fit; ``attempts`` how often a
    request is tried in all, with growing pauses between.
    """

    part: int = PIECE
    attempts: int = 8


class S3Store(Store):
    """The objects of one bucket below ``path``.

    :param url: ``bucket`` or ``s3://bucket[/prefix]``; an access point's ARN counts as a bucket.
    :param path: a folder below that prefix.
    :param temp_dir: where parts that are too large for memory are kept while they are sent (of objects that may be
        larger than 80 GB).
    :param limits: what bounds its requests.
    :param stop: says whether the run is to stop.
    """

    kind = "s3"
    delete_right = "s3:DeleteObject"

    def __init__(
        self,
        url: str,
        path: str,
        options: S3Options,
        temp_dir: str = "",
        limits: Limits | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        name, prefix = split_url(url)
        self._prefix = "".join(f"{folder}/" for folder in (prefix.strip("/"), path.strip("/")) if folder)
        self._limits = limits or Limits()
        self._bucket = Bucket(name, options, self._limits.attempts, _HELPERS, stop)
        self._options = options
        self._temp_dir = temp_dir
        #: objects whose upload was given up while parts of it were under way
        self._straggling: builtins.list[str] = []

    def url(self, name: str = "") -> str:
        return f"s3://{self._bucket.name}/{self._prefix}{name}".rstrip("/")

    def inspector(self) -> Inspector:
        return S3Inspector(self._bucket, self._prefix, self._arguments)

    def preflight(self, write: bool) -> None:
        with self._bucket.during(f"opening {self.url()}"):
            # Not HEAD, whose answer has no body that says what is wrong.
            self._bucket.client.list_objects_v2(Bucket=self._bucket.name, Prefix=self._prefix, MaxKeys=1)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for found in self._pages("list_objects_v2", "Contents", prefix):
            name = found["Key"][len(self._prefix) :]
            # An empty object with such a name is what a console calls a folder.
            if name and not name.endswith("/"):
                yield StoredObject(name, found["Size"], found["LastModified"].timestamp())

    def stat(self, name: str) -> StoredObject | None:
        with self._bucket.during(f"looking at {self.url(name)}"):
            found = self._bucket.look(self._key(name))
        return StoredObject(name, found["Size"], found["LastModified"].timestamp()) if found else None

    def put(self, name: str, source: Reader, size_hint: int | None = None) -> Stored:
        key, url = self._key(name), self.url(name)
        reader = HashingReader(source)
        part = self._read_part(reader, 0, size_hint)
        if part.last:
            put_whole(self._bucket, key, url, part, self._arguments())
            return Stored(name, reader.size, reader.sha256)
        upload = Upload(self._bucket, key, url, self._arguments())
        try:
            upload.add(part)
            while not part.last:
                part = self._read_part(reader, upload.parts, size_hint)
                if part.size and upload.parts == self._options.max_upload_parts:
                    raise EnvSyncError(
                        f"storing {url}", f"it does not fit into {upload.parts} parts", "Raise max_upload_parts."
                    )
                if part.size:
                    upload.add(part)
            upload.complete(reader.size)
        except BaseException as error:
            if upload.abort(error):
                self._straggling.append(name)
            raise
        return Stored(name, reader.size, reader.sha256)

    def open(self, name: str, size: int | None = None) -> Reader:
        return ObjectReader(self._bucket, self._key(name), self.url(name), size)

    def get_bytes(self, name: str, limit: int = 64 * BLOCK) -> bytes:
        # What is asked for is interrupted by itself; what comes, is not.
        return interruptible(
            lambda: super(S3Store, self).get_bytes(name, limit), self._bucket.stop, f"reading {self.url(name)}"
        )

    def delete(self, names: Iterable[str]) -> None:
        keys = iter([self._key(name) for name in names])
        while batch := list(itertools.islice(keys, DELETE_BATCH)):
            doing = f"removing {len(batch)} objects from {self.url()}"
            still = self._bucket.delete(batch, doing)
            if still:
                raise self._not_deleted(doing, still)

    def _not_deleted(self, doing: str, still: Sequence[Mapping[str, str]]) -> EnvSyncError:
        code = still[0]["Code"]
        hint = "Run again."
        if _LOCKED.search(f"{code} {still[0].get('Message', '')}"):
            hint = "It is locked: run again when its retention has ended (--check-store shows the bucket's)."
        elif code == "AccessDenied":
            hint = f"Allow s3:DeleteObject on the bucket {self._bucket.name}."
        return EnvSyncError(doing, f"{len(still)} are still there; {still[0].get('Key')}: {code}", hint)

    def sweep(self, prefix: str) -> builtins.list[str]:
        removed = []
        for upload in self._unfinished(prefix):
            self._give_up(upload)
            removed.append(f"an unfinished upload of s3://{self._bucket.name}/{upload['Key']}")
        return removed

    def claim(self, name: str) -> None:
        """Begin an upload that is never completed: giving it up takes no right to remove objects."""
        try:
            list(self._pages("list_multipart_uploads", "Uploads", name))
        except EnvSyncError as error:
            if error_code(error) not in (*_NO_SUCH_CALL, "AccessDenied"):
                raise
            super().claim(name)  # where uploads can't be seen, an object is
            return
        with self._bucket.during(f"storing {self.url(name)}"):
            self._bucket.client.create_multipart_upload(
                Bucket=self._bucket.name, Key=self._key(name), **self._arguments()
            )

    def claimed(self, prefix: str) -> set[str]:
        begun: set[str] = set()
        try:
            uploads = self._pages("list_multipart_uploads", "Uploads", prefix)
            begun = {upload["Key"][len(self._prefix) :] for upload in uploads}
        except EnvSyncError as error:
            if error_code(error) not in (*_NO_SUCH_CALL, "AccessDenied"):
                raise
        return begun | super().claimed(prefix)

    def unclaim(self, name: str) -> None:
        begun = False
        with contextlib.suppress(EnvSyncError):
            for upload in self._pages("list_multipart_uploads", "Uploads", name):
                if upload["Key"] == self._key(name):
                    begun = True
                    self._give_up(upload)
        if not begun and self.stat(name) is not None:
            super().unclaim(name)

    def straggling(self, prefix: str) -> bool:
        return any(belongs(name, prefix) for name in self._straggling)

    def _give_up(self, upload: dict[str, Any]) -> None:
        with self._bucket.during(f"removing an unfinished upload of s3://{self._bucket.name}/{upload['Key']}"):
            self._bucket.client.abort_multipart_upload(
                Bucket=self._bucket.name, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    def begun(self) -> Iterator[StoredObject]:
        for upload in self._unfinished(""):
            yield StoredObject(upload["Key"][len(self._prefix) :], 0, upload["Initiated"].timestamp())

    def _unfinished(self, prefix: str) -> builtins.list[dict[str, Any]]:
        try:
            uploads = list(self._pages("list_multipart_uploads", "Uploads", prefix))
        except EnvSyncError as error:
            if error_code(error) in _NO_SUCH_CALL:
                # A server without this call has no unfinished uploads that anybody could remove.
                return []
            raise
        return [upload for upload in uploads if not prefix or belongs(upload["Key"][len(self._prefix) :], prefix)]

    def _pages(self, operation: str, key: str, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield what a listing has under ``key``, page after page."""
        doing = f"listing {self.url()}"
        with self._bucket.during(doing):
            pages = self._bucket.client.pages(operation, Bucket=self._bucket.name, Prefix=self._prefix + prefix)
        while True:
            with self._bucket.during(doing):
                page = next(pages, None)
            if page is None:
                return
            yield from page.get(key, [])

    def _key(self, name: str) -> str:
        if not name or name.startswith("/"):
            raise EnvSyncError(f"opening {name!r} in {self.url()}", "not a valid object name")
        return self._prefix + name

    def _read_part(self, reader: Reader, number: int, size_hint: int | None) -> Part:
        size = part_size(number, size_hint, self._limits.part, self._options.max_upload_parts)
        return Part.read(reader, size, self._limits.part, self._temp_dir)

    def _arguments(self) -> dict[str, Any]:
        """Return how objects are to be kept, as boto3 names it."""
        options = self._options
        if options.encryption_mode or options.encryption_kms_key_id:
            return kept(options, "none")
        with self._bucket.during(f"opening {self.url()}"):
            return kept(options, "AES256" if self._bucket.is_aws else "none")


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix (may be empty) that ``url`` names."""
    bare = url[len("s3://") :] if url.startswith("s3://") else url
    if bare.startswith("arn:"):
        return bare, ""
    bucket, _slash, prefix = bare.partition("/")
    return bucket, prefix.strip("/")
