# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing of ours is looked up in the current directory, and nothing in it is touched: the kernel is asked.

All is started in a folder full of what somebody may have planted there: modules, programs, option files of every tool,
configs and scripts of the tasks' own names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.planted import TRAPS, plant
from tests.servers.mariadb import MariaServer
from tests.servers.mongo import MongoServer, mongosh, tools
from tests.servers.opensearch import SearchServer
from tests.servers.postgresql import PostgresServer

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[3]
WATCH = ROOT / "tests" / "servers" / "watch.py"
ENGINE = ROOT / "plugins" / "module_utils" / "_engine"


def environment(**more: str) -> dict[str, str]:
    """Return an environment with a PATH that means the current directory too, in every way."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "MYSQL", "MONGO", "AWS"))}
    usual["PATH"] = f":.:./:{usual['PATH']}:"
    return {**usual, **more}


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    return plant(tmp_path / "traps")


def watched(traps: Path, *command: object, status: int = 0, **variables: str) -> str:
    """Run a command among the traps; return what it said, and what became of the traps."""
    notes = traps.parent / "notes"
    done = subprocess.run(
        [sys.executable, "-I", str(WATCH), str(traps), str(notes), *map(str, command)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert "planted" not in done.stdout
    return notes.read_text(encoding="utf-8")


@pytest.mark.parametrize("trap", TRAPS)
def test_whoever_touches_a_trap_is_seen(trap: str, traps: Path) -> None:
    assert f"{trap} was opened" in watched(traps, "/usr/bin/head", "-c", "0", f"./{trap}")


def test_what_the_launchers_did_before_is_seen(traps: Path) -> None:
    notes = traps.parent / "notes"
    argv = [sys.executable, "-I", str(WATCH), str(traps), str(notes), sys.executable, "-m", "_engine", "--status"]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 1
    assert "_engine/__init__.py was opened" in notes.read_text()


# -- in a checkout -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[list[str], dict[str, str]]]]:
    """A server of each kind, in which a database ``shop`` is: its flags and variables, by dbms."""
    home = tmp_path_factory.mktemp("home")
    (home / "tree").mkdir()
    (home / "tree" / "file").touch()
    found: dict[str, tuple[list[str], dict[str, str]]] = {
        "files": (["--directory", str(home / "tree")], {}),
        "documentdb": ([], {"SHOP_DOCUMENTDB_HOST": "127.0.0.1", "SHOP_DOCUMENTDB_PASSWD": "x"}),
    }
    with (
        PostgresServer("nowhere") as postgres,
        MariaServer("nowhere") as maria,
        MongoServer("nowhere") as mongo,
        tempfile.TemporaryDirectory(prefix="env_sync-repositories-") as repositories,
        SearchServer("nowhere", Path(repositories)) as search,
    ):
        postgres.create_database("shop", "CREATE TABLE users AS SELECT 1 AS id")
        found["postgresql"] = (
            ["-H", postgres.host, "--database-port", str(postgres.port), "--login-user", postgres.superuser],
            {"PGPASSWORD": postgres.password},
        )
        maria.create_database("shop", "CREATE TABLE users (id int)")
        options = home / ".my.cnf"
        escaped = maria.password.replace("\\", "\\\\").replace('"', '\\"')
        options.write_text(f'[client]\nuser={maria.user}\npassword="{escaped}"\n')
        found["mysql"] = (["-H", maria.host, "--database-port", str(maria.port)], {"HOME": str(home)})
        mongo.database("shop").users.insert_one({"a": 1})
        folder = tools(home).folder
        found["mongo"] = (
            ["-H", mongo.host, "--database-port", str(mongo.port)],
            {"PATH": f":.:{folder}:{mongosh()}:{os.environ['PATH']}"},
        )
        search.call("PUT", "/users", {})
        kept = ["--repository-type", "fs", "--repository-settings", "location=nowhere"]
        found["elasticsearch"] = (["-H", "127.0.0.1", "--database-port", str(search.port), *kept], {})
        yield found


#: scripts that do nothing, in each language
SCRIPTS = {"files": "#!/bin/sh\nexit 0\n", "mongo": "var nothing = 1;\n"}


@pytest.fixture
def task(servers: dict[str, tuple[list[str], dict[str, str]]], tmp_path: Path) -> Any:
    """Return a function that gives the flags of a task, and its variables."""
    (tmp_path / "store").mkdir()

    def give(action: str, dbms: str) -> tuple[list[str], dict[str, str]]:
        flags, variables = servers[dbms]
        store = ["-S", "es_snapshot", "-u", "nowhere"] if dbms == "elasticsearch" else ["-S", "directory"]
        if dbms != "elasticsearch":
            store += ["-u", str(tmp_path / "store"), "-p", dbms]
        return (
            ["-a", action, "-D", dbms, "-d", "shop", *flags, *store, "--state-dir", str(tmp_path / "state")],
            {"HOME": str(tmp_path), **variables},
        )

    return give


def command(*arguments: object) -> list[object]:
    """Return the command as ``make venv`` makes it."""
    return [Path(sys.executable).parent / "govuk_env_sync", *arguments]


@pytest.mark.parametrize("dbms", ["postgresql", "mysql", "mongo", "elasticsearch", "files"])
def test_every_verb_of_a_checkout(dbms: str, task: Any, traps: Path, tmp_path: Path) -> None:
    flags, variables = task("push", dbms)
    scripts = []
    if dbms != "elasticsearch":
        script = tmp_path / "script.js" if dbms == "mongo" else tmp_path / "script.sql"
        script.write_text(SCRIPTS.get(dbms, "SELECT 1;\n"))
        script.chmod(0o755)
        scripts = ["-F", str(script)]
    for verb in (["--plan"], [], ["--list"], ["--verify"], ["--prune", "1", "--plan"], ["--status"]):
        assert watched(traps, *command(*flags, *scripts, *verb), **variables) == "", verb
    flags, variables = task("pull", dbms)
    more = ["--allow-restore-to-source", *(["-s", *scripts[1:]] if scripts else [])]
    for verb in (["--plan"], []):
        assert watched(traps, *command(*flags, *more, *verb), **variables) == "", verb


def test_what_fails_looks_nowhere_either(task: Any, traps: Path) -> None:
    flags, variables = task("push", "documentdb")
    assert watched(traps, *command(*flags, "--plan"), status=1, **variables) == ""
    for named in (["-f", "plan"], ["-f", "push_tree.cfg"], ["--env-dir", "env.d", "--status"]):
        assert watched(traps, *command(*named), status=1) == ""


@pytest.mark.parametrize("script", ["users.sql", "tidy.sh"])
def test_a_script_by_name_is_not_the_one_that_lies_here(script: str, task: Any, traps: Path) -> None:
    for key in ("-s", "-F"):
        flags, variables = task("push", "files")
        assert watched(traps, *command(*flags, key, script), status=1 if key == "-F" else 0, **variables) == ""


def test_the_lock_of_reboots(traps: Path, tmp_path: Path) -> None:
    start = [sys.executable, "-I", ENGINE / "start.py", "reboot_lock"]
    (tmp_path / "locks").mkdir()
    assert watched(traps, *start, tmp_path / "locks" / "host", "/bin/true") == ""
    assert watched(traps, *start, "--check", tmp_path / "locks") == ""


def test_what_a_caller_names_by_a_relative_path_is_found(task: Any, traps: Path, tmp_path: Path) -> None:
    flags, variables = task("push", "files")
    (tmp_path / "store2").mkdir()
    (tmp_path / "tidy.sh").write_text("#!/bin/sh\ntouch tidied\n")
    (tmp_path / "tidy.sh").chmod(0o755)
    relative = ["--dest", "../store2", "--temppath", "../temporary", "-F", "../tidy.sh", "--state-dir", "../states"]
    assert watched(traps, *command(*flags[: flags.index("-S")], *relative), **variables) == ""
    assert list((tmp_path / "store2").glob("*-shop.manifest.json"))
    assert (tmp_path / "states" / "status").is_dir()
