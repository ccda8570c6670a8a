# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the test server can't be made to answer: AWS's own ways, and answers that are lost or wrong."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError, MissingLibrary
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3 import client as s3_client
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.client import Bucket, is_aws
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.pieces import PIECE
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.store import Limits, S3Store, split_url
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores.s3.upload import part_size
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import S3Options
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import ANY, Stubber

MIB = 1024 * 1024
GIB = 1024 * MIB
TIB = 1024 * GIB

OPTIONS = {"region": "eu-west-1", "access_key": "key", "secret_key": "a/s3cret", "session_token": "t0ken"}
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
MD5_OF_HELLO = "5d41402abc4b2a76b9719d911017c592"


@pytest.fixture(scope="module")
def connected() -> Bucket:
    """A bucket with its client, which takes a while to make."""
    return Bucket("bucket", S3Options(**OPTIONS), 1, 1)


@pytest.fixture
def store(connected: Bucket) -> S3Store:
    return store_of(connected)


def store_of(connected: Bucket, **options: str) -> S3Store:
    store = S3Store("bucket", "path", S3Options(**OPTIONS, **options))
    store._bucket = connected
    return store


@pytest.fixture
def aws(connected: Bucket) -> Iterator[Stubber]:
    """AWS as it is written down: each test says what it answers."""
    with Stubber(connected.client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize("most", [2, 10, 1000, 10000])
@pytest.mark.parametrize("size_hint", [None, 1, 100 * GIB])
def test_parts_are_equal_for_half_of_the_upload_then_grow_to_the_limit(most: int, size_hint: int | None) -> None:
    sizes = [part_size(number, size_hint, PIECE, most) for number in range(most)]

    assert len(set(sizes[: most // 2])) == 1
    assert sizes == sorted(sizes)
    assert sizes[0] >= PIECE
    assert sizes[-1] == 5 * GIB
    assert sum(sizes[: most // 2]) >= min(size_hint or 0, 5 * GIB * (most // 2))


def test_an_upload_of_unknown_size_can_become_very_large() -> None:
    assert sum(part_size(number, None, PIECE, 10000) for number in range(10000)) > 3 * TIB


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("bucket", "bucket", ""),
        ("bucket/a/b/", "bucket", "a/b"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("arn:aws:s3:eu-west-1:1:accesspoint/x", "arn:aws:s3:eu-west-1:1:accesspoint/x", ""),
    ],
)
def test_url_names_a_bucket_and_perhaps_a_prefix(url: str, bucket: str, prefix: str) -> None:
    assert split_url(url) == (bucket, prefix)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://amazonaws.com.example.org", False),
        ("http://127.0.0.1:9000", False),
    ],
)
def test_aws_is_known_by_its_host(endpoint: str, expected: bool) -> None:
    assert is_aws(endpoint) is expected


def test_an_endpoint_from_the_environment_counts_as_one_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Bucket("bucket", S3Options(**OPTIONS), 1, 1).is_aws
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://storage.example.org")
    bucket = Bucket("bucket", S3Options(**OPTIONS), 1, 1)
    assert not bucket.is_aws
    assert bucket.client.meta.config.request_checksum_calculation == "when_required"


@pytest.mark.parametrize(
    ("code", "operation", "hint"),
    [
        ("InvalidAccessKeyId", "ListObjectsV2", "Correct access_key and secret_key"),
        ("ExpiredToken", "GetObject", "Renew the credentials"),
        ("AccessDenied", "PutObject", "Allow s3:PutObject on the bucket bucket"),
        ("403", "HeadObject", "Allow s3:GetObject on the bucket bucket"),
        ("AccessControlListNotSupported", "PutObject", "Leave out acl"),
        ("PermanentRedirect", "ListObjectsV2", "Set region to eu-central-1"),
        ("AuthorizationHeaderMalformed", "ListObjectsV2", "Set region to eu-central-1"),
        ("IllegalLocationConstraintException", "PutObject", "Set region to eu-central-1"),
        ("InvalidObjectState", "GetObject", "It is archived"),
        ("KMS.DisabledException", "PutObject", "Correct encryption_kms_key_id"),
    ],
)
def test_what_aws_answers_comes_with_advice(code: str, operation: str, hint: str) -> None:
    answer: Any = {
        "Error": {"Code": code, "Message": "It says so."},
        "ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-central-1"}},
    }
    error = Bucket("bucket", S3Options(**OPTIONS), 1, 1).error("storing x", ClientError(answer, operation))
    assert error.why == f"{operation}: {code}: It says so."
    assert hint in error.hint


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("x-amz-acl", "Correct acl."),
        ("x-amz-server-side-encryption", "Correct encryption_mode."),
        ("", "Correct acl, encryption_mode, encryption_kms_key_id, storage_class."),
    ],
)
def test_an_argument_that_aws_refuses_is_called_by_its_option(header: str, hint: str) -> None:
    answer: Any = {"Error": {"Code": "InvalidArgument", "ArgumentName": header, "ArgumentValue": "odd"}}
    error = Bucket("bucket", S3Options(**OPTIONS), 1, 1).error("storing x", ClientError(answer, "PutObject"))
    assert error.hint == hint
    assert (f"({header}: odd)" in error.why) == bool(header)


