# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible gives becomes a task, and what the engine says becomes what Ansible expects."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.govuk.env_sync.plugins.module_utils import _args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import DEPLOYMENT
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import ElasticOptions, S3Options, Task
from ansible_collections.govuk.env_sync.plugins.modules import env_sync_dump, env_sync_restore

WHERE = {"dbms": "postgresql", "database": "app", "storagebackend": "directory", "url": "/srv/backups"}

Work = Callable[[Host], dict[str, Any]]


def spec_of(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def remember(**values: Any) -> None:
        seen.update(values["argument_spec"])
        raise EnvSyncError("stopping", "the specification is known")

    monkeypatch.setattr(module, "AnsibleModule", remember)
    with pytest.raises(EnvSyncError):
        module.main()
    return seen


@pytest.mark.parametrize("module", [env_sync_dump, env_sync_restore])
def test_options_are_a_tasks_keys_with_the_engines_defaults(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(module, monkeypatch)
    of_task = {
        **Task.__dataclass_fields__,
        **S3Options.__dataclass_fields__,
        **ElasticOptions.__dataclass_fields__,
    }

    assert set(spec) - {"details"} <= set(keys.KEYS)
    assert not set(spec) & DEPLOYMENT, "these would do nothing"
    for key, option in spec.items():
        assert option.get("no_log", False) == (key in keys.SECRETS), key
        if "default" in option and key not in ("action", "details"):
            assert option["default"] == of_task[key].default, key


def test_a_task_is_what_the_parameters_say() -> None:
    params = {**WHERE, "action": "push", "login_host": "db-1", "database_hostname": "db-1", "database_port": None}

    task = _args.read_task({**params, "operation": "verify", "secret_key": "s", "excluded_tables": ["a", "b"]})

    assert (task.connection.host, task.connection.port) == ("db-1", 0)
    assert (task.url, task.s3.secret_key, task.excluded_tables) == ("/srv/backups", "s", ("a", "b"))


def test_transformation_files_are_found_where_the_command_finds_them() -> None:
    task = _args.read_task({**WHERE, "transformation_sql_filename": ["x.sql", "/tmp/y.sql"]}, action="pull")

    assert task.transformation_sql == ("/etc/govuk_env_sync/transformation_sql/x.sql", "/tmp/y.sql")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that gives what a module prints that does ``work``."""
    # Where the tests of a lookup were in this process before, warnings would go to the controller's display.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False, raising=False)

    def run(work: Work, details: bool = False, **internal: Any) -> dict[str, Any]:
        arguments = {f"_ansible_{key}": value for key, value in internal.items()}
        with patch_module_args({**arguments, "details": details}):
            module = AnsibleModule(argument_spec={**_args.DETAILS.argument_spec})
            with pytest.raises(SystemExit):
                _args.run(module, work, lambda result: "done")
        return dict(json.loads(capsys.readouterr().out))

    return run


def fail(error: Exception) -> Work:
    def work(host: Host) -> dict[str, Any]:
        host.log("warning", "said before it failed")
        raise error

    return work


def test_an_error_keeps_its_three_parts(run: Callable[..., dict[str, Any]]) -> None:
    said = run(fail(EnvSyncError("dumping app", "no space left", "Make room.")))

    assert said["failed"] and said["msg"] == "dumping app: no space left. Make room."
    assert (said["doing"], said["why"], said["hint"]) == ("dumping app", "no space left", "Make room.")
    assert "said before it failed" in json.dumps(said["warnings"])


def test_what_nobody_thought_of_is_one_line_too(run: Callable[..., dict[str, Any]]) -> None:
    said = run(fail(KeyError("two\nlines")))

    assert said["failed"] and "unexpected KeyError" in said["msg"] and "\n" not in said["msg"]


def test_warnings_are_given_once(run: Callable[..., dict[str, Any]]) -> None:
    def work(host: Host) -> dict[str, Any]:
        host.log("info", "dumping")
        host.log("warning", "there is no role app")
        return {"changed": True, "warnings": ["there is no role app", "only planned"]}

    said = run(work)

    texts = json.dumps(said["warnings"])
    assert texts.count("there is no role app") == texts.count("only planned") == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_before_and_after_are_the_difference(run: Callable[..., dict[str, Any]], wanted: bool) -> None:
    said = run(lambda host: {"changed": True, "before": {"points": []}, "after": {"points": ["x"]}}, diff=wanted)

    assert said["after"] == {"points": ["x"]}
    assert said.get("diff") == ({"before": {"points": []}, "after": {"points": ["x"]}} if wanted else None)


def test_nothing_to_do_does_not_hide_the_result(run: Callable[..., dict[str, Any]]) -> None:
    said = run(lambda host: {"changed": False, "skipped": "this is a secondary", "point": ""})

    assert "skipped" not in said and said["reason"] == "this is a secondary"
    assert said["msg"] == "nothing to do: this is a secondary"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_sentence_for_people_and_the_manifest_where_it_is_asked_for(
    run: Callable[..., dict[str, Any]], wanted: bool
) -> None:
    manifest = {"timestamp": "2026-01-02T03:04:05", "members": []}
    said = run(lambda host: {"changed": True, "manifest": manifest}, details=wanted)

    assert (said["msg"], said["timestamp"]) == ("done", "2026-01-02T03:04:05")
    assert said.get("manifest") == (manifest if wanted else None)


def test_a_difference_does_not_look_as_if_owner_and_limit_were_lost(run: Callable[..., dict[str, Any]]) -> None:
    old = {"owner": "shop", "connection_limit": 5, "size_bytes": 7}
    new = {"point": "x", "size_bytes": 8}
    said = run(lambda host: {"changed": True, "before": {"database": old}, "after": {"database": new}}, diff=True)

    assert said["diff"] == {"before": {"database": {"size_bytes": 7}}, "after": {"database": new}}
