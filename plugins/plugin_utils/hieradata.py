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
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.inventory import declared
from ansible_collections.govuk.env_sync.plugins.plugin_utils import migration

#: what is read, and what it is called here
KEYS = migration.TASKS

#: how the files of a folder of hieradata end
EXTENSIONS = (".yaml", ".yml", ".eyaml")


class Loader(yaml.SafeLoader):
    """YAML that refuses a key which is there twice: the first one's tasks would go unnoticed."""

    def flatten_mapping(self, node):
        # Before the merge keys (<<) are resolved: keys that those bring may be given again.
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
    return _tasks(path, _load(path))


def _load(path):
    """Return what a file of hieradata holds."""
    doing = f"reading the hieradata {path}"
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader=Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise AnsibleLookupError(f"{doing}: {error}") from None  # Ansible would say it again as the cause
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise AnsibleLookupError(f"{doing}{where}: {getattr(error, 'problem', error)}") from None


def _tasks(path, data):
    doing = f"reading the hieradata {path}"
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
    """Return what becomes of the hieradata files that concern the original, one mapping for each.

    :param patterns: files, with ``*`` and ``?`` as wildcards, or folders, of which all files are meant; one text may
        have several, with commas between them. A relative one begins in the directory that the caller is in.

    ``source`` and ``dest`` are absolute paths; ``origin`` is the source's name and folder, wherever these are; ``dest``
    is empty where the file declares no tasks. ``content`` is that of the new file, ``counts`` is how many tasks have
    which ``ensure``, ``scripts`` names the transformation files, ``examples`` the shipped scripts to adapt,
    ``findings`` says what is not brought along (:mod:`.migration`); ``faults`` and ``obstacle`` say why it can't be, or
    are empty: a file that is not there or can't be read has faults too. ``differs`` is whether ``dest`` is there and
    has other content.
    """
    inventory_dir = os.path.abspath(os.path.expanduser(inventory_dir))
    paths, missing = _paths(patterns)
    found = [_faulty(given, f"there is no such file or folder (from {os.getcwd()})") for given in missing]
    datas = {}
    for path in paths:
        try:
            data = _load(path) if migration.mentions(_read(path)) else None
            if isinstance(data, dict):
                found.append(_variables(path, data, inventory_dir, kind))
                datas[path] = data
        except AnsibleLookupError as error:
            found.append(_faulty(path, str(error)))
    sources = {}
    for item in found:
        other = sources.setdefault(item["dest"], item["source"]) if item["dest"] else item["source"]
        if other != item["source"]:
            item["obstacle"] = (
                f"{item['dest']} would be of both {other} and {item['source']}: import one environment's folder at "
                "a time."
            )
    if any(item["counts"]["present"] or item["counts"]["disabled"] for item in found):
        findings = migration.merged(migration.of_every_task(datas.values()))
        found.append({**_faulty("every file", ""), "findings": findings})
    return found


def _faulty(source, faults):
    """Return what becomes of a source that nothing can be imported from, with why."""
    return {
        **_variables(source, {}, "", ""),
        "faults": faults.removeprefix(f"reading the hieradata {source}").strip(":, "),
    }


def _paths(patterns):
    """Return the files that are meant, each once, and the patterns that mean none."""
    found = set()
    missing = []
    for given in _named(patterns):
        pattern = os.path.abspath(os.path.expanduser(given))
        if os.path.isdir(pattern):
            for folder, _folders, names in os.walk(pattern):
                found.update(os.path.join(folder, name) for name in names if name.endswith(EXTENSIONS))
            continue
        files = {path for path in (pattern, *glob.glob(pattern)) if os.path.isfile(path)}
        found |= files
        missing += [] if files else [given]
    return sorted(found), missing


def _named(patterns):
    """Yield each pattern: several in one text are taken apart, unless a file is called so."""
    for given in map(str, patterns):
        whole = not given or os.path.exists(os.path.expanduser(given))
        yield from [given] if whole else filter(None, (part.strip() for part in given.split(",")))


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError as error:
        raise AnsibleLookupError(f"reading {path}: {error.strerror}") from None


def _variables(path, data, inventory_dir, kind):
    declares = bool(set(data) & set(KEYS))
    found = _tasks(path, data) if declares else {name: {} for name in KEYS.values()}
    folder = os.path.join(inventory_dir, kind, os.path.splitext(os.path.basename(path))[0])
    tasks = [values for named in found.values() for values in named.values() if isinstance(values, dict)]
    ensures = [str(values.get("ensure") or "present") for values in tasks]
    findings = [*migration.of_parameters(data), *migration.of_tasks(found["tasks"], found["s3_sync_tasks"])]
    dest, content = os.path.join(folder, "env_sync.yml"), _content(path, found)
    return {
        "source": path,
        "origin": _origin(path),
        "dest": dest if declares else "",
        "content": content,
        "counts": {ensure: ensures.count(ensure) for ensure in ("present", "disabled", "absent")},
        "scripts": sorted({name for values in tasks for name in _scripts(values)}),
        "examples": migration.examples(found["tasks"]),
        "findings": migration.merged(findings),
        "faults": _faults(found),
        "obstacle": _obstacle(folder) if declares else "",
        "differs": declares and os.path.exists(dest) and _read(dest) != content,
    }


def _content(path, found):
    values = {f"env_sync_{name}": tasks for name, tasks in found.items() if tasks}
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n# Imported from the hieradata {_origin(path)}, and yours from now on.\n{text}"


def _origin(path):
    """Return a file's name and its folder's: where the caller has these is nobody else's business."""
    return "/".join(path.split("/")[-2:])


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: values that the source shares between tasks are written out for each."""

    def ignore_aliases(self, data):
        return True


def _scripts(values):
    for key in ("transformation_sql_filename", "pre_dump_transformation_sql_filename"):
        yield from migration.script_names(values.get(key))


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
