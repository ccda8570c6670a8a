# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket's client, and what its errors mean to an operator."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from ...errors import EnvSyncError, MissingLibrary
from ...host.stopping import Stop, interruptible
from ...tasks.task import S3Options

try:
    import boto3
    import botocore
    import botocore.config
    import botocore.exceptions as failures
    import urllib3
    import urllib3.exceptions

    HAS_BOTO3 = True
    #: what a request can raise; ValueError is how boto3 refuses an endpoint
    FAILURES: tuple[type[BaseException], ...] = (
        failures.BotoCoreError,
        failures.ClientError,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
        ValueError,
    )
except ImportError:
    HAS_BOTO3 = False
    FAILURES = ()

_Result = TypeVar("_Result")

_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 60
_CONNECTIONS = 64

_USER_INFO = re.compile(r"//[^/@\s]+@")

#: what each operation needs, as a policy names it
RIGHTS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CopyObject": "s3:GetObject on the source, s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetObject": "s3:GetObject",
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjectsV2": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "UploadPartCopy": "s3:GetObject on the source, s3:PutObject",
}

_CREDENTIALS = "Correct access_key and secret_key, the profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_RENEW = "Renew the credentials, then run again."
_LATER = "Run again later."

#: what to do about an error that the server answers with
_ADVICE = {
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _RENEW,
    "ExpiredToken": _RENEW,
    "ExpiredTokenException": _RENEW,
    "RequestTimeTooSkewed": "Set this host's clock.",
    "NoSuchBucket": "Make the bucket, or correct url.",
    "NoSuchKey": "Choose another point (--list shows them).",
    "404": "Choose another point (--list shows them).",
    "AccessControlListNotSupported": "Leave out acl: the bucket has ACLs switched off.",
    "InvalidObjectState": "It is archived: restore it to a class that can be read, then run again.",
    "PreconditionFailed": "Somebody replaced the object while it was read: run again.",
    "BadDigest": "It was damaged on its way: run again.",
    "InvalidBucketName": "Correct url.",
    "InvalidStorageClass": "Correct storage_class.",
    "NotImplemented": "This server lacks it: leave out acl and storage_class, set encryption_mode to none.",
    "SlowDown": _LATER,
    "ServiceUnavailable": _LATER,
    "InternalError": _LATER,
    "503": _LATER,
}

#: the option that sets a header of a request
_OPTIONS = {
    "x-amz-acl": "acl",
    "x-amz-server-side-encryption": "encryption_mode",
    "x-amz-server-side-encryption-aws-kms-key-id": "encryption_kms_key_id",
    "x-amz-storage-class": "storage_class",
}

#: how many objects one request removes at most
DELETE_BATCH = 1000

_WRONG_REGION = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301")


