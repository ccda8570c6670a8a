# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results and figures of runs, in a real Icinga 2 (REST API, command pipe, NSCA), Nagios and Prometheus."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import monitoring
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import Outcome, prometheus
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.config import format_config

from tests.servers import Unavailable
from tests.servers.icinga import Icinga, Nsca
from tests.servers.nagios import Nagios
from tests.servers.prometheus import Prometheus

ROOT = Path(__file__).resolve().parents[3]
START = ROOT / "plugins" / "module_utils" / "_engine" / "start.py"
FILES = ROOT / "roles" / "env_sync" / "files"
PREFIX = "GOV.UK environment sync"

#: declared on db-1
TASKS: dict[str, dict[str, Any]] = {
    "push_shop": {"action": "push", "hour": 1, "minute": 0},
    "pull_shop": {"action": "pull", "hour": "*/6", "minute": "10"},
    "pull_late": {"action": "pull", "hour": 3, "minute": 0, "freshness": 3600},
    "pull_off": {"action": "pull", "hour": 4, "minute": 0, "ensure": "disabled"},
}


def play(folder: Path, tasks: Mapping[str, Any], ok: bool = True, **variables: Any) -> str:
    """Run the playbook for the monitoring host, which is this one; return what it said."""
    if os.geteuid() != 0:
        raise Unavailable("the role makes files that are root's")
    inventory = {
        "all": {
            "hosts": {
                "db-1": {"env_sync_tasks": tasks, "ansible_host": "192.0.2.1"},
                "monitoring": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
            },
            "vars": {"env_sync_become": False, "env_sync_icinga_create_hosts": True, **variables},
        }
    }
    path = folder / "inventory.json"
    path.write_text(json.dumps(inventory), encoding="utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(path), "playbooks/monitoring.yml"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode == 0) is ok, done.stdout[-6000:]
    return done.stdout


def outcome(title: str, ok: bool = True, message: str = "pulled 2026-11-24T01:00:00-shop into shop") -> Outcome:
    now = time.time()
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 7200))
    return Outcome(title, ok, message, now - 61.5, now, 123456 if ok else 0, made if ok else "")


