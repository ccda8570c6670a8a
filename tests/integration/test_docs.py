# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documentation shows is what there is: its examples are read, run, and compared with what comes of them.

``docs/operate/restore-by-hand.md`` has a test of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.command import options as command_options
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks import keys
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer
from tests.servers.s3 import SwiftS3

Values = Callable[..., dict[str, Any]]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PREFIX = "govuk.env_sync.env_sync_"


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return what stands in the page's blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), re.M | re.S)
    return [block for name, block in found if name == language]


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table that has this cell as the head of its first column."""
    lines = text_of(page).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


# -- tasks and modules -------------------------------------------------------------------------------------------------


def faults(example: Any) -> Iterator[str]:
    """Check what an example in YAML shows of tasks and modules; yield ``ok`` for what is right, else what is wrong."""
    if isinstance(example, list):
        for step in example:
            yield from (
                _module_faults(name[len(PREFIX) :], step[name]) for name in step if str(name).startswith(PREFIX)
            )
    elif isinstance(example, dict):
        for name, value in example.items():
            if name in ("env_sync_tasks", "env_sync_s3_sync_tasks"):
                default = {"action": "s3_sync"} if name == "env_sync_s3_sync_tasks" else {}
                yield from (_task_faults({**default, **values}) for values in (value or {}).values())
            elif isinstance(value, dict) and "action" in value:
                yield _task_faults(value)
        if "storagebackend" in example:
            yield _task_faults({"action": "pull", "dbms": "postgresql", "database": "shop", **example})


def _task_faults(values: dict[str, Any]) -> str:
    try:
        Task.from_mapping(values)
    except EnvSyncError as error:
        return str(error)
    return "ok"


def _module_faults(module: str, options: dict[str, Any]) -> str:
    source = (ROOT / "plugins" / "modules" / f"env_sync_{module}.py").read_text(encoding="utf-8")
    known = set(re.findall(r"^  (\w+):$", source.partition("\noptions:\n")[2].partition('"""')[0], re.M))
    unknown = sorted(set(options) - known - set(keys.KEYS))
    return f"env_sync_{module} has no {', '.join(unknown)}" if unknown else "ok"


@pytest.mark.parametrize(
    ("page", "least"), [("stores/s3", 2), ("stores/rsync", 1), ("databases/files", 1), ("stores/s3_sync", 2)]
)
def test_examples_of_tasks_and_modules_are_valid(page: str, least: int) -> None:
    found = [fault for block in blocks(page, "yaml") for fault in faults(yaml.safe_load(block))]
    assert set(found) == {"ok"}
    assert len(found) >= least


def test_examples_of_modules_run_as_they_stand(s3_server: SwiftS3, tmp_path: Path) -> None:
    """Those that work on buckets alone, in one playbook; where the buckets are is said by the environment."""
    steps = [
        step
        for page in ("stores/s3", "stores/s3_sync")
        for block in blocks(page, "yaml")
        for step in yaml.safe_load(block)
        if isinstance(step, dict)
    ]
    assert [step.get("register") for step in steps] == [None, "synced"]
    results = tmp_path / "synced.json"
    steps.append({"ansible.builtin.copy": {"content": "{{ synced | to_json }}", "dest": str(results)}})
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    playbook = tmp_path / "playbook.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": here, "tasks": steps}
    playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
    (tmp_path / "ansible.cfg").touch()
    environment = {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
    }
    buckets = ("example-database-backups", "example-production-assets", "example-staging-assets")
    try:
        for name in buckets:
            s3_server.create_bucket(name)
        s3_server.client().put_object(Bucket="example-production-assets", Key="new", Body=b"new")
        s3_server.client().put_object(Bucket="example-staging-assets", Key="old", Body=b"old")
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory=localhost,", str(playbook)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        (staging,) = s3_server.client().list_objects_v2(Bucket="example-staging-assets")["Contents"]
    finally:
        for name in buckets:
            s3_server.delete_bucket(name)
    synced = json.loads(results.read_text())
    assert (staging["Key"], synced["copied"], synced["deleted"]) == ("new", 1, 1)
    named = re.search(r"register: synced +# (.*)", text_of("stores/s3_sync"))
    assert named is not None and set(named[1].split(", ")) <= set(synced)