class Helpers:
    """Threads that do what is submitted. Unlike those of an executor they do not keep the process from ending.

    :param count: how many at most; each is started when there is more to do than the others can take.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, function: Callable[..., _Result], *args: Any) -> concurrent.futures.Future[_Result]:
        """Have a thread call ``function``; return what will have its result."""
        future: concurrent.futures.Future[_Result] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args)
            except BaseException as error:  # it belongs to whoever asks for the result
                future.set_exception(error)
            else:
                future.set_result(result)

        self._waiting.put(work)
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._started < self._count:
                self._started += 1
                threading.Thread(target=self._work, daemon=True, name=f"s3_{self._started}").start()
        return future

    def _work(self) -> None:
        while True:
            self._waiting.get()()
            self._idle.release()


class Bucket:
    """One bucket and the client for it, which threads share. Its errors are one line, with advice and no secret.

    :param attempts: how often a request is tried in all.
    :param helpers: how many threads help its readers and writers.
    :param stop: says whether the run is to stop; requests then end at once, answered or not.
    :param patience: how long an answer may take, in seconds; 0: as long as the answer to any request may.
    """

    def __init__(
        self,
        name: str,
        options: S3Options,
        attempts: int,
        helpers: int,
        stop: Callable[[], bool] = lambda: False,
        patience: float = 0,
    ) -> None:
        if not HAS_BOTO3:
            raise MissingLibrary("boto3", "boto3", "a task with storagebackend s3")
        self.name = name
        #: one for each helper; held as long as the piece that it works on is in memory
        self.slots = threading.Semaphore(helpers)
        self.helpers = Helpers(helpers)
        self.stop = Stop.of(stop)
        self._options = options
        self._attempts = attempts
        self._patience = patience
        self._lock = threading.Lock()
        self._session: Any = None
        self._connected: tuple[Any, bool] | None = None

    @property
    def client(self) -> Any:
        """The boto3 client; raises what boto3 raises, so ask for it within :meth:`during`."""
        return self._connection()[0]

    @property
    def is_aws(self) -> bool:
        """Whether it is AWS itself, and not a compatible server."""
        return self._connection()[1]

    def _connection(self) -> tuple[Any, bool]:
        with self._lock:
            if self._connected is None:
                options = self._options
                self._session = boto3.session.Session(
                    aws_access_key_id=options.access_key or None,
                    aws_secret_access_key=options.secret_key or None,
                    aws_session_token=options.session_token or None,
                    region_name=options.region or None,
                    profile_name=options.profile or None,
                )
                client, aws = _connect(self._session, options, self._attempts, patience=self._patience)
                self._connected = _Interruptible(client, self.stop), aws
            return self._connected

    def anonymous(self) -> Any:
        """Return a client without credentials, to see what everybody can do."""
        self._connection()  # reads what the environment says of the endpoint
        client, _aws = _connect(self._session, self._options, 2, botocore.UNSIGNED)
        return _Interruptible(client, self.stop)

    def look(self, key: str) -> dict[str, Any] | None:
        """Return what a listing says of one object (``Size``, ``ETag``, ``LastModified``), None where it is not there.

        Not HEAD: that takes the right to read the object, which a push does without.
        Raises what boto3 raises, so ask for it within :meth:`during`.
        """
        answer = self.client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1)
        # Of the names that begin with the key, the key itself is the first.
        return next((found for found in answer.get("Contents", []) if found["Key"] == key), None)

    def delete(self, keys: Sequence[str], doing: str) -> list[dict[str, str]]:
        """Remove objects by one request; return what the server says of those that are still there.

        :param keys: at most :data:`DELETE_BATCH`; one that is not there counts as removed.
        :returns: of each object ``Key``, ``Code`` and perhaps ``Message``.
        :raises EnvSyncError: the whole request failed.
        """
        with self.during(doing):
            answer = self.client.delete_objects(
                Bucket=self.name, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        return [error for error in answer.get("Errors", []) if error["Code"] != "NoSuchKey"]

    @contextlib.contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Translate whatever a call of boto3 raises."""
        try:
            yield
        except FAILURES as error:
            raise self.error(doing, error) from error

    def error(self, doing: str, error: BaseException, how: str = "") -> EnvSyncError:
        """Return the error as an operator should read it; ``how`` it came to it goes before."""
        if isinstance(error, failures.ClientError):
            why, hint = self._answered(error)
        else:
            why, hint = str(error) or type(error).__name__, _advice(error)
        return EnvSyncError(doing, self._masked(f"{how}: {why}" if how else why), hint)

    def _answered(self, error: Any) -> tuple[str, str]:
        """Return what went wrong and what to do, where the server answered with an error."""
        code = error_code(error)
        operation = error.operation_name
        message = error.response.get("Error", {}).get("Message", "")
        why = f"{operation}: {code}" + (f": {message}" if message and message != code else "")
        if code == "NoSuchBucket":
            why = f"there is no bucket {self.name}"
        elif code in ("NoSuchKey", "404"):
            why = "there is no such object"
        hint = _ADVICE.get(code, "Check url and the options of the store, then run again.")
        if code == "InvalidArgument":
            answer = error.response["Error"]
            header = str(answer.get("ArgumentName", "")).lower()
            if header:
                why += f" ({header}: {answer.get('ArgumentValue', '')})"
            hint = f"Correct {_OPTIONS.get(header, ', '.join(_OPTIONS.values()))}."
        elif code in _WRONG_REGION:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            region = error.response["Error"].get("Region") or headers.get("x-amz-bucket-region")
            hint = f"Set region to {region}." if region else "Set region to the bucket's own."
        elif code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled"):
            right = RIGHTS.get(operation, "the right to do that")
            hint = f"Allow {right} on the bucket {self.name} (and the use of its key, where it has one)."
        elif code.startswith("KMS."):
            hint = "Correct encryption_kms_key_id, or allow the use of the key."
        return why, hint

    def _masked(self, text: str) -> str:
        """Take out credentials: the client's own, and those that stand in a URL."""
        secrets = [self._options.secret_key, self._options.session_token]
        # Where the credentials themselves are what fails, there are none to mask.
        with contextlib.suppress(Exception):
            found = self._session.get_credentials().get_frozen_credentials()
            secrets += [found.secret_key, found.token or ""]
        for secret in secrets:
            if secret.strip():
                text = text.replace(secret.strip(), "***")
        return _USER_INFO.sub("//***@", text)