def report(what: Outcome, settings: Mapping[str, str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Report it as the command does; return the warnings."""
    warnings: list[str] = []
    monitoring.report(what, {"host_name": "db-1", **settings}, environ or {}, lambda level, text: warnings.append(text))
    return warnings


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Return what the condition returns, as soon as that is something."""
    deadline = time.monotonic() + 60
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.2)


# -- Icinga 2 --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def icinga(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Icinga]:
    """Icinga 2 with the checks that the role makes."""
    with Icinga() as server:
        play(tmp_path_factory.mktemp("icinga"), TASKS, **icinga_variables(server))
        until("the checks are loaded", lambda: server.service("db-1", f"{PREFIX} push_shop"))
        yield server


def icinga_variables(server: Icinga) -> dict[str, Any]:
    return {
        "env_sync_icinga_file": str(server.checks),
        "env_sync_icinga_validate": server.argv("daemon", "-C"),
        "env_sync_icinga_reload": ["kill", "-HUP", server.pid_file.read_text().strip()],
    }


@pytest.fixture
def api(icinga: Icinga) -> dict[str, str]:
    return {"monitor": "icinga2", "icinga2_url": icinga.url, "icinga2_user": icinga.user, "icinga2_ca": str(icinga.ca)}


def test_icinga_takes_good_and_bad_results_over_its_api(icinga: Icinga, api: dict[str, str]) -> None:
    password = {"ICINGA2_PASSWORD": icinga.password}
    assert report(outcome("push_shop"), api, password) == []
    good = icinga.result("db-1", f"{PREFIX} push_shop", "OK: pulled 2026-11-24T01:00:00-shop into shop")
    assert good["state"] == 0
    *figures, age = good["performance_data"]
    assert figures == ["duration=61.5s", "stored=123456B"]
    assert 7200 <= int(age[len("point_age=") : -1]) < 7260
    assert (good["check_source"], round(good["execution_end"] - good["execution_start"], 1)) == ("db-1", 61.5)

    assert report(outcome("push_shop", False, "dumping shop:\npg_dump said no; 1|2"), api, password) == []
    bad = icinga.result("db-1", f"{PREFIX} push_shop", "CRITICAL: dumping shop: pg_dump said no, 1/2")
    assert (bad["state"], bad["performance_data"]) == (2, ["duration=61.5s"])
    service = icinga.service("db-1", f"{PREFIX} push_shop")
    assert service is not None
    assert (service["state"], service["state_type"]) == (2, 1)  # hard at once: nobody will check again
    assert "/var/log/govuk_env_sync/govuk_env_sync.log" in service["notes"]


@pytest.mark.parametrize(
    ("settings", "password", "why"),
    [
        ({}, "wrong", "401"),
        ({"icinga2_user": "nobody"}, "", "401"),
        ({"icinga2_ca": ""}, "", "certificate verify failed"),
        ({"icinga2_url": "https://127.0.0.1:{port}"}, "", "certificate verify failed"),
        ({"icinga2_url": "http://localhost:{port}"}, "", "https://HOST:5665"),
        ({"icinga2_ca": "/nowhere/ca.crt"}, "", "/nowhere/ca.crt"),
        ({"host_name": "db-2"}, "", "no service GOV.UK environment sync push_shop on host db-2"),
    ],
)
def test_what_icinga_refuses_is_a_warning_that_says_why(
    icinga: Icinga,
    api: dict[str, str],
    settings: dict[str, str],
    password: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitoring, "TRIES", 1)
    spoilt = {key: value.format(port=icinga.port) for key, value in settings.items()}
    secret = password or icinga.password
    (warning,) = report(outcome("push_shop"), {**api, **spoilt}, {"ICINGA2_PASSWORD": secret})
    assert why in warning
    assert secret not in warning


def test_icinga_takes_results_from_its_command_pipe(icinga: Icinga) -> None:
    settings = {"monitor": "command_file", "command_file": str(icinga.pipe)}
    assert report(outcome("pull_shop", False, "restoring shop: läuft nicht"), settings) == []
    found = icinga.result("db-1", f"{PREFIX} pull_shop", "CRITICAL: restoring shop: läuft nicht")
    assert (found["state"], found["performance_data"]) == (2, ["duration=61.5s"])


def test_icinga_takes_results_from_nsca(icinga: Icinga) -> None:
    with Nsca(icinga.pipe) as nsca:
        settings = {"monitor": "nsca", "nsca_host": "127.0.0.1", "nsca_port": str(nsca.port)}
        assert report(outcome("pull_shop"), {**settings, "nsca_config": str(nsca.client)}) == []
        found = icinga.result("db-1", f"{PREFIX} pull_shop", "OK: pulled 2026-11-24T01:00:00-shop into shop")
    assert (found["state"], found["performance_data"][1]) == (0, "stored=123456B")


def test_a_check_is_critical_when_results_stay_away(icinga: Icinga, api: dict[str, str]) -> None:
    late = f"{PREFIX} pull_late"
    # An hour is long for a test: the very check that the role made, with three seconds.
    text = icinga.checks.read_text()
    icinga.checks.write_text(text.replace("check_interval = 3600s", "check_interval = 3s"))
    os.kill(int(icinga.pid_file.read_text()), signal.SIGHUP)
    until("it has the short time", lambda: (icinga.service("db-1", late) or {}).get("check_interval") == 3)

    assert report(outcome("pull_late"), api, {"ICINGA2_PASSWORD": icinga.password}) == []
    icinga.result("db-1", late, "OK: pulled 2026-11-24T01:00:00-shop into shop")
    found = icinga.result("db-1", late, "CRITICAL: no result for 1.0 hours")
    assert found["state"] == 2
    icinga.checks.write_text(text)


def test_checks_that_icinga_refuses_leave_the_old_ones_and_a_check_goes_with_its_task(
    icinga: Icinga, tmp_path: Path
) -> None:
    tasks = {title: values for title, values in TASKS.items() if title != "pull_shop"}
    before = icinga.checks.read_text()
    said = play(tmp_path, tasks, ok=False, env_sync_notes_url='"', **icinga_variables(icinga))
    assert "does not accept the new checks" in said
    assert icinga.checks.read_text() == before

    objects = icinga.checks.parent / "objects.conf"
    objects.write_text('template Service "paging" { vars.paging = true }\nobject ServiceGroup "syncs" { }\n')
    more = {
        "env_sync_icinga_service_template": "paging",
        "env_sync_icinga_service_groups": ["syncs"],
        "env_sync_icinga_contacts": ["ann", "bob"],
        "env_sync_icinga_contact_groups": ["operators"],
    }
    play(tmp_path, tasks, **icinga_variables(icinga), **more)
    until("the check is gone", lambda: icinga.service("db-1", f"{PREFIX} pull_shop") is None)
    found = icinga.service("db-1", f"{PREFIX} push_shop")
    assert found is not None and found["groups"] == ["syncs"]
    assert found["vars"]["paging"] is True
    assert found["vars"]["notification"] == {"mail": {"users": ["ann", "bob"], "groups": ["operators"]}}


# -- Nagios ----------------------------------------------------------------------------------------------------------


def test_nagios_takes_the_checks_and_the_results_and_notices_those_that_stay_away(tmp_path: Path) -> None:
    with Nagios() as nagios:
        variables = {
            "env_sync_icinga_syntax": "nagios",
            "env_sync_icinga_file": str(nagios.checks),
            "env_sync_icinga_validate": ["nagios4", "-v", str(nagios.config)],
            "env_sync_icinga_reload": ["true"],
        }
        more = {
            "env_sync_icinga_service_template": "local-service",
            "env_sync_icinga_contacts": ["nagiosadmin"],
            "env_sync_icinga_contact_groups": ["admins"],
            "env_sync_notes_url": "https://runbooks.example.org/{host}/{task}",
        }
        play(tmp_path, TASKS, **variables, **more)
        text = nagios.checks.read_text()
        assert re.findall(r"use +(local-service)$", text, re.M) == ["local-service"] * 3
        assert re.findall(r"contacts +(.*)|contact_groups +(.*)", text)[:2] == [("nagiosadmin", ""), ("", "admins")]
        assert re.findall(r"notes_url +(.*pull_shop)", text) == ["https://runbooks.example.org/db-1/pull_shop"]
        assert re.findall(r"service_description +(.*)", text) == [
            f"{PREFIX} {title}" for title in ("pull_late", "pull_shop", "push_shop")
        ]
        # Six hours and four of grace: the task's own threshold, from its schedule.
        assert re.findall(r"freshness_threshold +(\d+)", text) == ["3600", "36000", str(28 * 3600)]
        nagios.checks.write_text(text.replace("threshold     3600\n", "threshold     3\n"))
        nagios.start()

        settings = {"monitor": "command_file", "command_file": str(nagios.pipe)}
        assert report(outcome("pull_late"), settings) == []
        assert report(outcome("pull_shop", False, "restoring: C:\\new; a|b"), settings) == []
        bad = nagios.result("db-1", f"{PREFIX} pull_shop", "CRITICAL: restoring: C:/new, a/b")
        assert (bad["current_state"], bad["state_type"]) == ("2", "1")
        assert (bad["performance_data"], bad["long_plugin_output"]) == ("duration=61.5s", "")
        nagios.result("db-1", f"{PREFIX} pull_late", "OK: pulled 2026-11-24T01:00:00-shop into shop")
        late = nagios.result("db-1", f"{PREFIX} pull_late", "CRITICAL: no result for 1.0 hours")
        assert late["current_state"] == "2"

        play(tmp_path, {"push_shop": TASKS["push_shop"]}, **variables)
        assert "pull_" not in nagios.checks.read_text()


# -- Prometheus ------------------------------------------------------------------------------------------------------


def promtool(*arguments: str, text: str = "") -> None:
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # where "check metrics" complains of names


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with the role's rules, and the figures of a host where a push failed and a pull has yet to run."""
    with Prometheus() as server:
        settings = {"prometheus_dir": str(server.textfiles)}
        declared = prometheus.declared({"push_shop": 100800.0, "pull_shop": 36000.0, "pull_new": 36000.0})
        (server.textfiles / "govuk_env_sync.prom").write_text(declared)
        assert report(outcome("push_shop"), settings) == []
        assert report(outcome("push_shop", False, "no"), settings) == []
        assert report(outcome("pull_shop"), settings) == []
        (server.textfiles / prometheus.file_name("pull_new")).touch()  # as the role makes it
        folder = tmp_path_factory.mktemp("prometheus")
        variables = {
            "env_sync_icinga_syntax": "none",
            "env_sync_prometheus_rules_dir": str(server.rules),
            "env_sync_prometheus_reload": ["true"],
            "env_sync_grafana_dashboards_dir": str(folder),
        }
        play(folder, TASKS, **variables)
        assert json.loads((folder / "env_sync.json").read_text())["title"] == "Environment syncs"
        server.start()
        yield server


def test_node_exporter_and_promtool_take_the_figures(figures: Prometheus) -> None:
    lines = [line for line in figures.scraped().splitlines(keepends=True) if "env_sync_" in line]
    found = {line.split("{")[0] for line in lines if 'task="push_shop"' in line}
    assert found == {
        f"env_sync_{name}"
        for name in (
            "last_run_duration_seconds",
            "last_run_success",
            "last_run_timestamp_seconds",
            "last_success_timestamp_seconds",
            "point_bytes",
            "point_timestamp_seconds",
            "task_freshness_seconds",
        )
    }
    assert "node_textfile_scrape_error 0\n" in figures.scraped()
    promtool("check", "metrics", text="".join(line for line in lines if "node_" not in line))


def test_prometheus_alerts_of_what_failed(figures: Prometheus) -> None:
    def alerts() -> set[tuple[str, str, str]]:
        samples = [sample["metric"] for sample in figures.query("ALERTS")]
        return {(sample["alertname"], sample["task"], sample["alertstate"]) for sample in samples}

    until("there are alerts", lambda: len(alerts()) > 1)
    assert alerts() == {("EnvSyncFailed", "push_shop", "firing"), ("EnvSyncNeverSucceeded", "pull_new", "pending")}


def test_every_query_of_the_dashboard_has_data(figures: Prometheus) -> None:
    text = (FILES / "grafana" / "env_sync.json").read_text()
    targets = [target for panel in json.loads(text)["panels"] for target in panel["targets"]]
    until("figures are scraped", lambda: figures.query("env_sync_last_run_success"))
    values = {}
    for target in targets:
        expression = target["expr"].replace("$instance", ".*").replace("$task", ".*")
        samples = figures.query(expression)
        assert samples, expression
        values[target["expr"].split("{")[0]] = samples[0]["value"][1]
    assert values["count(env_sync_last_run_success"] == "1"  # failed
    assert values["count(time() - env_sync_last_success_timestamp_seconds"] == "0"  # stale
    assert values["count(env_sync_task_freshness_seconds"] == "1"  # never succeeded


def test_the_alert_rules_say_what_they_should_over_days(figures: Prometheus) -> None:
    promtool("check", "rules", str(FILES / "prometheus" / "env_sync.rules.yml"))
    promtool("test", "rules", str(Path(__file__).parents[1] / "prometheus" / "env_sync.test.yml"))


# -- the whole command -----------------------------------------------------------------------------------------------


def test_the_command_reports_its_end_and_a_dead_monitoring_changes_nothing(
    icinga: Icinga, api: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    (tmp_path / "figures").mkdir()
    task = {
        "action": "push",
        "dbms": "files",
        "database": "tree",
        "directory": str(tmp_path / "tree"),
        "storagebackend": "directory",
        "url": str(tmp_path / "store"),
        "path": "files",
    }
    (tmp_path / "store").mkdir()
    config, settings = tmp_path / "push_shop.cfg", {**api, "host_name": "db-1"}

    def run(**changes: str) -> tuple[int, str]:
        config.write_text(format_config({**task, **changes}))
        (tmp_path / "monitoring.conf").write_text(
            format_config({**settings, "prometheus_dir": str(tmp_path / "figures")})
        )
        done = subprocess.run(
            [sys.executable, "-I", str(START), "command", "--verbose", "-f", str(config)],
            env={**os.environ, "ICINGA2_PASSWORD": icinga.password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert icinga.password not in done.stdout + done.stderr
        return done.returncode, done.stderr

    assert run()[0] == 0
    found = until("a result", lambda: last_output(icinga, "push_shop", "OK: pushed "))
    assert re.match(r"OK: pushed \S+-tree to \S+: ", found)
    status, said = run(directory=str(tmp_path / "not there"))
    assert status == 1
    found = until("a result", lambda: last_output(icinga, "push_shop", "CRITICAL: "))
    assert "not there" in found
    assert found.removeprefix("CRITICAL: ")[:60] in said
    text = (tmp_path / "figures" / "env_sync_push_shop.prom").read_text()
    assert 'env_sync_last_run_success{task="push_shop"} 0.0' in text

    settings.update(icinga2_url="https://127.0.0.1:1")
    status, said = run()
    assert status == 0
    assert "Connection refused" in said


def last_output(icinga: Icinga, title: str, begin: str) -> str:
    """Return the last result's output, empty unless it begins so."""
    result = (icinga.service("db-1", f"{PREFIX} {title}") or {}).get("last_check_result") or {}
    output = str(result.get("output", ""))
    return output if output.startswith(begin) else ""