# -- the command -------------------------------------------------------------------------------------------------------

#: runs the command with the folders of a host below the one that is its first argument
ON_A_HOST = (
    "import sys; from _engine.command import main as cli; root = sys.argv.pop(1); "
    "cli.CONF_ROOT, cli.LOG_ROOT = root + '/etc', root + '/var/log'; sys.exit(cli.main())"
)


class DocumentedHost:
    """The staging host of ``docs/operate/command.md``, on which everything happens on a terminal."""

    def __init__(self, folder: Path, production: PostgresServer, staging: PostgresServer) -> None:
        self.folder = folder
        self.conf = folder / "etc" / "govuk_env_sync"
        self.log = folder / "var" / "log" / "govuk_env_sync" / "govuk_env_sync.log"
        for made in (self.conf / "transformation_sql", self.log.parent, folder / "mnt" / "backups"):
            made.mkdir(parents=True)
        self._staging = staging
        (pull,) = blocks("operate/command", "sh")
        self.write("pull_users_nightly.cfg", self._reachable(pull, staging))
        push = pull.replace('action="pull"', 'action="push"').replace('transformation_sql_filename="users.sql"', "")
        self.write("push_users_nightly.cfg", self._reachable(push, production) + 'environment="production"\n')
        self.write("x.cfg", 'action="push"\nurl="$HOME"\n')
        self.write("transformation_sql/users.sql", "UPDATE users SET email = 'hidden';\n")

    def write(self, name: str, text: str) -> None:
        (self.conf / name).write_text(text, encoding="utf-8")

    def _reachable(self, config: str, server: PostgresServer) -> str:
        assert 'database_hostname="db-staging-1"' in config
        config = config.replace("db-staging-1", "127.0.0.1").replace("/mnt/backups", str(self.folder / "mnt/backups"))
        return f'{config}database_port="{server.port}"\nlogin_user="{server.superuser}"\n'

    def runs(self, command: str, password: str) -> list[str]:
        """Run a command line of the page on a terminal; return what the terminal showed, also what was rewritten."""
        name, *arguments = shlex.split(command.replace("/mnt/backups", str(self.folder / "mnt/backups")))
        assert name == "govuk_env_sync"
        argv = [sys.executable, "-c", ON_A_HOST, str(self.folder), *arguments]
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", shlex.join(argv), "/dev/null"],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.folder),
                "PGPASSWORD": password,
                "PYTHONPATH": str(ROOT / "plugins" / "module_utils"),
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        shown = re.split(r"[\r\n]+", done.stdout.decode())
        expected = {f"{name}: error": 1, f"{name}: warning": 3}
        assert done.returncode == max(expected.get(": ".join(line.split(": ")[:2]), 0) for line in shown), shown
        return self.alike(shown)

    def alike(self, lines: Iterable[str]) -> list[str]:
        """Return lines with all that differs from run to run taken out: addresses, times, sizes, numbers."""
        replacements = (
            (re.escape(str(self.folder)), ""),
            (rf"127\.0\.0\.1:{self._staging.port}", "db-staging-1:5432"),
            (r"(: dumping)(, .*)?$", r"\1"),  # what a short run has no time to say
            (r"_[0-9a-f]{8}\b", "_HASH"),
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", "TIME"),
            (r"\d+(\.\d+)? ([KMGT]i)?B\b", "SIZE"),
            (r"\d+(\.\d+)? (min \d+ s|ms|s)\b", "DURATION"),
            (r"\d+", "N"),
            (r" +", " "),
        )
        found = []
        for line in lines:
            text = line
            for pattern, instead in replacements:
                text = re.sub(pattern, instead, text)
            found.append(text.strip())
        return [line for line in found if line]


