# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects on their way out of a bucket: in order, pieces of them fetched ahead, and again where a connection broke."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import mmap
import re
from typing import Any

from ...errors import EnvSyncError
from ...host.stopping import attempts
from ...streams.reader import BLOCK
from .client import FAILURES, Bucket
from .pieces import PIECE, memory

#: how many pieces one reader has ahead at most
_AHEAD = 4

#: how long to wait before a download is taken up again within one piece, in seconds
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)\Z")


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
        self._attempts = attempts(_PAUSES, bucket.stop, self._doing)
        self._last = next(self._attempts)
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
        if self._last:
            why = f"the connection was cut {len(_PAUSES) + 1} times, at last at byte {self._position} of {self.total}"
            raise self._bucket.error(self._doing, error, why) from error
        self._last = next(self._attempts)


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
        piece = memory(stop - start)
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