def test_no_secret_gets_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket("bucket", S3Options(**OPTIONS), 1, 1)
    for error in (
        ValueError("Invalid header value b't0ken\\n'"),
        OSError("a/s3cret"),
        EndpointConnectionError(endpoint_url="http://me:passw0rd@host/bucket"),
    ):
        text = str(bucket.error("opening x", error))
        assert "***" in text
        assert not any(secret in text for secret in ("t0ken", "s3cret", "passw0rd"))

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
    bucket = Bucket("bucket", S3Options(), 1, 1)
    assert bucket.client
    assert "environment" not in str(bucket.error("opening x", OSError("of-the-environment")))


def test_without_boto3_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "HAS_BOTO3", False)
    with pytest.raises(MissingLibrary, match="Install boto3"):
        S3Store("bucket", "", S3Options())


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {"ServerSideEncryption": "AES256"}),
        ({"encryption_mode": "none"}, {}),
        ({"encryption_mode": "aws:kms"}, {"ServerSideEncryption": "aws:kms"}),
        ({"encryption_kms_key_id": "mine"}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "mine"}),
        (
            {"acl": "bucket-owner-full-control", "storage_class": "STANDARD_IA"},
            {"ServerSideEncryption": "AES256", "ACL": "bucket-owner-full-control", "StorageClass": "STANDARD_IA"},
        ),
    ],
)
def test_what_an_object_on_aws_is_stored_with(
    connected: Bucket, aws: Stubber, options: dict[str, str], sent: dict[str, str]
) -> None:
    checks = {"ContentMD5": "XUFAKrxLKna5cZ2REBfFkg==", "ChecksumCRC32": "NhCmhg=="}
    expected = {"Bucket": "bucket", "Key": "path/object", "Body": ANY, **checks, **sent}
    aws.add_response("put_object", {"ETag": f'"{MD5_OF_HELLO}"'}, expected)
    store_of(connected, **options).put_bytes("object", b"hello")


def test_an_object_of_other_bytes_than_were_sent_is_taken_away(store: S3Store, aws: Stubber) -> None:
    aws.add_response("put_object", {"ETag": f'"{"0" * 32}"'})
    aws.add_response("delete_object", {}, {"Bucket": "bucket", "Key": "path/object"})
    with pytest.raises(EnvSyncError, match="the server has other bytes"):
        store.put_bytes("object", b"hello")


def test_the_etag_of_an_object_under_a_kms_key_is_no_md5(store: S3Store, aws: Stubber) -> None:
    aws.add_response("put_object", {"ETag": f'"{"0" * 32}"', "ServerSideEncryption": "aws:kms"})
    assert store.put_bytes("object", b"hello").size == 5


def test_an_object_that_was_refused_is_not_taken_away(store: S3Store, aws: Stubber) -> None:
    """What is under the name is another's."""
    aws.add_client_error("put_object", "AccessDenied", http_status_code=403)
    with pytest.raises(EnvSyncError, match="AccessDenied"):
        store.put_bytes("object", b"hello")


def test_an_object_that_may_have_been_stored_is_taken_away(store: S3Store, aws: Stubber) -> None:
    aws.add_client_error("put_object", "InternalError", http_status_code=500)
    aws.add_response("delete_object", {}, {"Bucket": "bucket", "Key": "path/object"})
    with pytest.raises(EnvSyncError, match="InternalError"):
        store.put_bytes("object", b"hello")


def begin_upload(aws: Stubber) -> None:
    aws.add_response("create_multipart_upload", {"UploadId": "1"})
    part = {"Bucket": "bucket", "Key": "path/object", "UploadId": "1", "PartNumber": 1, "Body": ANY}
    checks = {"ContentMD5": ANY, "ChecksumCRC32": ANY}
    aws.add_response("upload_part", {"ETag": '"etag"', "ChecksumCRC32": "sum"}, {**part, **checks})


def listed(aws: Stubber, size: int, etag: str = '"0123-1"') -> None:
    found = {"Key": "path/object", "Size": size, "ETag": etag, "LastModified": NOW}
    asked = {"Bucket": "bucket", "Prefix": "path/object", "MaxKeys": 1}
    aws.add_response("list_objects_v2", {"Contents": [found]}, asked)


