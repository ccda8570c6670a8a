# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError, MissingLibrary, advice


def test_three_parts_make_one_line() -> None:
    error = EnvSyncError("dumping app", "pg_dump: error:\n  it\tbroke.", "Mend it.")
    assert str(error) == "dumping app: pg_dump: error: it broke. Mend it."
    assert str(EnvSyncError("a", "b")) == "a: b"
    assert str(EnvSyncError("a", "is it there?", "Look.")) == "a: is it there? Look."


def test_advice_goes_by_the_kernels_error() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert advice(full) == "Make room there."
    assert advice(full, "Make room in temppath.") == "Make room in temppath."
    assert "ulimit -n" in advice(OSError(errno.EMFILE, "Too many open files"), "Make room in temppath.")
    assert advice(OSError(errno.EINVAL, "Invalid argument"), "Make room in temppath.") == ""


def test_a_missing_library_says_what_to_install() -> None:
    text = str(MissingLibrary("boto3", "python3-boto3", "storagebackend s3"))
    assert "boto3" in text
    assert "storagebackend s3 needs it" in text
    assert "Install python3-boto3" in text
