# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether two objects of one name and size, in two buckets, have the same bytes.

An ETag is the MD5 of an object's bytes, but for one that came in parts (then it ends in the number of these, and
depends on where one part ends) and for one under a key of KMS or of a customer's. A listing shows ETags and times, and
not which of these an object is: where it leaves a doubt, both objects are looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...errors import EnvSyncError
from .client import Bucket, error_code

_PLAIN = re.compile(r'"?[0-9a-f]{32}"?\Z')
_IN_PARTS = re.compile(r'"?[0-9a-f]{32}-(\d+)"?\Z')

_CHECKSUMS = ("ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC64NVME", "ChecksumCRC32C", "ChecksumCRC32")

SAME = "same"
DIFFERENT = "different"
DOUBTFUL = "doubtful"


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it; ``name`` is relative to the prefix, ``modified`` is seconds since the epoch."""

    name: str
    size: int
    etag: str
    modified: float
    archived: bool


def by_listing(item: Listed, copy: Listed) -> str:
    """Say what two listings tell of an object and of what is called like it at the destination.

    :returns: :data:`SAME`, :data:`DIFFERENT`, or :data:`DOUBTFUL` where the objects themselves have to be looked at.
    """
    if item.size != copy.size:
        return DIFFERENT
    if item.etag == copy.etag:
        return SAME
    if copy.modified <= item.modified:
        return DIFFERENT
    return DOUBTFUL if _alike(item.etag, copy.etag) else SAME


def _alike(one: str, other: str) -> bool:
    """Say whether two ETags are of one kind: both of whole objects, or both of as many parts."""
    if _PLAIN.match(one) and _PLAIN.match(other):
        return True
    parts, others = _IN_PARTS.match(one), _IN_PARTS.match(other)
    return parts is not None and others is not None and parts[1] == others[1]


def by_looking(source: Bucket, key: str, destination: Bucket, other_key: str, etag: str) -> bool:
    """Say whether two objects whose ETags differ have other bytes; no, where that does not show.

    :param etag: the source's, which tells of what kind both are.
    :raises EnvSyncError: one of them may not be looked at, or the source's is gone.
    """
    in_parts = _IN_PARTS.match(etag) is not None
    try:
        copy = _look(destination, other_key, in_parts)
    except EnvSyncError as error:
        if is_gone(error):
            return True
        raise
    original = _look(source, key, in_parts)
    for name in _CHECKSUMS:
        # One that ends in a number is made of those of the parts.
        if name in copy and name in original and "-" not in copy[name] + original[name]:
            return bool(copy[name] != original[name])
    if any("SSECustomerAlgorithm" in found or _under_kms(found) for found in (copy, original)):
        return False
    if in_parts:
        layouts = {(found.get("PartsCount"), found["ContentLength"]) for found in (copy, original)}
        return len(layouts) == 1 and "PartsCount" in copy
    return True


def _under_kms(found: dict[str, Any]) -> bool:
    return str(found.get("ServerSideEncryption", "")).startswith("aws:kms")


def _look(bucket: Bucket, key: str, in_parts: bool) -> dict[str, Any]:
    """Return what the server says of an object: of its first part, where it came in parts."""
    with bucket.during(f"looking at s3://{bucket.name}/{key}"):
        more = {"PartNumber": 1} if in_parts else {}
        found: dict[str, Any] = bucket.client.head_object(Bucket=bucket.name, Key=key, ChecksumMode="ENABLED", **more)
        return found


def is_gone(error: EnvSyncError) -> bool:
    """Say whether an object is not there any more."""
    return error_code(error) in ("NoSuchKey", "404")


def may_not_look(error: EnvSyncError) -> bool:
    """Say whether the right to look at an object is missing; a server that is asked for the head has no body to say."""
    return error_code(error) in ("403", "AccessDenied", "Forbidden")
