# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused before anything is restored, and what mongorestore is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.archive import (
    Collection,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.client import ServerError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.mongo.restore import fitting
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.manifest import Manifest

from tests.unit.databases.mongo.stub import StubServer, collections, mongo


class RefusingServer(StubServer):
    """A stub that answers a rename with an error."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self._code = code

    def command(self, database: str, command: dict[str, Any], doing: str) -> dict[str, Any]:
        if "renameCollection" in command:
            raise ServerError(doing, "refused", self._code)
        about = {"versionArray": [7, 0, 1, 0], "version": "7.0.1"}
        return about if "buildInfo" in command else super().command(database, command, doing)

    def system(self, doing: str) -> str:
        return "replica set 1"


@pytest.fixture
def _mongorestore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "mongorestore").touch(mode=0o755)


@pytest.mark.usefixtures("_mongorestore")
@pytest.mark.parametrize("code", [13, 59, 115, 238, 303])
def test_a_server_or_user_that_cannot_rename_is_refused_before_anything_is_restored(code: int) -> None:
    with pytest.raises(EnvSyncError, match=r"no collection can be renamed there.*refused"):
        mongo(RefusingServer(code)).preflight_restore(None)


@pytest.mark.usefixtures("_mongorestore")
def test_that_there_is_nothing_to_rename_is_no_refusal() -> None:
    assert mongo(RefusingServer(26)).preflight_restore(None).replaces is None


@pytest.mark.usefixtures("_mongorestore")
@pytest.mark.parametrize(
    ("version", "older"), [("8.0.4", True), ("7.2", True), ("7.0.9", False), ("6.0.1", False), ("", False)]
)
def test_that_a_point_is_from_a_newer_server_is_said(
    make_manifest: Callable[..., Manifest], version: str, older: bool
) -> None:
    manifest = make_manifest(dbms="mongo", database="app", server={"version": version})
    warnings = mongo(RefusingServer(26)).preflight_restore(manifest).warnings
    assert warnings == ((f"the point is from version {version}, and stub:27017 has the older 7.0.1",) if older else ())


def test_mongorestore_is_asked_to_pass_over_validators_only_where_there_are_any() -> None:
    plain = {"a": Collection("a", "collection", {}), "system.js": Collection("system.js", "collection", {})}
    odd = {"v*\\": Collection("v*\\", "view", {"viewOn": "a"})}
    strict = {"s": Collection("s", "collection", {"validator": {"x": {"$gt": 1}}})}
    here = collections(RefusingServer(26))
    excludes = ["--nsExclude=app.system.js", r"--nsExclude=app.v\*\\"]
    assert fitting(here, "app", {**plain, **odd}, "restoring") == excludes
    assert fitting(here, "app", {**plain, **odd, **strict}, "restoring") == [
        *excludes,
        "--bypassDocumentValidation",
    ]
