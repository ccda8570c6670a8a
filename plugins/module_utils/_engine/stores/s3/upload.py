# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects on their way into a bucket: by a single request, or in parts that grow (``pieces`` says why)."""

from __future__ import annotations

import base64
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
from ...streams.reader import BLOCK, Reader
from .client import Bucket, error_code, surely_not_done
from .pieces import memory

#: the largest part that S3 takes, in bytes
_LARGEST_PART = 5 * 1024 * BLOCK

#: how long a failed upload waits for its parts under way, in seconds
_ABORT_WAIT = 3.0

_AGAIN = "Check the network, then run again."

_MD5 = re.compile(r'"?([0-9a-f]{32})"?\Z')

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
        body = memory(size) if size <= in_memory else _temporary_file(temp_dir)
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
