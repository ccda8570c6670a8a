# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puppet's hieradata: the tasks that it declares, and the inventory's variables that these become."""

from __future__ import annotations

import glob
import os

import yaml
from ansible.errors import AnsibleLookupError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.inventory import declared

#: what is read, and what it is called here
KEYS = {"govuk_env_sync::tasks": "tasks", "govuk_env_sync::s3_sync_tasks": "s3_sync_tasks"}


class Loader(yaml.SafeLoader):
    """YAML that refuses a key which is there twice: the first one's tasks would go unnoticed."""

    def flatten_mapping(self, node):
        # Before the merge keys (<<) are resolved: what those bring may be said again.
        seen = {}
        for key, _value in node.value:
            line = seen.setdefault(key.value, key.start_mark.line) if isinstance(key, yaml.ScalarNode) else None
            if line is not None and line != key.start_mark.line and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is there twice, first in line {line + 1}", key.start_mark
                )
        super().flatten_mapping(node)


def read(path):
    """Return what a file declares: ``tasks`` and ``s3_sync_tasks``, each a mapping from title to keys."""
    doing = f"reading the hieradata {path}"
    try:
        with open(path, encoding="utf-8") as stream:
            data = yaml.load(stream, Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise AnsibleLookupError(f"{doing}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise AnsibleLookupError(f"{doing}{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(data, dict) or not set(data) & set(KEYS):
        raise AnsibleLookupError(f"{doing}: there is neither {' nor '.join(KEYS)} in it")
    found = {}
    for key, name in KEYS.items():
        tasks = data.get(key)
        if tasks is not None and not isinstance(tasks, dict):
            raise AnsibleLookupError(f"{doing}: {key} is no mapping from titles to keys")
        found[name] = {str(title): values for title, values in (tasks or {}).items()}
    return found


class Anything:
    """A collection that has whatever is looked for."""

    def __contains__(self, name):
        return True


def variables(patterns, inventory_dir, kind):
    """Return what becomes of the hieradata files that match and declare tasks, one mapping for each.

    ``source`` and ``dest`` are paths, ``content`` is that of the new file, ``counts`` is how many tasks have which
    ``ensure``, ``scripts`` names the transformation files, ``faults`` and ``obstacle`` say why it can't be, or are
    empty; ``differs`` is whether ``dest`` is there and has other content.
    """
    paths = sorted({path for pattern in patterns for path in glob.glob(os.path.expanduser(pattern))})
    return [_variables(path, inventory_dir, kind) for path in paths if _declares(path)]


def _declares(path):
    """Say whether it is worth reading: others in the same directory may be no concern of ours, or no YAML."""
    return any(line.strip("\"' ").startswith(tuple(KEYS)) for line in _read(path).splitlines())


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError as error:
        raise AnsibleLookupError(f"reading {path}: {error.strerror}") from error


def _variables(path, inventory_dir, kind):
    found = read(path)
    folder = os.path.join(inventory_dir, kind, os.path.splitext(os.path.basename(path))[0])
    tasks = [values for named in found.values() for values in named.values() if isinstance(values, dict)]
    ensures = [str(values.get("ensure") or "present") for values in tasks]
    dest, content = os.path.join(folder, "env_sync.yml"), _content(path, found)
    return {
        "source": path,
        "dest": dest,
        "content": content,
        "counts": {ensure: ensures.count(ensure) for ensure in ("present", "disabled", "absent")},
        "scripts": sorted({name for values in tasks for name in _scripts(values)}),
        "faults": _faults(found),
        "obstacle": _obstacle(folder),
        "differs": os.path.exists(dest) and _read(dest) != content,
    }


def _content(path, found):
    values = {f"env_sync_{name}": tasks for name, tasks in found.items() if tasks}
    origin = "/".join(os.path.abspath(path).split("/")[-2:])
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n# Imported from the hieradata {origin}, and yours from now on.\n{text}"


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: what the source says once for several tasks is said of each."""

    def ignore_aliases(self, data):
        return True


def _scripts(values):
    for key in ("transformation_sql_filename", "pre_dump_transformation_sql_filename"):
        names = values.get(key) or ""
        names = names if isinstance(names, list) else str(names).split(",")
        yield from filter(None, (str(name).strip() for name in names))


def _faults(found):
    try:
        declared(found["tasks"], found["s3_sync_tasks"], "/nonexistent", scripts=Anything())
    except EnvSyncError as error:
        return error.why
    return ""


def _obstacle(folder):
    """Ansible reads a directory of variables instead of a file of the same name, and would not read that any more."""
    if not os.path.isdir(folder):
        for path in (folder, *(f"{folder}.{extension}" for extension in ("yml", "yaml", "json"))):
            if os.path.exists(path):
                return f"{path} would not be read any more: move it to {folder}/main.yml first."
    return ""
