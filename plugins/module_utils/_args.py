# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between Ansible's modules and the engine: parameters in, results and errors out.

An option is written once here, with the rules that go with it, and its documentation once in
``doc_fragments/_options.py``, in groups of the same names.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Callable, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import (
    Cancelled,
    EnvSyncError,
    NoPoint,
    one_line,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.signals import Signals
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import default_conf_dir
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

#: where names of transformation files are looked up: in the folder of the command that is deployed on the host
CONF_DIR = default_conf_dir()

Options = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ArgumentSpec:
    """Options of a module, and the rules that go with them wherever they go: the fields are AnsibleModule's arguments.

    ``a | b`` has the options and the rules of both.
    """

    argument_spec: Options
    mutually_exclusive: tuple[tuple[str, ...], ...] = ()
    required_one_of: tuple[tuple[str, ...], ...] = ()
    required_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required_if: tuple[tuple[str, Any, tuple[str, ...]], ...] = ()

    def __or__(self, other: ArgumentSpec) -> ArgumentSpec:
        return ArgumentSpec(
            {**self.argument_spec, **other.argument_spec},
            (*self.mutually_exclusive, *other.mutually_exclusive),
            (*self.required_one_of, *other.required_one_of),
            {**self.required_by, **other.required_by},
            (*self.required_if, *other.required_if),
        )

    def arguments(self) -> dict[str, Any]:
        """Return what AnsibleModule takes, by the names of its arguments."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


NAME = ArgumentSpec({"name": {"type": "str"}})

DETAILS = ArgumentSpec({"details": {"type": "bool", "default": False}})

DATABASE = ArgumentSpec(
    {
        "dbms": {"type": "str", "required": True, "choices": [*keys.DBMS, *keys.OLD_DBMS]},
        "database": {"type": "str", "required": True},
        "directory": {"type": "path"},
        "indices": {"type": "list", "elements": "str"},
        "allow_special_files": {"type": "bool", "default": False},
    }
)

CONNECTION = ArgumentSpec(
    {
        "database_hostname": {"type": "str", "aliases": ["login_host"]},
        "database_port": {"type": "int", "aliases": ["login_port"]},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
    }
)

S3 = ArgumentSpec(
    {
        "endpoint_url": {"type": "str", "aliases": ["aws_endpoint_url", "s3_url"]},
        "region": {"type": "str", "aliases": ["aws_region"]},
        "profile": {"type": "str", "aliases": ["aws_profile"]},
        "access_key": {"type": "str", "no_log": False, "aliases": ["aws_access_key_id", "aws_access_key"]},
        "secret_key": {"type": "str", "no_log": True, "aliases": ["aws_secret_access_key", "aws_secret_key"]},
        "session_token": {"type": "str", "no_log": True, "aliases": ["aws_session_token"]},
        "validate_certs": {"type": "bool", "default": True},
        "aws_ca_bundle": {"type": "path"},
        "addressing_style": {"type": "str", "choices": list(keys.ADDRESSING_STYLES), "default": "auto"},
        "encryption_mode": {"type": "str", "choices": list(keys.ENCRYPTION_MODES)},
        "encryption_kms_key_id": {"type": "str", "no_log": False},
        "acl": {"type": "str"},
        "storage_class": {"type": "str"},
        "max_upload_parts": {"type": "int", "default": 10000},
    }
)

SSH = ArgumentSpec(
    {
        "ssh_port": {"type": "int"},
        "ssh_key_file": {"type": "path", "no_log": False},
        "ssh_known_hosts_file": {"type": "path"},
    }
)

ELASTIC = ArgumentSpec(
    {
        "api_key": {"type": "str", "no_log": True},
        "aws_sigv4": {"type": "bool", "default": False},
        "repository_type": {"type": "str"},
        "repository_settings": {"type": "dict"},
    }
)

STORE = ArgumentSpec(
    {
        "storagebackend": {"type": "str", "choices": [*keys.STORES, *keys.OLD_STORES]},
        "url": {"type": "str"},
        "path": {"type": "str"},
        **S3.argument_spec,
        **SSH.argument_spec,
    },
    required_by={"url": ("storagebackend",)},
)

RUN = ArgumentSpec(
    {
        "timestamp": {"type": "str"},
        "temppath": {"type": "path"},
        "jobs": {"type": "int", "default": 0},
        "lock_wait": {"type": "int", "default": 0},
    }
)

LOCKS = ArgumentSpec({"lock_timeout": {"type": "int", "default": 60}})

TIME = ArgumentSpec({"timezone": {"type": "str", "choices": list(keys.TIMEZONES), "default": "utc"}})

STATE = ArgumentSpec({"state_dir": {"type": "path"}})

#: what database and kind of server the points are of, where that may be left open
WHICH = ArgumentSpec(
    {
        "database": {"type": "str"},
        "dbms": {"type": "str", "choices": [*keys.DBMS, *keys.OLD_DBMS]},
    }
)

#: what every module has that works on points
COMMON = NAME | DETAILS | CONNECTION | ELASTIC | TIME | STATE

#: what a push and a pull have
TASK = COMMON | DATABASE | STORE | RUN | LOCKS

#: the options of env_sync_dump
PUSH = TASK | ArgumentSpec(
    {
        "action": {"type": "str", "choices": ["push"], "default": "push"},
        "dest": {"type": "path"},
        "pre_dump_transformation_sql_filename": {"type": "list", "elements": "str"},
        "may_change_nothing": {"type": "bool", "default": False},
        "excluded_tables": {"type": "list", "elements": "str"},
        "excluded_table_data": {"type": "list", "elements": "str"},
        "excluded_extensions": {"type": "list", "elements": "str"},
        "format": {"type": "str", "choices": list(keys.FORMATS), "default": "directory"},
        "compression": {"type": "str", "choices": list(keys.COMPRESSIONS), "default": "zstd"},
        "compression_level": {"type": "int"},
        "stall_timeout": {"type": "int", "default": 1800},
        "environment": {"type": "str"},
    },
    mutually_exclusive=(("url", "dest"),),
    required_one_of=(("url", "dest"),),
)

#: the options of env_sync_restore
PULL = TASK | ArgumentSpec(
    {
        "action": {"type": "str", "choices": ["pull"], "default": "pull"},
        "src": {"type": "path"},
        "transformation_sql_filename": {"type": "list", "elements": "str"},
        "sources": {"type": "list", "elements": "str"},
        "max_point_age": {"type": "str"},
        "require_sanitised": {"type": "bool", "default": False},
        "may_change_nothing": {"type": "bool", "default": False},
        "keep_foreign_servers": {"type": "bool", "default": False},
        "locale": {"type": "str"},
        "template_database": {"type": "str"},
        "excluded_extensions": {"type": "list", "elements": "str"},
        "excluded_objects": {"type": "list", "elements": "str"},
        "allow_restore_to_source": {"type": "bool", "default": False},
        "old_database": {"type": "str", "choices": list(keys.OLD_DATABASE), "default": "drop"},
        "restore_as": {"type": "str", "choices": list(keys.RESTORE_AS), "default": "alias"},
        "analyze": {"type": "bool", "default": True},
    },
    mutually_exclusive=(("url", "src"),),
    required_one_of=(("url", "src"),),
)

#: the options of env_sync_store that are keys of a task; with them it syncs buckets, for which a url means nothing:
#: a store's rule does not come with its options
UPKEEP = (
    COMMON
    | WHICH
    | ArgumentSpec(STORE.argument_spec)
    | RUN
    | ArgumentSpec(
        {
            "action": {"type": "str", "choices": list(keys.ACTIONS)},
            "source_bucket": {"type": "str"},
            "destination_bucket": {"type": "str"},
            "delete": {"type": "bool", "default": False},
        }
    )
)

#: the options of env_sync_info
INFO = COMMON | WHICH | STORE

#: the options of the module that does an action
OF_ACTIONS = {"push": PUSH.argument_spec, "pull": PULL.argument_spec, "s3_sync": UPKEEP.argument_spec}


def read_task(values: Mapping[str, Any], **fixed: Any) -> Task:
    """Return the task that a module's parameters describe.

    :param values: the module's parameters; those that a task does not have as a key are left out (aliases).
    :param fixed: keys that the module sets by itself.
    :raises EnvSyncError: names every fault at once.
    """
    known = {key: value for key, value in values.items() if key in keys.KEYS}
    return Task.from_mapping({**known, **fixed}, conf_dir=CONF_DIR)


def run(
    module: AnsibleModule,
    work: Callable[[Host], Mapping[str, Any]],
    sentence: Callable[[Mapping[str, Any]], str],
) -> None:
    """Do ``work``, and end the module with what it returns or with why it failed.

    :param sentence: says in one sentence what came of it, from what ``work`` returned.
    """
    warned: set[str] = set()

    def warn(text: str) -> None:
        if text not in warned:
            module.warn(text)
        warned.add(text)

    def log(level: str, text: str) -> None:
        text = one_line(text)
        module.log(f"{level}: {text}")
        if level == "warning":
            warn(text)

    with Signals() as signals:
        signals.tell = lambda why, seconds: _say_failure(f"running {module._name}: {why}")
        try:
            result = dict(work(Host(log=log, cancelled=signals.stop)))
        except Cancelled as error:
            if not signals.number:
                _fail(module, error)
            why = f"stopped by {signals.name}{signals.stop.left_behind()}"
            # As Ansible waits for an answer, it gets one; the exit status is that of the command.
            _say_failure(f"running {module._name}: {why}", doing=error.doing, why=why, hint="Run it again.")
            raise SystemExit(128 + signals.number) from None
        except EnvSyncError as error:
            _fail(module, error)
        except Exception as error:  # one line for the operator, also for what nobody thought of; the rest for a report
            text = one_line(f"running {module._name}: unexpected {type(error).__name__}: {error}")
            module.fail_json(msg=text, exception=traceback.format_exc())
    for text in result.pop("warnings", ()):
        warn(one_line(text))
    result["msg"] = one_line(f"nothing to do: {result['skipped']}" if result.get("skipped") else sentence(result))
    if "manifest" in result:
        manifest = result["manifest"] if module.params.get("details") else result.pop("manifest")
        result["timestamp"] = manifest["timestamp"]
    if "skipped" in result:
        # Ansible has a meaning of its own for that word: a task that was not run, whose result is not shown.
        result["reason"] = result.pop("skipped")
    if module._diff and "before" in result:
        result["diff"] = _difference(result["before"], result["after"])
    module.exit_json(**result)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``--diff`` shows: of a database that is replaced, only what is known of the new one too.

    The rest is not lost: what its owner and its limits were, they are.
    """
    old, new = before.get("database"), after.get("database")
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        before = {**before, "database": {key: value for key, value in old.items() if key in new}}
    return {"before": before, "after": after}


def _fail(module: AnsibleModule, error: EnvSyncError) -> NoReturn:
    more = {"no_point": True} if isinstance(error, NoPoint) else {}
    module.fail_json(msg=str(error), doing=error.doing, why=error.why, hint=error.hint, **more)


def _say_failure(message: str, **values: str) -> None:
    """Answer as ``fail_json`` does, and go on: the process may be about to end, with a status of its own."""
    os.write(1, (json.dumps({"failed": True, "changed": False, "msg": message, **values}) + "\n").encode())
