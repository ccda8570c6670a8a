# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules and playbooks, run by Ansible as an operator would, on real servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import push
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

SAMPLE = """
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL);
INSERT INTO customers (email) SELECT 'user' || g || '@example.com' FROM generate_series(1, 2000) g;
CREATE TABLE audit (id serial PRIMARY KEY, what text);
INSERT INTO audit (what) SELECT md5(g::text) FROM generate_series(1, 2000) g;
"""
SANITISE = "UPDATE customers SET email = 'user' || id || '@staging.invalid'; TRUNCATE audit;"

Values = Callable[..., dict[str, Any]]


@dataclass
class Done:
    """How a program of Ansible's ended; ``result`` is what the module returned, where one was run."""

    status: int
    said: str
    result: dict[str, Any]


class Ansible:
    """Ansible, with this machine as every host, and nothing of the user's own configuration."""

    def __init__(self, folder: Path, collections: str = "") -> None:
        self.folder = folder
        (folder / "ansible.cfg").touch()
        self.env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(folder / "ansible"),
            "ANSIBLE_ASYNC_DIR": str(folder / "async"),
            "ANSIBLE_NOCOWS": "1",
            "ANSIBLE_NOCOLOR": "1",
        }
        if collections:
            self.env["ANSIBLE_COLLECTIONS_PATH"] = collections
        self._here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

    def module(self, name: str, values: dict[str, Any], *options: str, **env: str) -> Done:
        """Run one module ad hoc."""
        name = name if "." in name else f"govuk.env_sync.{name}"
        here = [f"--extra-vars={json.dumps(self._here)}", "--inventory=localhost,", "localhost"]
        done = self.run("ansible", *here, "--module-name", name, "--args", json.dumps(values), *options, **env)
        answer = done.said.partition(" => ")[2]
        done.result = json.JSONDecoder().raw_decode(answer)[0] if answer.startswith("{") else {}
        return done

    def playbook(self, name: str, hosts: dict[str, dict[str, Any]], *options: str, **env: str) -> Done:
        """Run a playbook: one of the collection's, or a path."""
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": self._here}}), encoding="utf-8")
        return self.run("ansible-playbook", "--inventory", str(inventory), name, *options, **env)

    def run(self, program: str, *arguments: str, **env: str) -> Done:
        done = subprocess.run(
            [str(BIN / program), *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=100,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        print(said)
        return Done(done.returncode, said, {})


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def of_store(values: dict[str, Any]) -> dict[str, Any]:
    """Return what env_sync_store and env_sync_info take of a task."""
    return {key: values[key] for key in ("database", "storagebackend", "url", "path", "state_dir")}


def test_a_push_is_listed_planned_and_pulled(
    ansible: Ansible,
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
) -> None:
    production.create_database(database, SAMPLE)
    staging.create_database(database, "CREATE TABLE customers (id int, email text)")
    script = tmp_path / "sanitise.sql"
    script.write_text(SANITISE, encoding="utf-8")
    pull = task_values("pull", database, transformation_sql_filename=str(script), require_sanitised=True)

    planned = ansible.module("env_sync_dump", task_values("push", database), "--check", "--diff")
    nothing = ansible.module("env_sync_info", of_store(pull))
    pushed = ansible.module("env_sync_dump", task_values("push", database, environment="production", details=True))
    listed = ansible.module("env_sync_info", {**of_store(pull), "details": True})
    checked = ansible.module("env_sync_restore", pull, "--check", "--diff")
    before = staging.psql(database, "SELECT count(*) FROM customers")
    pulled = ansible.module("env_sync_restore", pull)

    point = pushed.result["point"]
    assert planned.result["changed"] and planned.result["facts"]["tables"] == 2
    assert '+    "points": [' in planned.said
    assert nothing.result["points"] == [] and not nothing.result["changed"]
    assert pushed.result["changed"] and pushed.result["after"] == {"points": [point]}
    assert pushed.result["durations"]["total"] > 0 and pushed.result["rate"] > 0
    (shown,) = listed.result["points"]
    assert (shown["name"], shown["state"], shown["environment"]) == (point, "complete", "production")
    assert shown["manifest"] == pushed.result["manifest"]
    assert checked.result["changed"] and checked.result["replaces"]["owner"] == "postgres"
    assert any("scratch" in step for step in checked.result["steps"])
    assert f'+        "point": "{point}"' in checked.said and '-        "owner"' not in checked.said
    assert planned.result["msg"].startswith("would push 20") and "manifest" not in pulled.result
    assert checked.result["msg"] == f"would pull {point} into {database}"
    assert pushed.result["msg"].startswith(f"pushed {point} to ") and pushed.result["timestamp"] == point[:19]
    assert pulled.result["msg"].startswith(f"pulled {point} into {database}: ")
    assert listed.result["msg"].startswith(f"1 point in {pushed.result['store']}; the last runs of ")
    assert before == "0"
    assert pulled.result["replaced"]["owner"] == "postgres" and pulled.result["name_away_seconds"] < 1
    assert pulled.result["sanitised"][0]["script"] == "sanitise.sql"
    assert staging.psql(database, "SELECT count(*), min(email) FROM customers") == "2000|user1000@staging.invalid"
    assert staging.psql(database, "SELECT count(*) FROM audit") == "0"


def test_module_and_engine_store_the_same(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, SAMPLE)
    values = task_values("push", database)

    by_engine = push.push(Task.from_mapping({**values, "timestamp": "2026-01-01T00:00:00"}), Host())
    by_module = ansible.module("env_sync_dump", {**values, "timestamp": "2026-01-01T00:00:01", "details": True})

    def data(manifest: dict[str, Any]) -> dict[str, str]:
        # toc.dat holds the time of the dump
        members = {member["name"].partition("/")[2]: member["sha256"] for member in manifest["members"]}
        return without(members, *[name for name in members if name.startswith("toc.dat")])

    def rest(manifest: dict[str, Any]) -> dict[str, Any]:
        # The server may tidy a database up, and make it larger, at any moment.
        details = without(manifest["details"], "size_bytes", "largest_table_bytes")
        moment = ("members", "timestamp", "started", "finished", "stored_bytes", "peak_temporary_bytes")
        return {**without(manifest, *moment), "details": details}

    assert len(data(by_engine["manifest"])) >= 2
    assert data(by_module.result["manifest"]) == data(by_engine["manifest"])
    assert rest(by_module.result["manifest"]) == json.loads(json.dumps(rest(by_engine["manifest"])))


def test_a_failure_is_one_line_in_three_parts(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "psycopg2.py").write_text("raise ImportError('hidden')\n", encoding="utf-8")
    dump = task_values("push", database)

    absent = ansible.module("env_sync_dump", dump)
    wrong = ansible.module("env_sync_dump", {**dump, "timestamp": "yesterday", "jobs": 999}, "--check")
    library = ansible.module("env_sync_dump", dump, PYTHONPATH=str(hidden))
    nowhere = ansible.module("env_sync_store", {**of_store(dump), "operation": "sweep", "url": "/nonexistent"})
    half = ansible.module("env_sync_dump", without(dump, "storagebackend"))
    other = ansible.module("env_sync_restore", dump)

    for done in (absent, wrong, library, nowhere):
        assert done.status != 0
        assert done.result["msg"].count("\n") == 0 and "Traceback" not in done.said
        assert done.result["msg"].startswith(f"{done.result['doing']}: {done.result['why'].rstrip('.')}")
    assert absent.result["why"] == f"there is no database {database}"
    assert "timestamp must" in wrong.result["msg"] and "jobs must be from 0 to 64" in wrong.result["msg"]
    assert "Install psycopg2" in library.result["hint"]
    assert nowhere.result["why"] == "there is no such directory"
    assert "storagebackend" in half.result["msg"]
    assert "value of action must be one of: pull, got: push" in other.result["msg"]


def test_a_password_is_shown_nowhere(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    values = task_values("push", database, database_hostname="127.0.0.1", login_password=production.password)

    good = ansible.module("env_sync_dump", values, "-vvv")
    bad = ansible.module("env_sync_dump", {**values, "login_password": "not-this-one"}, "-vvv")

    assert good.status == 0 and bad.status != 0 and "authentication failed" in bad.said
    assert production.password not in good.said and "not-this-one" not in bad.said
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 3
    assert [path for path in kept if production.password.encode() in path.read_bytes()] == []


def test_a_detached_run_can_be_watched(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    slow = tmp_path / "slow.sql"
    slow.write_text("SELECT pg_sleep(4)", encoding="utf-8")
    values = task_values("push", database, name="watched", pre_dump_transformation_sql_filename=[str(slow)])
    watch = {"name": "watched", "state_dir": values["state_dir"]}

    started = ansible.module("env_sync_dump", values, "--background=60", "--poll=0")
    seen = []
    deadline = time.monotonic() + 30
    while not any(status["state"] == "done" for status in seen) and time.monotonic() < deadline:
        seen += ansible.module("env_sync_info", watch).result["statuses"]
    ended = ansible.module("ansible.builtin.async_status", {"jid": started.result["ansible_job_id"]})

    assert [status["state"] for status in (seen[0], seen[-1])] == ["running", "done"]
    assert seen[0]["phase"] == "running the pre-dump SQL" and seen[0]["point"].endswith(database)
    assert seen[-1]["message"].startswith("stored ")
    assert ended.result["finished"] and ended.result["point"].endswith(f"-{database}")


def test_points_are_verified_copied_and_pruned(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    (tmp_path / "elsewhere").mkdir()
    for day in ("01", "02", "03"):
        push.push(Task.from_mapping(task_values("push", database, timestamp=f"2026-01-{day}T00:00")), Host())
    store = of_store(task_values("push", database))
    copy = {"operation": "copy", "timestamp": "2026-01-01T00:00"}
    copy["destination"] = {"storagebackend": "directory", "url": str(tmp_path / "elsewhere")}
    prune = {"operation": "prune", "keep": 1}
    verify = {"operation": "verify", "dbms": "postgresql"}

    def does(values: dict[str, Any], *options: str) -> dict[str, Any]:
        return ansible.module("env_sync_store", {**store, **values}, *options).result

    good = does(verify)
    copies = [does(copy, "--check"), does(copy), does(copy)]
    there = ansible.module("env_sync_info", {"storagebackend": "directory", "url": str(tmp_path / "elsewhere")}).result
    prunes = [does(prune, "--check"), does(prune), does(prune)]
    left = ansible.module("env_sync_info", store).result
    member = next(tmp_path.glob("elsewhere/*/*.dat*"))
    member.write_bytes(member.read_bytes()[:-1])
    damaged = does({**verify, "url": str(tmp_path / "elsewhere"), "path": ""})
    swept = does({"operation": "sweep"})

    assert good["point"] == f"2026-01-03T00:00:00-{database}" and not good["changed"]
    assert [done["changed"] for done in copies] == [True, True, False]
    assert copies[1]["timestamp"] == "2026-01-01T00:00:00"
    assert "is good: " in good["msg"]
    assert copies[0]["msg"].startswith(f"would copy 2026-01-01T00:00:00-{database} from ")
    assert prunes[1]["msg"].startswith("removed from ")
    assert [point["name"] for point in there["points"]] == [f"2026-01-01T00:00:00-{database}"]
    assert [done["changed"] for done in prunes] == [True, True, False]
    assert prunes[0]["removed"] == prunes[1]["removed"] == [f"2026-01-0{day}T00:00:00-{database}" for day in (1, 2)]
    assert [point["name"] for point in left["points"]] == [good["point"]]
    assert member.name in damaged["msg"]
    assert not swept["changed"] and swept["reason"] == "there are no old interrupted pushes"


def test_a_playbook_with_group_defaults_and_local_directories(
    ansible: Ansible,
    production: PostgresServer,
    staging: PostgresServer,
    database: str,
    task_values: Values,
    tmp_path: Path,
) -> None:
    production.create_database(database, SAMPLE)
    (tmp_path / "local").mkdir()
    push_task = without(task_values("push", database), "storagebackend", "url", "path", "database", "state_dir")
    pull_task = without(task_values("pull", database), "storagebackend", "url", "path", "database", "state_dir")
    place = {"url": "{{ omit }}", "storagebackend": "{{ omit }}"}
    local = str(tmp_path / "local")
    play = {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": {"group/govuk.env_sync.env_sync": of_store(task_values("push", database))},
        "tasks": [
            {"govuk.env_sync.env_sync_dump": push_task},
            {"govuk.env_sync.env_sync_dump": {**push_task, **place, "path": "{{ omit }}", "dest": local}},
            {"govuk.env_sync.env_sync_info": {}, "register": "info"},
            {"govuk.env_sync.env_sync_store": {"operation": "verify", "dbms": "postgresql"}},
            {"govuk.env_sync.env_sync_restore": {**pull_task, **place, "path": "{{ omit }}", "src": local}},
            {"ansible.builtin.assert": {"that": "info.points | map(attribute='database') == [database]"}},
        ],
        "vars": {"database": database},
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")

    done = ansible.playbook(str(tmp_path / "play.yml"), {"localhost": {}})

    assert done.status == 0, done.said
    assert len(list((tmp_path / "local").glob("*.manifest.json"))) == 1
    assert staging.psql(database, "SELECT count(*) FROM customers") == "2000"


def declared(folder: Path, database: str, action: str, **others: Any) -> dict[str, Any]:
    """Return a task as an inventory declares it, with its store and all it keeps below a folder."""
    return {
        "ensure": "present",
        "hour": "23",
        "minute": "30",
        "action": action,
        "dbms": "postgresql",
        "storagebackend": "directory",
        "database": database,
        "temppath": str(folder / "temp"),
        "url": str(folder / "store"),
        "path": "postgresql-backend",
        **others,
    }


def host_of(server: PostgresServer, tasks: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the variables of a host that has these tasks, and reaches this server."""
    return {
        "env_sync_tasks": tasks,
        "env_sync_variables": {"PGPORT": str(server.port), "PGUSER": server.superuser, "PGHOST": "127.0.0.1"},
        "env_sync_secret_environment": {"PGPASSWORD": server.password},
        "env_sync_options": {"state_dir": str(folder / "state")},
        "env_sync_become": False,
    }


def test_declared_tasks_are_pushed_and_pulled_by_name(
    ansible: Ansible, production: PostgresServer, staging: PostgresServer, database: str, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    (tmp_path / "store").mkdir()
    (tmp_path / "sanitise.sql").write_text(SANITISE, encoding="utf-8")

    script = str(tmp_path / "sanitise.sql")
    pushes = {
        "push_app_daily": declared(tmp_path, database, "push", transformation_sql_filename=script),
        "push_app_old": declared(tmp_path, "gone", "push", ensure="disabled"),
        "pull_app_back": declared(tmp_path, database, "pull"),
    }
    pulls = {
        "pull_app_daily": declared(
            tmp_path, database, "pull", transformation_sql_filename=script, excluded_tables="audit"
        ),
        "pull_app_gone": without(declared(tmp_path, "gone", "pull"), "ensure", "hour", "minute"),
    }
    hosts = {"production-1": host_of(production, pushes, tmp_path), "staging-1": host_of(staging, pulls, tmp_path)}

    pushed = ansible.playbook("govuk.env_sync.push", hosts, "-vvv", "-e", "env_sync_serial=1 env_sync_select=*")
    planned = ansible.playbook("govuk.env_sync.pull", hosts, "--check", "-e", "env_sync_select=pull_app_d*")
    which = "env_sync_hosts=staging-1 env_sync_strategy=free env_sync_select=*"
    pulled = ansible.playbook("govuk.env_sync.pull", hosts, "-e", which)
    none = ansible.playbook("govuk.env_sync.pull", hosts, "-e", "env_sync_select=pull_app_dail")

    assert pushed.status == 0, pushed.said
    assert "production-1 push_app_daily: pushed 20" in pushed.said
    assert "push_app_old" not in pushed.said.split("Sum up")[-1]
    assert production.password not in pushed.said
    assert planned.status == 0 and "staging-1 pull_app_daily: would pull 20" in planned.said
    assert pulled.status == 2
    assert "staging-1 pull_app_daily: pulled 20" in pulled.said and f"there was no {database} before" in pulled.said
    assert "staging-1 pull_app_gone: FAILED, choosing a point of gone" in pulled.said
    assert staging.psql(database, "SELECT min(email) FROM customers") == "user1000@staging.invalid"
    assert (
        none.status == 2 and "No host has a task that is to pull, is present, and is called pull_app_dail." in none.said
    )


def test_quickstart(
    ansible: Ansible, production: PostgresServer, staging: PostgresServer, database: str, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    (tmp_path / "store").mkdir()
    (tmp_path / "sanitise.sql").write_text(SANITISE, encoding="utf-8")
    names = {"database": database, "store": str(tmp_path / "store"), "sanitise": str(tmp_path / "sanitise.sql")}
    names.update({"from": production.host, "to": staging.host})
    ports = {"from_port": production.port, "to_port": staging.port}

    def copy(**given: Any) -> Done:
        return ansible.playbook(
            "govuk.env_sync.quickstart", {"localhost": {}}, "-e", json.dumps({**names, **given}), PGUSER="postgres"
        )

    done = copy(**ports)
    unsaid = names.pop("sanitise")

    assert done.status == 0, done.said
    assert copy(**ports, sanitize=unsaid).status == 2, "a mistyped name is no leave to take the data as it is"
    assert staging.psql(database, "SELECT min(email) FROM customers") == "user1000@staging.invalid"


def test_the_built_collection_runs_with_nothing_but_its_plugins(
    ansible: Ansible, production: PostgresServer, database: str, task_values: Values, tmp_path: Path
) -> None:
    production.create_database(database, SAMPLE)
    collections = tmp_path / "collections"
    build = ansible.run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(tmp_path))
    (archive,) = tmp_path.glob("govuk-env_sync-*.tar.gz")
    elsewhere = Ansible(tmp_path, str(collections))
    install = elsewhere.run(
        "ansible-galaxy", "collection", "install", "--offline", "-p", str(collections), str(archive)
    )
    installed = collections / "ansible_collections" / "govuk" / "env_sync"
    delivered = {path.name for path in installed.iterdir()}
    for path in installed.iterdir():
        if path.name not in ("meta", "plugins", "roles", "playbooks"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    done = elsewhere.module("env_sync_dump", task_values("push", database))
    listed = elsewhere.playbook("govuk.env_sync.push", {"localhost": {}}, "--list-tasks")

    assert build.status == 0 and install.status == 0, build.said + install.said
    assert {"LICENSE", "README.md", "plugins", "meta", "docs"} <= delivered
    assert not {"tests", "benchmarks", "demo", ".venv", ".git", ".ci"} & delivered
    assert done.result["point"].endswith(f"-{database}"), done.said
    assert listed.status == 0, listed.said
