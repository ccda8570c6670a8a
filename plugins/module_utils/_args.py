# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between Ansible's modules and the engine: parameters in, results and errors out.

An option is written once here, and its documentation once in ``doc_fragments/_options.py``, in groups of the same
names.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from typing import Any, Callable, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import task as engine
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.config import default_conf_dir
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import Cancelled, EnvSyncError, one_line
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.signals import Signals
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.task import Task

#: where names of transformation files are looked up: in the folder of the command that is deployed on the host
CONF_DIR = default_conf_dir()

Spec = dict[str, dict[str, Any]]

#: what a task declared in inventory has beside its parameters: it can be given to a module as it stands
DECLARED: Spec = {
    "name": {"type": "str"},
    "ensure": {"type": "str", "choices": ["present", "disabled"]},
    "hour": {"type": "str"},
    "minute": {"type": "str"},
    "freshness": {"type": "int"},
    "become_user": {"type": "str"},
}

DATABASE: Spec = {
    "dbms": {"type": "str", "required": True, "choices": [*engine.DBMS, *engine.OLD_DBMS]},
    "database": {"type": "str", "required": True},
    "directory": {"type": "path"},
    "indices": {"type": "list", "elements": "str"},
    "allow_special_files": {"type": "bool", "default": False},
}

CONNECTION: Spec = {
    "database_hostname": {"type": "str", "aliases": ["login_host"]},
    "database_port": {"type": "int", "aliases": ["login_port"]},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
}

S3: Spec = {
    "endpoint_url": {"type": "str", "aliases": ["aws_endpoint_url", "s3_url"]},
    "region": {"type": "str", "aliases": ["aws_region"]},
    "profile": {"type": "str", "aliases": ["aws_profile"]},
    "access_key": {"type": "str", "no_log": False, "aliases": ["aws_access_key_id", "aws_access_key"]},
    "secret_key": {"type": "str", "no_log": True, "aliases": ["aws_secret_access_key", "aws_secret_key"]},
    "session_token": {"type": "str", "no_log": True, "aliases": ["aws_session_token"]},
    "validate_certs": {"type": "bool", "default": True},
    "aws_ca_bundle": {"type": "path"},
    "addressing_style": {"type": "str", "choices": list(engine.ADDRESSING_STYLES), "default": "auto"},
    "encryption_mode": {"type": "str", "choices": list(engine.ENCRYPTION_MODES)},
    "encryption_kms_key_id": {"type": "str", "no_log": False},
    "acl": {"type": "str"},
    "storage_class": {"type": "str"},
    "max_upload_parts": {"type": "int", "default": 10000},
}

SSH: Spec = {
    "ssh_port": {"type": "int"},
    "ssh_key_file": {"type": "path", "no_log": False},
    "ssh_known_hosts_file": {"type": "path"},
}

ELASTIC: Spec = {
    "api_key": {"type": "str", "no_log": True},
    "aws_sigv4": {"type": "bool", "default": False},
    "repository_type": {"type": "str"},
    "repository_settings": {"type": "dict"},
}

STORE: Spec = {
    "storagebackend": {"type": "str", "choices": [*engine.STORES, *engine.OLD_STORES]},
    "url": {"type": "str"},
    "path": {"type": "str"},
    **S3,
    **SSH,
}

RUN: Spec = {
    "timestamp": {"type": "str"},
    "temppath": {"type": "path"},
    "jobs": {"type": "int", "default": 0},
    "lock_wait": {"type": "int", "default": 0},
}

TIME: Spec = {"timezone": {"type": "str", "choices": list(engine.TIMEZONES), "default": "utc"}}

STATE: Spec = {"state_dir": {"type": "path"}}


def read_task(values: Mapping[str, Any], **fixed: Any) -> Task:
    """Return the task that a module's parameters describe.

    :param values: the module's parameters; what is no key of a task (aliases, a module's own options) is left out.
    :param fixed: keys that the module sets by itself.
    :raises EnvSyncError: names every fault at once.
    """
    known = {key: value for key, value in values.items() if key in engine.KEYS}
    return Task.from_mapping({**known, **fixed}, conf_dir=CONF_DIR)


def run(module: AnsibleModule, work: Callable[[Host], Mapping[str, Any]]) -> None:
    """Do ``work``, and end the module with what it returns or with why it failed."""
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
    if "skipped" in result:
        # Ansible has a meaning of its own for that word: a task that was not run, whose result is not shown.
        result["reason"] = result.pop("skipped")
    if module._diff and "before" in result:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


def _fail(module: AnsibleModule, error: EnvSyncError) -> NoReturn:
    module.fail_json(msg=str(error), doing=error.doing, why=error.why, hint=error.hint)


def _say_failure(message: str, **values: str) -> None:
    """Answer as ``fail_json`` does, and go on: the process may be about to end, with a status of its own."""
    os.write(1, (json.dumps({"failed": True, "changed": False, "msg": message, **values}) + "\n").encode())
