# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine on a host: a release in a directory of its own, the link to it, and the programs that start it."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shlex
import sys
from collections.abc import Iterator

from ansible_collections.govuk.env_sync.plugins.module_utils import _engine
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.declare import MANAGED, WRAPPER, Declaration
from ansible_collections.govuk.env_sync.plugins.module_utils._deploy.host import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import start as engine_start
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import main as engine_command
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host import reboot_lock as engine_reboot_lock
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.version import VERSION

#: imported so that they are here: what is deployed is what Ansible brought along, and it brings what is imported
DEPLOYED = (engine_start, engine_command, engine_reboot_lock)


def release(wanted: Declaration) -> Iterator[Entry]:
    """The engine's files below a folder that is called after its version and content, and the link ``current``."""
    sources = engine_sources()
    digest = hashlib.sha256()
    for path, content in sources:
        digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    name = f"{VERSION}-{digest.hexdigest()[:12]}"
    base = os.path.join(wanted.lib_dir, name)
    yield Entry(wanted.lib_dir, 0o755)
    yield Entry(base, 0o755, bulk=True)
    for folder in sorted({os.path.dirname(path) for path, _content in sources}):
        yield Entry(os.path.join(base, folder), 0o755, bulk=True)
    for path, content in sources:
        yield Entry(os.path.join(base, path), 0o644, content, bulk=True)
    # The link last: a task that starts meanwhile finds the old release or the new one, whole.
    yield Entry(os.path.join(wanted.lib_dir, "current"), 0o777, target=name)


def launchers(wanted: Declaration) -> Iterator[Entry]:
    """The host's command, also by the name that the original had, and the program that holds the reboot lock."""
    yield Entry(wanted.command, 0o755, _launcher(wanted, "command").encode())
    yield Entry(f"{wanted.command}.sh", 0o777, target=wanted.name)
    yield Entry(f"/usr/local/bin/{WRAPPER}", 0o755, _launcher(wanted, "reboot_lock").encode())


def _launcher(wanted: Declaration, program: str) -> str:
    python = shlex.quote(wanted.given["python"] or sys.executable)
    start = os.path.join(wanted.lib_dir, "current", "_engine", "start.py")
    return (
        f"#!/bin/sh\n{MANAGED}ENV_SYNC_NAME={wanted.name}\nexport ENV_SYNC_NAME\n"
        f'exec {python} -I -B {start} {program} "$@"\n'
    )


def engine_sources() -> list[tuple[str, bytes]]:
    """Return the engine's files, sorted: path below the release, and content; the very code that this module runs.

    :raises EnvSyncError: a module's source can't be read.
    """
    found = [("_engine/__init__.py", _source(_engine.__name__, "__init__.py"))]
    prefix = f"{_engine.__name__}."
    for item in pkgutil.walk_packages(_engine.__path__, prefix):
        parts = item.name[len(prefix) :].split(".")
        folder = parts if item.ispkg else parts[:-1]
        file = "__init__.py" if item.ispkg else f"{parts[-1]}.py"
        package = ".".join([_engine.__name__, *folder])
        found.append(("/".join(["_engine", *folder, file]), _source(package, file)))
    return sorted(found)


def _source(package: str, file: str) -> bytes:
    data = pkgutil.get_data(package, file)
    if data is None:
        raise EnvSyncError(f"reading {package}/{file}", "the engine's source is not here", "Report this as a bug.")
    return data