@pytest.fixture
def host(tmp_path: Path, production: PostgresServer, staging: PostgresServer, database: str) -> DocumentedHost:
    """That host; what the fixture ``database`` stands for is that the page's own one is dropped in the end."""
    sql = "CREATE TABLE users AS SELECT g AS id, 'user' || g AS email FROM generate_series(1, 1000) g"
    production.create_database("users", sql)
    staging.create_database("users", "CREATE TABLE old AS SELECT 1 AS n")
    return DocumentedHost(tmp_path, production, staging)


def missing(expected: list[str], shown: list[str]) -> list[str]:
    """Return which of the lines are not shown, or not in this order."""
    rest = iter(shown)
    return [line for line in expected if line not in rest]


def test_the_command_says_what_its_page_shows(
    host: DocumentedHost, production: PostgresServer, staging: PostgresServer
) -> None:
    host.runs("govuk_env_sync -f push_users_nightly -t 2026-01-01T00:00:00", production.password)
    shown: list[str] = []
    ran = 0
    for block in blocks("operate/command", "console"):
        # A block that begins with no command shows what the one before it said in the end.
        for part in re.split(r"^(?=\$ )", block, flags=re.M):
            first, *expected = part.splitlines() if part.startswith("$ ") else ["", *part.splitlines()]
            if first:
                if "--status" in first:
                    host.write("transformation_sql/users.sql", "UPDATE custmers SET email = 'hidden';\n")
                    host.runs("govuk_env_sync -f pull_users_nightly", staging.password)
                password = (production if "push" in first else staging).password
                shown = host.runs(first[2:], password)
                ran += 1
            assert missing(host.alike(expected), shown) == [], f"{first}: {shown}"
    assert ran == len(re.findall(r"^\$ ", text_of("operate/command"), re.M)) >= 8
    (log,) = blocks("operate/command", "text")
    logged = host.alike(host.log.read_text(encoding="utf-8").splitlines())
    assert [line for line in host.alike(log.splitlines()) if line not in logged] == []


def test_the_page_of_the_command_has_all_flags_with_a_letter() -> None:
    options = [option for group in command_options.OPTIONS.values() for option in group if option.short]
    expected = {(option.short, "--" + option.key.replace("_", "-"), option.key, option.also) for option in options}
    documented = set()
    for short, long, given in table("operate/command", "flag"):
        names = re.findall(r"`([^`]*)`", given)
        documented.add((short.strip("`"), long.strip("`"), *[*names, "", ""][:2]))
    assert documented == expected | {("-f", "--config", "", ""), ("-h", "--help", "", "")}


# -- the manifest ------------------------------------------------------------------------------------------------------


def test_the_page_of_the_manifest_names_every_key_and_every_member(
    production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, "CREATE TABLE t AS SELECT 1 AS n; SELECT lo_from_bytea(1, 'x') \\g /dev/null")
    manifest = push.push(Task.from_mapping(task_values("push", database)), Host())["manifest"]
    documented = {name for row in table("reference/manifest", "key") for name in re.findall(r"`([^`]*)`", row[0])}
    assert documented == set(manifest) | {"checksum"}

    for form, compression in (("custom", "zstd"), ("custom", "gzip")):
        others = {"format": form, "compression": compression, "path": f"postgresql/{compression}"}
        push.push(Task.from_mapping(task_values("push", database, **others)), Host())
    names = {
        re.sub(r"\d{4,}\.dat", "N.dat", str(path.relative_to(path.parents[1 if path.parent.name[:1] == "2" else 0])))
        for path in (tmp_path / "store").rglob("*")
        if path.is_file()
    }
    shown = {line.split()[0] for block in blocks("reference/manifest", "") for line in block.splitlines() if line}
    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-[a-z0-9_]+"
    assert {re.sub(r"\d{4,}\.dat", "N.dat", re.sub(when, "POINT", name)) for name in shown} == {
        re.sub(when, "POINT", name) for name in names
    }