class _Interruptible:
    """A boto3 client whose requests end when the run is to stop. By itself it waits, again and again, for minutes."""

    def __init__(self, client: Any, stop: Stop) -> None:
        self._client = client
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name not in self._client.meta.method_to_api_mapping:
            return found
        return lambda **values: interruptible(lambda: found(**values), self._stop, f"asking S3 ({name})")

    def pages(self, operation: str, **values: Any) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing."""
        pages = iter(self._client.get_paginator(operation).paginate(**values))
        while True:
            page = interruptible(lambda: next(pages, None), self._stop, f"asking S3 ({operation})")
            if page is None:
                return
            yield page


def _connect(
    session: Any, options: S3Options, attempts: int, signature: Any = "s3v4", patience: float = 0
) -> tuple[Any, bool]:
    """Return an S3 client, and whether it speaks to AWS itself. Nothing is sent."""

    addressing: Any = {"addressing_style": options.addressing_style}

    def client(aws: bool) -> Any:
        # boto3's checksums in trailers are refused by servers that do not know them yet; a boto3 older than these
        # settings (1.36) does not send them.
        known = botocore.config.Config.OPTION_DEFAULTS
        wanted = "when_supported" if aws else "when_required"
        checksums: Any = {
            name: wanted for name in ("request_checksum_calculation", "response_checksum_validation") if name in known
        }
        return session.client(
            "s3",
            endpoint_url=options.endpoint_url or None,
            verify=(options.aws_ca_bundle or None) if options.validate_certs else False,
            config=botocore.config.Config(
                signature_version=signature,
                connect_timeout=_CONNECT_TIMEOUT,
                read_timeout=patience or _READ_TIMEOUT,
                max_pool_connections=_CONNECTIONS,
                tcp_keepalive=True,
                retries={"mode": "standard", "total_max_attempts": attempts},
                s3=addressing,
                **checksums,
            ),
        )

    if not options.validate_certs:
        # Said once for each connection, to an operator who asked for it.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    aws = not options.endpoint_url or is_aws(options.endpoint_url)
    made = client(aws)
    if is_aws(made.meta.endpoint_url) != aws:
        # The environment or the profile named another endpoint.
        aws = not aws
        made = client(aws)
    if not aws:
        # Servers of an older day want it where boto3 sends a CRC only.
        made.meta.events.register("before-call.s3.DeleteObjects", _add_content_md5)
    return made, aws


def kept(options: S3Options, otherwise: str) -> dict[str, str]:
    """Return how objects are to be kept, as boto3 names it: what the options ask for, and no more.

    :param otherwise: the mode of encryption where none is asked for; ``none`` leaves it to the bucket.
    """
    mode = options.encryption_mode or ("aws:kms" if options.encryption_kms_key_id else otherwise)
    wanted = {
        "ServerSideEncryption": "" if mode == "none" else mode,
        "SSEKMSKeyId": options.encryption_kms_key_id if mode == "aws:kms" else "",
        "ACL": options.acl,
        "StorageClass": options.storage_class,
    }
    return {name: value for name, value in wanted.items() if value}


def is_aws(endpoint: str) -> bool:
    """Say whether an endpoint is one of AWS's own."""
    host = urlsplit(endpoint).hostname or ""
    return bool(re.search(r"\.(amazonaws\.(com|com\.cn|eu)|api\.aws)\Z", host))


def _add_content_md5(params: dict[str, Any], **_others: Any) -> None:
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


def error_code(error: BaseException | None) -> str:
    """Return the server's error code; a request without a body (HEAD) has the HTTP status for one. Empty: no answer."""
    if isinstance(error, EnvSyncError):
        error = error.__cause__
    if HAS_BOTO3 and isinstance(error, failures.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def surely_not_done(error: BaseException) -> bool:
    """Say whether a request came to nothing: declined, or not even begun. A connection that broke leaves it open."""
    cause = error.__cause__ if isinstance(error, EnvSyncError) else error
    if isinstance(cause, failures.ClientError):
        return bool(cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500)
    return isinstance(cause, (failures.EndpointConnectionError, failures.ConnectTimeoutError))


def _advice(error: BaseException) -> str:
    """Return what to do about an error that the server did not answer with."""
    if isinstance(error, failures.NoCredentialsError):
        return "Set access_key and secret_key, or profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in env.d."
    if isinstance(error, failures.PartialCredentialsError):
        return "Give both access_key and secret_key."
    if isinstance(error, (failures.ProfileNotFound, failures.ConfigParseError)):
        return "Correct profile (AWS_PROFILE), or ~/.aws/config of the user that runs this."
    if isinstance(
        error,
        (
            failures.CredentialRetrievalError,
            failures.TokenRetrievalError,
            failures.SSOError,
            failures.MetadataRetrievalError,
        ),
    ):
        return _RENEW
    if isinstance(error, failures.SSLError) or "certificate" in str(error).lower():
        return "Correct aws_ca_bundle (AWS_CA_BUNDLE), endpoint_url, or the server's certificate."
    if isinstance(error, failures.ProxyConnectionError):
        return "Correct HTTPS_PROXY and NO_PROXY."
    if isinstance(error, (failures.ValidationError, failures.ParamValidationError, ValueError)):
        return "Correct url, endpoint_url and region."
    return "Check endpoint_url, region and the network, then run again."
