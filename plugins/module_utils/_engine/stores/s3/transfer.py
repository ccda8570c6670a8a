# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects on their way into a bucket and out of it, in pieces.

This is driven here and not by s3transfer, boto3's transfer manager: that one chooses its parts by the size, and for a
stream, whose size is not known, takes 8 MiB, so that an upload ends at 80 GB, after hours. Here parts grow. What is
in memory is bounded for all transfers of a store together: a helper works on a piece where one is free, otherwise
the transfer's own thread does; so nobody ever waits for a piece that another transfer holds.
"""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import hashlib
import io
import mmap
import re
import tempfile
import zlib
from typing import IO, Any, Union

from ...errors import EnvSyncError
from ...host.ownership import temporary_folder, workplace
from ...host.stopping import pause
from ...streams.reader import BLOCK, Reader
from .client import FAILURES, Bucket, error_code, surely_not_done

#: what is sent, or read ahead, in one piece, in bytes; a smaller object is stored by a single request
PIECE = 8 * BLOCK

#: the largest part that S3 takes, in bytes
_LARGEST_PART = 5 * 1024 * BLOCK

#: how many pieces one reader has ahead at most
_AHEAD = 4

#: how often a download is taken up again within one piece
_RESUMES = 5

#: how long a failed upload waits for its parts under way, in seconds
_ABORT_WAIT = 3.0

_AGAIN = "Check the network, then run again."

_MD5 = re.compile(r'"?([0-9a-f]{32})"?\Z')
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")

_Body = Union[mmap.mmap, IO[bytes]]


def part_size(number: int, size_hint: int | None, smallest: int, most: int) -> int:
    """Return the size of an upload's part, in bytes.

    All parts are of one size, which some servers insist on, until half of them are used: three times what the hint
    needs, as a hint is no promise. After that they grow, up to S3's limit in the last one.

    :param number: which part, from 0.
    :param size_hint: about how many bytes will come, if known.
    :param smallest: the smallest part to use, in bytes.
    :param most: how many parts there may be.
    """
    steady = min(max(smallest, -(-3 * (size_hint or 0) // most)), _LARGEST_PART)
    half = most // 2
    if number < half:
        return steady
    growth = (_LARGEST_PART / steady) ** (min(number - half + 1, most - half) / (most - half))
    return min(int(steady * growth), _LARGEST_PART)


class Part:
    """Bytes to be sent in one request: in memory, or in a file without a name.

    ``size`` is in bytes; ``last`` says that the source came to its end with it, without raising.
    """

    def __init__(self, body: _Body, size: int, last: bool) -> None:
        self.body = body
        self.size = size
        self.last = last

    @classmethod
    def read(cls, source: Reader, size: int, in_memory: int, temp_dir: str) -> Part:
        """Return the next part of ``source``: ``size`` bytes, or what is left.

        :param in_memory: the largest part to keep in memory; others go to a file in ``temp_dir``.
        """
        body = _memory(size) if size <= in_memory else _temporary_file(temp_dir)
        left = size
        try:
            while left:
                block = source.read(min(BLOCK, left))
                if not block:
                    break
                _write(body, block, temp_dir)
                left -= len(block)
            if left and isinstance(body, mmap.mmap):
                body = _shortened(body, size - left)
            body.seek(0)
        except BaseException:
            body.close()
            raise
        return cls(body, size - left, left > 0)

    def checks(self, crc: bool) -> dict[str, str]:
        """Return what lets the server refuse a body that was damaged on its way, as boto3 names it."""
        md5 = hashlib.md5(usedforsecurity=False)
        crc32 = 0
        for block in iter(lambda: self.body.read(BLOCK // 4), b""):
            md5.update(block)
            crc32 = zlib.crc32(block, crc32) if crc else 0
        self.body.seek(0)
        found = {"ContentMD5": base64.b64encode(md5.digest()).decode()}
        if crc:
            found["ChecksumCRC32"] = base64.b64encode(crc32.to_bytes(4, "big")).decode()
        return found

    def close(self) -> None:
        """Let go of the bytes."""
        self.body.close()


def _memory(size: int) -> mmap.mmap:
    """Return memory that is the process's only as far as it is written to, and is given back when it is closed.

    The allocator keeps what large arrays leave behind, and copies them when they grow.
    """
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _shortened(memory: mmap.mmap, size: int) -> _Body:
    if size:
        memory.resize(size)
        return memory
    memory.close()
    return io.BytesIO()


def _temporary_file(temp_dir: str) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=workplace(temp_dir or temporary_folder()))
    except OSError as error:
        raise _no_room(temp_dir, error) from error


def _write(body: _Body, block: bytes, temp_dir: str) -> None:
    try:
        body.write(block)
    except OSError as error:
        raise _no_room(temp_dir, error) from error


def _no_room(temp_dir: str, error: OSError) -> EnvSyncError:
    return EnvSyncError(
        f"keeping a part of an upload{' in ' if temp_dir else ' in a temporary file'}{temp_dir}",
        str(error.strerror),
        "Set temppath to a folder with more room.",
    )


def put_whole(bucket: Bucket, key: str, url: str, part: Part, arguments: dict[str, Any]) -> None:
    """Store an object by a single request."""
    doing = f"storing {url}"
    try:
        with bucket.during(doing):
            checks = part.checks(bucket.is_aws)
            answer = bucket.client.put_object(Bucket=bucket.name, Key=key, Body=part.body, **checks, **arguments)
        _compare_etag(doing, answer, checks)
    except BaseException as error:
        if not surely_not_done(error):
            _remove(bucket, key, doing)
        raise
    finally:
        part.close()


def _remove(bucket: Bucket, key: str, doing: str) -> None:
    """Take away what may have been stored; never raises, as it runs when something failed."""
    with contextlib.suppress(EnvSyncError), bucket.stop.cleaning(), bucket.during(doing):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)


def _compare_etag(doing: str, answer: dict[str, Any], checks: dict[str, str]) -> None:
    """Raise unless the server says that it has the very bytes; its ETag is their MD5, but not with a key of KMS."""
    etag = _MD5.match(answer.get("ETag", ""))
    if etag is None or answer.get("ServerSideEncryption", "").startswith("aws:kms"):
        return
    sent = base64.b64decode(checks["ContentMD5"]).hex()
    if etag.group(1) != sent:
        raise EnvSyncError(doing, f"the server has other bytes (MD5 {etag.group(1)}) than were sent ({sent})", _AGAIN)


class Upload:
    """One multipart upload: nothing is under the name before :meth:`complete`."""

    def __init__(self, bucket: Bucket, key: str, url: str, arguments: dict[str, Any]) -> None:
        self._bucket = bucket
        self._key = key
        self._doing = f"storing {url}"
        self._running: list[concurrent.futures.Future[dict[str, Any]]] = []
        self._sent: list[dict[str, Any]] = []
        self._completing = False
        self.parts = 0
        with bucket.during(self._doing):
            algorithm = {"ChecksumAlgorithm": "CRC32"} if bucket.is_aws else {}
            answer = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key, **algorithm, **arguments)
        self._id = answer["UploadId"]

    def add(self, part: Part) -> None:
        """Send a part: by a helper, where one is free. Raises also what went wrong with those before."""
        self._collect([future for future in self._running if future.done()])
        self.parts += 1
        if self._bucket.slots.acquire(blocking=False):
            self._running.append(self._bucket.helpers.submit(self._send_and_release, self.parts, part))
        else:
            self._sent.append(self._send(self.parts, part))

    def complete(self, size: int) -> None:
        """Make the object appear, and look whether it has ``size`` bytes."""
        self._collect(self._running)
        self._completing = True
        parts = sorted(self._sent, key=lambda part: int(part["PartNumber"]))
        try:
            with self._bucket.during(self._doing):
                self._bucket.client.complete_multipart_upload(
                    Bucket=self._bucket.name, Key=self._key, UploadId=self._id, MultipartUpload={"Parts": parts}
                )
        except EnvSyncError as error:
            # The answer to an earlier try may have been lost: then the upload is gone because it is complete.
            if error_code(error) != "NoSuchUpload" or not self._stored().get("ETag", "").endswith(f'-{len(parts)}"'):
                raise
        # A server may list it only some time later.
        stored = self._stored().get("Size", size)
        if stored != size:
            raise EnvSyncError(self._doing, f"it has {stored} bytes, {size} were sent", _AGAIN)

    def abort(self, error: BaseException) -> bool:
        """Take away whatever was stored, as ``error`` ended the upload; never raises.

        :returns: whether parts are still under way, which may arrive after that.
        """
        running = concurrent.futures.wait(self._running, _ABORT_WAIT).not_done
        self._abort()
        for future in running:
            # A part that arrives after the end of its upload can be kept, and billed.
            future.add_done_callback(lambda _future: self._abort())
        if self._completing and not surely_not_done(error):
            _remove(self._bucket, self._key, self._doing)
        return bool(running)

    def _abort(self) -> None:
        with contextlib.suppress(EnvSyncError), self._bucket.stop.cleaning(), self._bucket.during(self._doing):
            self._bucket.client.abort_multipart_upload(Bucket=self._bucket.name, Key=self._key, UploadId=self._id)

    def _collect(self, futures: list[concurrent.futures.Future[dict[str, Any]]]) -> None:
        self._sent += [future.result() for future in futures]
        self._running = [future for future in self._running if future not in futures]

    def _send_and_release(self, number: int, part: Part) -> dict[str, Any]:
        try:
            return self._send(number, part)
        finally:
            self._bucket.slots.release()

    def _send(self, number: int, part: Part) -> dict[str, Any]:
        doing = f"{self._doing} (part {number})"
        try:
            with self._bucket.during(doing):
                checks = part.checks(self._bucket.is_aws)
                answer = self._bucket.client.upload_part(
                    Bucket=self._bucket.name,
                    Key=self._key,
                    UploadId=self._id,
                    PartNumber=number,
                    Body=part.body,
                    **checks,
                )
            _compare_etag(doing, answer, checks)
        finally:
            part.close()
        sums = {name: value for name, value in answer.items() if name == "ChecksumCRC32"}
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    def _stored(self) -> dict[str, Any]:
        """Return what a listing says of the object, nothing where it is not there."""
        with self._bucket.during(self._doing):
            return self._bucket.look(self._key) or {}


class _Span:
    """The bytes of an object from ``start`` up to ``stop``; a connection cut is taken up again where it broke.

    :param stop: where it ends; None means the end of the object.
    :param etag: of the object that the other bytes come from; empty for the first span.
    """

    def __init__(self, bucket: Bucket, key: str, url: str, start: int, stop: int | None, etag: str = "") -> None:
        self._bucket = bucket
        self._key = key
        self._doing = f"reading {url}"
        self._position = start
        self._body: Any = None
        self._resumes = 0
        self.etag = etag
        self.total = 0
        self.stop = self._connect(stop)

    def read(self, size: int) -> bytes:
        """Return the next bytes, ``b""`` at the span's end."""
        while self._position < self.stop:
            try:
                if self._body is None:
                    self._connect(self.stop)
                block: bytes = self._body.read(min(size, self.stop - self._position))
                if not block:
                    raise ConnectionError("it ended early")
            except FAILURES as error:
                self._pause(error)
                continue
            self._position += len(block)
            if self._position == self.stop:
                self.close()
            return block
        return b""

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _connect(self, stop: int | None) -> int:
        """Ask for what is left; return where it ends."""
        wanted: dict[str, str] = {}
        if self._position or stop is not None:
            wanted["Range"] = f"bytes={self._position}-" + (str(stop - 1) if stop is not None else "")
        if self.etag:
            wanted["IfMatch"] = self.etag
        with self._bucket.during(self._doing):
            answer = self._bucket.client.get_object(Bucket=self._bucket.name, Key=self._key, **wanted)
        self._body = answer["Body"]
        self.etag = answer["ETag"]
        found = _RANGE.match(answer.get("ContentRange", ""))
        start, self.total = (int(found.group(1)), int(found.group(2))) if found else (0, answer["ContentLength"])
        if start != self._position:
            self.close()
            raise EnvSyncError(self._doing, "the server does not send parts of objects", "Use a server that does.")
        return self.total if stop is None else min(stop, self.total)

    def _pause(self, error: BaseException) -> None:
        with contextlib.suppress(*FAILURES):
            self.close()
        self._body = None
        self._resumes += 1
        if self._resumes > _RESUMES:
            why = f"the connection was cut {self._resumes} times, at last at byte {self._position} of {self.total}"
            raise self._bucket.error(self._doing, error, why) from error
        pause(0.1 * 2 ** (self._resumes - 1), self._bucket.stop, self._doing)


