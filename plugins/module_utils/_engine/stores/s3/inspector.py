# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a bucket tells of itself: versions, locks, encryption, lifecycle, and who can reach it without an account."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import EnvSyncError
from ..inspector import FAILED, NOTE, OK, UNKNOWN, WARNING, Finding, Inspector
from .client import RIGHTS, Bucket, error_code

#: what a server answers where it does not have the call
_NO_SUCH_CALL = frozenset(("NotImplemented", "MethodNotAllowed", "501", "405"))

#: what a server answers where nothing is configured
_NOTHING = frozenset(
    (
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
    )
)

_DENIED = frozenset(("AccessDenied", "403", "Forbidden", "AllAccessDisabled"))

#: groups of grantees that are everybody
_EVERYBODY = ("/global/AllUsers", "/global/AuthenticatedUsers")

_ARCHIVES = frozenset(("GLACIER", "DEEP_ARCHIVE"))

_CLOSE_IT = "Close it: switch on all four settings of Block Public Access."


class S3Inspector(Inspector):
    """:param arguments: how objects are to be kept, as boto3 names it; asked for when something is written."""

    def __init__(self, bucket: Bucket, prefix: str, arguments: Callable[[], Mapping[str, Any]]) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._arguments = arguments

    def settings(self, account: str, dry_run: bool) -> Iterator[Finding]:
        rules, lifecycle = self._lifecycle()
        yield self._versioning(rules)
        yield self._lock()
        yield self._encryption()
        yield from lifecycle

    def server_time(self) -> float | None:
        answer, _code = self._ask("list_objects_v2", Prefix=self._prefix, MaxKeys=1)
        date = _headers(answer).get("date", "")
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None

    def may_read(self, name: str) -> bool | None:
        _answer, code = self._ask("get_object", Key=self._prefix + name)
        return False if code in _DENIED else True if code in ("NoSuchKey", "404") else None

    def trial(self, name: str, data: bytes) -> Iterator[Finding] | None:
        """Begin an upload, send one part, and give it up."""
        key = self._prefix + name
        doing = f"writing s3://{self._bucket.name}/{key}"
        with self._bucket.during(doing):
            client = self._bucket.client
            begun = client.create_multipart_upload(Bucket=self._bucket.name, Key=key, **self._arguments())
        found = []
        target = {"Bucket": self._bucket.name, "Key": key, "UploadId": begun["UploadId"]}
        try:
            found.append(self._shown(key))
            began = time.monotonic()
            with self._bucket.during(doing):
                client.upload_part(**target, PartNumber=1, Body=data)
            seconds = max(time.monotonic() - began, 0.001)
            rate = f"{len(data) / seconds / 1048576:.1f} MiB/s"
            found.append(Finding("throughput", OK, f"a part of {len(data) >> 20} MiB was sent at {rate}"))
        finally:
            try:
                with self._bucket.stop.cleaning(), self._bucket.during(doing):
                    client.abort_multipart_upload(**target)
            except EnvSyncError as error:
                why = f"the trial's upload ({key}) could not be given up: {error.why}"
                found.append(Finding("unfinished uploads", WARNING, why, error.hint))
        return iter(found)

    def _shown(self, key: str) -> Finding:
        """Return whether an upload that was begun is listed: by that, pushes see each other."""
        answer, code = self._ask("list_multipart_uploads", Prefix=key)
        what = "unfinished uploads"
        if answer is None:
            right = f"Allow {RIGHTS['ListMultipartUploads']} on the bucket {self._bucket.name}."
            why = f"{self._why('ListMultipartUploads', code)}: what killed pushes have sent is not found"
            return Finding(what, WARNING, why, right if code in _DENIED else "")
        if any(upload["Key"] == key for upload in answer.get("Uploads", [])):
            return Finding(what, OK, "listed at once")
        return Finding(what, WARNING, "not listed at once: two hosts that push in one second may not see each other")

    def exposure(self, name: str) -> Iterator[Finding]:
        open_to = [*self._by_policy(), *self._by_acl()]
        client = self._bucket.anonymous()
        asked: list[tuple[str, dict[str, Any]]] = [("list_objects_v2", {"Prefix": self._prefix, "MaxKeys": 1})]
        asked += [("get_object", {"Key": self._prefix + name})] if name else []
        for operation, how in asked:
            try:
                with self._bucket.during("asking without credentials"):
                    getattr(client, operation)(Bucket=self._bucket.name, **how)
            except EnvSyncError:
                continue
            what = "list" if operation == "list_objects_v2" else "read"
            open_to.append(Finding("public", FAILED, f"whoever knows its name can {what} it", _CLOSE_IT))
        yield from open_to or [Finding("public", OK, "not listed" + (" or read" if name else "") + " anonymously")]

    def staying(self, name: str) -> list[str]:
        key = self._prefix + name
        answer, code = self._ask("list_object_versions", Prefix=key)
        if answer is None:
            versioning, _code = self._ask("get_bucket_versioning")
            kept = not versioning or "Status" in versioning
            return [f"older versions of {key}, if any ({self._why('ListObjectVersions', code)})"] if kept else []
        left = [text for text in map(self._remove_version, answer.get("Versions", [])) if text]
        if left:
            # Without its marker, what stays would be an object again.
            return left
        return [text for text in map(self._remove_version, answer.get("DeleteMarkers", [])) if text]

    def _remove_version(self, found: Mapping[str, Any]) -> str:
        """Remove a version; return what stays and why, or nothing."""
        where = {"Key": found["Key"], "VersionId": found["VersionId"]}
        if found.get("VersionId") in ("null", None) and "Size" not in found:
            return ""
        _answer, code = self._ask("delete_object", **where)
        if not code:
            return ""
        about = self._ask("head_object", **where)[0] or {}
        until = f" ({code})"
        if "ObjectLockRetainUntilDate" in about:
            until = f", locked until {about['ObjectLockRetainUntilDate']:%Y-%m-%d} ({about.get('ObjectLockMode')})"
        return f"a version of {found['Key']} ({found.get('Size', 0)} bytes){until}"

    # -- how it is set up --------------------------------------------------------------------------------------------

    def _versioning(self, rules: Sequence[Mapping[str, Any]]) -> Finding:
        answer, code = self._ask("get_bucket_versioning")
        if answer is None:
            return self._unread("versioning", "GetBucketVersioning", code)
        if answer.get("Status") != "Enabled":
            how = "suspended" if answer.get("Status") else "off"
            why = f"{how}: whoever may write can replace a point, and what is removed is gone"
            return Finding("versioning", NOTE, why, "Switch it on where an intruder's writes have to be undone.")
        if any("NoncurrentVersionExpiration" in rule for rule in rules):
            return Finding("versioning", OK, "on; a lifecycle rule removes older versions in the end")
        return Finding(
            "versioning",
            NOTE,
            "on: what is pruned stays as an older version, and is paid for",
            "Add a lifecycle rule (NoncurrentVersionExpiration).",
        )

    def _lock(self) -> Finding:
        answer, code = self._ask("get_object_lock_configuration")
        if answer is None and code not in _NOTHING:
            return self._unread("object lock", "GetObjectLockConfiguration", code)
        configured = (answer or {}).get("ObjectLockConfiguration", {})
        default = configured.get("Rule", {}).get("DefaultRetention", {})
        if not configured:
            return Finding("object lock", OK, "none")
        if not default:
            return Finding("object lock", OK, "possible, with no default retention")
        how_long = f"{default['Days']} days" if "Days" in default else f"{default.get('Years')} years"
        return Finding(
            "object lock",
            NOTE,
            f"{default.get('Mode')}, {how_long}: a prune hides points, and their bytes stay as long as that",
            "Have a lifecycle rule (NoncurrentVersionExpiration) remove them afterwards.",
        )

    def _encryption(self) -> Finding:
        answer, code = self._ask("get_bucket_encryption")
        if answer is None and code not in _NOTHING:
            return self._unread("encryption", "GetBucketEncryption", code)
        rules = (answer or {}).get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        modes = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules]
        chosen = self._arguments().get("ServerSideEncryption", "")
        if not any(modes) and not chosen:
            return Finding("encryption", NOTE, "none by default, and the task asks for none", "Set encryption_mode.")
        by_default = f"by default {', '.join(filter(None, modes)) or 'none'}"
        return Finding("encryption", OK, by_default + (f"; pushes ask for {chosen}" if chosen else ""))

    def _lifecycle(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[Finding]]:
        """Return the rules that concern the store, and what they mean."""
        answer, code = self._ask("get_bucket_lifecycle_configuration")
        if answer is None and code not in _NOTHING:
            return (), [self._unread("lifecycle", "GetBucketLifecycleConfiguration", code)]
        rules = [rule for rule in (answer or {}).get("Rules", []) if self._concerned(rule)]
        found = []
        for rule in rules:
            days = rule.get("Expiration", {}).get("Days")
            if days:
                found.append(Finding("lifecycle", NOTE, f"objects are removed after {days} days"))
            for move in rule.get("Transitions", []):
                if move.get("StorageClass") in _ARCHIVES:
                    days, archive = move.get("Days"), move["StorageClass"]
                    why = f"after {days} days objects go to {archive}, where no pull can read them"
                    found.append(
                        Finding("lifecycle", WARNING, why, "Exempt the points, or restore them before a pull.")
                    )
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            why = "no rule ends unfinished uploads: what a killed push has sent stays, unseen, and is paid for"
            found.append(Finding("lifecycle", NOTE, why, "Add AbortIncompleteMultipartUpload, 2 days."))
        return rules, found or [Finding("lifecycle", OK, "unfinished uploads are ended, and no point is removed")]

    def _concerned(self, rule: Mapping[str, Any]) -> bool:
        if rule.get("Status") != "Enabled":
            return False
        chosen = rule.get("Filter", {})
        prefix = str(rule.get("Prefix") or chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or "")
        return prefix.startswith(self._prefix) or self._prefix.startswith(prefix)

    def _by_policy(self) -> Iterator[Finding]:
        blocked, _code = self._ask("get_public_access_block")
        settings = (blocked or {}).get("PublicAccessBlockConfiguration", {})
        if settings and all(settings.values()):
            return
        answer, _code = self._ask("get_bucket_policy_status")
        if (answer or {}).get("PolicyStatus", {}).get("IsPublic"):
            yield Finding("public", FAILED, "its policy opens it to everybody", _CLOSE_IT)

    def _by_acl(self) -> Iterator[Finding]:
        answer, _code = self._ask("get_bucket_acl")
        for grant in (answer or {}).get("Grants", []):
            if str(grant.get("Grantee", {}).get("URI", "")).endswith(_EVERYBODY):
                yield Finding("public", FAILED, f"its ACL gives {grant.get('Permission')} to everybody", _CLOSE_IT)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _ask(self, operation: str, **values: Any) -> tuple[dict[str, Any] | None, str]:
        """Return what the server answers, or None and the code of its refusal.

        :raises EnvSyncError: it does not answer.
        """
        try:
            with self._bucket.during(f"looking at the bucket {self._bucket.name}"):
                answer: dict[str, Any] = getattr(self._bucket.client, operation)(Bucket=self._bucket.name, **values)
        except EnvSyncError as error:
            code = error_code(error)
            if not code:
                raise
            return None, code
        if "Body" in answer:
            answer["Body"].close()
        return answer, ""

    def _unread(self, check: str, operation: str, code: str) -> Finding:
        return Finding(check, UNKNOWN, self._why(operation, code))

    @staticmethod
    def _why(operation: str, code: str) -> str:
        if code in _DENIED:
            return f"this account may not see it ({RIGHTS.get(operation, operation)})"
        if code in _NO_SUCH_CALL:
            return "this server does not say"
        return f"the server answers {code}"


def _headers(answer: Mapping[str, Any] | None) -> Mapping[str, str]:
    found: Mapping[str, str] = (answer or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found