def put_one_part(store: S3Store) -> int:
    store._limits = Limits(part=4)
    return store.put_bytes("object", b"1234").size


def test_parts_are_named_with_their_checksums(store: S3Store, aws: Stubber) -> None:
    begin_upload(aws)
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"etag"', "ChecksumCRC32": "sum"}]}
    whole = {"Bucket": "bucket", "Key": "path/object", "UploadId": "1", "MultipartUpload": parts}
    aws.add_response("complete_multipart_upload", {}, whole)
    listed(aws, 4)
    assert put_one_part(store) == 4


def test_an_upload_whose_completion_was_not_heard_of_is_complete(store: S3Store, aws: Stubber) -> None:
    begin_upload(aws)
    aws.add_client_error("complete_multipart_upload", "NoSuchUpload", http_status_code=404)
    listed(aws, 4)
    listed(aws, 4)
    assert put_one_part(store) == 4


def test_an_upload_that_ends_with_another_size_is_taken_away(store: S3Store, aws: Stubber) -> None:
    begin_upload(aws)
    aws.add_response("complete_multipart_upload", {})
    listed(aws, 3)
    aws.add_response("abort_multipart_upload", {})
    aws.add_response("delete_object", {}, {"Bucket": "bucket", "Key": "path/object"})
    with pytest.raises(EnvSyncError, match="it has 3 bytes, 4 were sent"):
        put_one_part(store)


def test_an_upload_that_is_listed_only_some_time_later_is_good(store: S3Store, aws: Stubber) -> None:
    begin_upload(aws)
    aws.add_response("complete_multipart_upload", {})
    aws.add_response("list_objects_v2", {"Contents": []})
    assert put_one_part(store) == 4


def test_a_listing_goes_on_to_the_next_page_and_leaves_out_folders(store: S3Store, aws: Stubber) -> None:
    def page(*keys: str, **more: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": key, "Size": 1, "LastModified": NOW} for key in keys], **more}

    asked = {"Bucket": "bucket", "Prefix": "path/a"}
    aws.add_response("list_objects_v2", page("path/a", "path/a/", IsTruncated=True, NextContinuationToken="x"), asked)
    aws.add_response("list_objects_v2", page("path/a/b", IsTruncated=False), {**asked, "ContinuationToken": "x"})
    assert [(item.name, item.modified) for item in store.list("a")] == [
        ("a", NOW.timestamp()),
        ("a/b", NOW.timestamp()),
    ]


def test_objects_that_could_not_be_removed_are_an_error(store: S3Store, aws: Stubber) -> None:
    aws.add_response("delete_objects", {"Errors": [{"Key": "path/a", "Code": "AccessDenied"}]})
    with pytest.raises(EnvSyncError, match=r"1 are still there; path/a: AccessDenied\. Allow s3:DeleteObject"):
        store.delete(["a", "b"])


def test_objects_under_a_lock_say_so(store: S3Store, aws: Stubber) -> None:
    why = "Access Denied because object protected by object lock."
    aws.add_response("delete_objects", {"Errors": [{"Key": "path/a", "Code": "AccessDenied", "Message": why}]})
    with pytest.raises(EnvSyncError, match="It is locked: run again when its retention has ended"):
        store.delete(["a"])


def test_the_newest_of_20000_objects_takes_20_pages_and_no_manifest(store: S3Store, aws: Stubber) -> None:
    """Any other request than those for the pages would be refused by the stand-in."""
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    day = datetime.datetime(2010, 1, 1)
    keys = []
    for number in range(5000):
        point = f"path/{day + datetime.timedelta(hours=number):%Y-%m-%dT%H:%M:%S}-app"
        keys += [f"{point}.manifest.json", f"{point}/1.dat", f"{point}/2.dat", f"{point}/toc.dat"]
    for start in range(0, len(keys), 1000):
        some = [{"Key": key, "Size": 1, "LastModified": when} for key in keys[start : start + 1000]]
        more = {"NextContinuationToken": str(start)} if start + 1000 < len(keys) else {}
        aws.add_response("list_objects_v2", {"IsTruncated": bool(more), "Contents": some, **more})
    assert catalogue.choose(store, "app").timestamp == "2010-07-28T07:00:00"
    aws.assert_no_pending_responses()


def test_a_sweep_that_may_not_look_says_what_it_needs(store: S3Store, aws: Stubber) -> None:
    aws.add_client_error("list_multipart_uploads", "AccessDenied", http_status_code=403)
    with pytest.raises(EnvSyncError, match="Allow s3:ListBucketMultipartUploads"):
        store.sweep("a")


def test_a_sweep_on_a_server_without_such_a_list_finds_nothing(store: S3Store, aws: Stubber) -> None:
    aws.add_client_error("list_multipart_uploads", "NotImplemented", http_status_code=501)
    assert store.sweep("a") == []