class ObjectReader:
    """A :class:`~.streams.reader.Reader` over an object, with pieces fetched ahead where helpers are free.

    :param size: the object's size in bytes, where the caller knows it.
    """

    def __init__(self, bucket: Bucket, key: str, url: str, size: int | None) -> None:
        self._bucket = bucket
        self._key = key
        self._url = url
        self._closed = False
        self._ahead: collections.deque[concurrent.futures.Future[mmap.mmap]] = collections.deque()
        self._piece: mmap.mmap | None = None
        # With the size unknown the whole is asked for, and no more of it read than the first piece.
        self._span = _Span(bucket, key, url, 0, PIECE if size and size > PIECE else None)
        self._span.stop = min(self._span.stop, PIECE)
        self._next = self._span.stop

    def read(self, size: int) -> bytes:
        while True:
            self._look_ahead()
            block = self._span.read(size) if self._piece is None else self._piece.read(size)
            if block or not self._move_on():
                return block

    def close(self) -> None:
        self._closed = True
        self._span.close()
        self._drop_piece()
        while self._ahead:
            future = self._ahead.popleft()
            future.cancel()
            future.add_done_callback(lambda _future: self._bucket.slots.release())

    def _move_on(self) -> bool:
        """Go to the next piece: one fetched ahead, or a span that this thread reads itself. False: that was the end."""
        self._drop_piece()
        if self._ahead:
            try:
                self._piece = self._ahead.popleft().result()
            except BaseException:
                self._bucket.slots.release()
                raise
        elif self._next < self._span.total:
            self._span = self._span_at(*self._take_next())
        else:
            return False
        return True

    def _drop_piece(self) -> None:
        if self._piece is not None:
            self._piece.close()
            self._piece = None
            self._bucket.slots.release()

    def _look_ahead(self) -> None:
        while (
            len(self._ahead) < _AHEAD
            and self._next < self._span.total
            and not self._closed
            and self._bucket.slots.acquire(blocking=False)
        ):
            self._ahead.append(self._bucket.helpers.submit(self._fetch, *self._take_next()))

    def _take_next(self) -> tuple[int, int]:
        start, self._next = self._next, min(self._next + PIECE, self._span.total)
        return start, self._next

    def _span_at(self, start: int, stop: int) -> _Span:
        return _Span(self._bucket, self._key, self._url, start, stop, self._span.etag)

    def _fetch(self, start: int, stop: int) -> mmap.mmap:
        """Return a piece of the object (runs in a helper)."""
        piece = _memory(stop - start)
        try:
            with contextlib.closing(self._span_at(start, stop)) as span:
                while not self._closed:
                    block = span.read(BLOCK)
                    if not block:
                        break
                    piece.write(block)
            piece.seek(0)
        except BaseException:
            piece.close()
            raise
        return piece
