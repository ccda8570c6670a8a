# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every key of every action that can be deployed is one that the action's module takes, and means the same there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.govuk.env_sync.plugins.filter.task_options import task_options
from ansible_collections.govuk.env_sync.plugins.module_utils import _args
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import declared
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

#: values that some keys take; the others take a word, a number, an absolute path, or a truth
VALUES = {
    **dict.fromkeys(("hour", "minute", "day", "month", "weekday", "ssh_port", "max_upload_parts", "jobs"), "1"),
    "ensure": "disabled",
    "dbms": "mysql",
    "freshness": "3600",
    "become_user": "root",
    "storagebackend": "s3",
    "max_upload_parts": "20",
    "timestamp": "2026-01-02T03:04",
    "repository_settings": "chunk_size=1gb,readonly=true",
    "excluded_objects": "FUNCTION public.f(integer, text), TABLE public.old",
    "transformation_sql_file": "a.sql, b.sql",
    "excluded_tables": "public.a, public.b",
}
CHOICES = (
    *(keys.FORMATS[1], keys.COMPRESSIONS[1], keys.TIMEZONES[1], keys.OLD_DATABASE[1], keys.RESTORE_AS[1]),
    *(keys.ADDRESSING_STYLES[1], keys.ENCRYPTION_MODES[1]),
)


def value(key: str) -> str:
    """Return a value that a key takes."""
    for text in (VALUES.get(key, "word"), "/srv/word", "true", "12", *CHOICES):
        try:
            keys.KEYS[key](text)
        except ValueError:
            continue
        return text
    raise AssertionError(f"no value for {key} here: add one to VALUES")


class Everything:
    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


def base(action: str, key: str) -> dict[str, str]:
    dbms = "files" if key == "directory" and action != "s3_sync" else keys.ONLY_FOR.get(key, ("postgresql",))[0]
    found = {"action": action, "hour": "1", "minute": "2", "dbms": dbms, "database": "shop"}
    if action == "s3_sync":
        return {**found, "source_bucket": "a", "destination_bucket": "b"}
    return found if key == {"push": "dest", "pull": "src"}[action] else {**found, "storagebackend": "s3", "url": "u"}


@pytest.mark.parametrize("action", keys.ACTIONS)
@pytest.mark.parametrize("key", keys.KEYS)
def test_what_can_be_deployed_can_be_planned(action: str, key: str) -> None:
    values = {**base(action, key), **({} if key in ("action", "name") else {key: value(key)})}
    try:
        (deployed,) = declared({"t": values}, {}, _args.CONF_DIR, scripts=Everything())
        meant = deployed.task
    except EnvSyncError as error:
        assert key in keys.SECRETS, str(error)  # those come from elsewhere, and are the module's options all the same
        meant = Task.from_mapping({name: text for name, text in values.items() if name in keys.KEYS}, "t")

    done = ArgumentSpecValidator(_args.OF_ACTIONS[action]).validate(task_options({"t": values}, "t"))
    assert done.error_messages == []
    options = done.validated_parameters
    planned = _args.read_task(options)
    for field in dataclasses.fields(Task):
        name = {"transformation_sql": "transformation_sql_filename"}.get(field.name, field.name)
        name = {"pre_dump_transformation_sql": "pre_dump_transformation_sql_filename"}.get(name, name)
        if name in options or name in ("connection", "s3", "ssh", "elastic"):
            assert getattr(planned, field.name) == getattr(meant, field.name), field.name


def test_a_key_that_some_module_has_is_the_only_kind_that_is_left_out() -> None:
    found = task_options({"t": {"action": "push", "locale": "C", "lokale": "C", "url": "", "jobs": None}}, "t")
    assert found == {"action": "push", "lokale": "C", "name": "t"}
