# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What answers of AWS that no server here gives (keys of KMS, checksums) say about two objects."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.client import Bucket
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.compare import (
    DIFFERENT,
    DOUBTFUL,
    SAME,
    Listed,
    by_listing,
    by_looking,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.tally import Tally, surplus_file
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options
from botocore.stub import Stubber

A, B = '"' + 32 * "a" + '"', '"' + 32 * "b" + '"'
A3, B3, B4 = (f'"{32 * letter}-{parts}"' for letter, parts in (("a", 3), ("b", 3), ("b", 4)))


@pytest.mark.parametrize(
    ("one", "other", "younger", "expected"),
    [
        (A, A, False, SAME),
        (A, B, True, DOUBTFUL),
        (A, B, False, DIFFERENT),
        (A3, B3, True, DOUBTFUL),
        (A3, B4, True, SAME),  # nothing but the times can tell
        (A, B3, True, SAME),
        (A, B3, False, DIFFERENT),
        ('"opaque"', '"another"', True, SAME),
    ],
)
def test_what_listings_tell(one: str, other: str, younger: bool, expected: str) -> None:
    item = Listed("x", 5, one, 100.0, False)
    assert by_listing(item, Listed("x", 5, other, 100.0 + younger, False)) == expected
    assert by_listing(item, Listed("x", 6, one, 200.0, False)) == DIFFERENT


def bucket(answer: dict[str, Any] | str, in_parts: bool) -> Bucket:
    made = Bucket("b", S3Options(region="eu-west-1", access_key="k", secret_key="secret"), 1, 1)
    stubber = Stubber(made.client._client)
    asked = {"Bucket": "b", "Key": "k", "ChecksumMode": "ENABLED", **({"PartNumber": 1} if in_parts else {})}
    if isinstance(answer, str):
        stubber.add_client_error("head_object", answer, "", int(answer), expected_params=asked)
    else:
        stubber.add_response("head_object", answer, asked)
    stubber.activate()
    return made


@pytest.mark.parametrize(
    ("etag", "original", "copy", "differ"),
    [
        (A, {}, {}, True),
        (A, {"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "AES256"}, True),
        (A, {}, {"ServerSideEncryption": "aws:kms"}, False),
        (A, {"ServerSideEncryption": "aws:kms:dsse"}, {}, False),
        (A, {"SSECustomerAlgorithm": "AES256"}, {}, False),
        # A checksum of all bytes tells, whatever the key is.
        (A, {"ChecksumCRC64NVME": "x"}, {"ChecksumCRC64NVME": "y", "ServerSideEncryption": "aws:kms"}, True),
        (A, {"ChecksumCRC64NVME": "x"}, {"ChecksumCRC64NVME": "x", "ServerSideEncryption": "aws:kms"}, False),
        (A3, {"ChecksumSHA256": "x-3"}, {"ChecksumSHA256": "y-3"}, False),
        (A3, {"PartsCount": 3, "ContentLength": 5}, {"PartsCount": 3, "ContentLength": 5}, True),
        (A3, {"PartsCount": 3, "ContentLength": 5}, {"PartsCount": 3, "ContentLength": 6}, False),
        (A3, {"ContentLength": 5}, {"ContentLength": 5}, False),  # a server that knows no parts
    ],
)
def test_what_looking_tells(etag: str, original: dict[str, Any], copy: dict[str, Any], differ: bool) -> None:
    parts = "-" in etag
    source, destination = (bucket({"ContentLength": 9, **answer}, parts) for answer in (original, copy))
    assert by_looking(source, "k", destination, "k", etag) is differ


def test_a_copy_that_is_gone_is_made_again_and_a_source_that_is_gone_is_not() -> None:
    there: dict[str, Any] = {"ContentLength": 9}
    assert by_looking(bucket(there, False), "k", bucket("404", False), "k", A)
    with pytest.raises(EnvSyncError, match="there is no such object"):
        by_looking(bucket("404", False), "k", bucket(there, False), "k", A)


def test_names_of_many_objects_take_no_memory(tmp_path: Path) -> None:
    with surplus_file(str(tmp_path)) as file:
        tally = Tally(file)
        tracemalloc.start()
        for number in range(20_000):
            tally.only_there(f"some/folder/with/a/name/{number:060}")
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000
        assert sum(1 for _name in tally.surplus()) == tally.extra == 20_000
