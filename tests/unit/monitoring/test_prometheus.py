# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from pathlib import Path

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.monitoring import Outcome, prometheus

ROOT = Path(__file__).resolve().parents[3]
DAY = 86400.0
NOW = 1_800_000_000.0


def written(folder: Path, title: str = "pull_shop") -> dict[str, str]:
    """Return the figures of a task's file."""
    text = (folder / prometheus.file_name(title)).read_text(encoding="utf-8")
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {re.sub(r"^env_sync_|\{.*", "", name): value for name, value in lines}


def success(finished: float = NOW) -> Outcome:
    return Outcome("pull_shop", True, "done", finished - 60, finished, 1234, "2027-01-15T07:00:00Z")


def test_figures_of_the_last_success_outlive_a_failure(tmp_path: Path) -> None:
    prometheus.write(success(), str(tmp_path))
    prometheus.write(Outcome("pull_shop", False, "no", NOW + DAY, NOW + DAY + 5), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["env_sync_pull_shop.prom"]
    assert written(tmp_path) == {
        "last_run_timestamp_seconds": "1800086405.0",
        "last_success_timestamp_seconds": "1800000000.0",
        "last_run_success": "0.0",
        "last_run_duration_seconds": "5.0",
        "point_bytes": "1234.0",
        "point_timestamp_seconds": "1799996400.0",
    }


def test_a_run_that_rightly_had_nothing_to_do_has_no_point(tmp_path: Path) -> None:
    prometheus.write(success(), str(tmp_path))
    prometheus.write(Outcome("pull_shop", True, "nothing to do", NOW, NOW + 1), str(tmp_path))
    assert not [name for name in written(tmp_path) if name.startswith("point_")]


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "env_sync_pull_shop.prom").write_bytes(b'env_sync_point_bytes{task="x"} many\n\xff\n')
    prometheus.write(success(), str(tmp_path))
    assert written(tmp_path)["point_bytes"] == "1234.0"


def test_titles_that_are_no_file_names_or_have_quotes_are_told_apart(tmp_path: Path) -> None:
    titles = ["a/b", "a_b", 'with "quotes" and \\', "plain-1.2+x"]
    for title in titles:
        prometheus.write(Outcome(title, True, "done", NOW, NOW + 1), str(tmp_path))
    assert len(list(tmp_path.iterdir())) == len(titles)
    assert prometheus.file_name("plain-1.2+x") == "env_sync_plain-1.2+x.prom"
    text = (tmp_path / prometheus.file_name(titles[2])).read_text()
    assert r'{task="with \"quotes\" and \\"} 1.0' in text


def test_what_is_declared_is_one_metric_for_all_tasks() -> None:
    assert prometheus.declared({"a": 100800.0, "b": 3600.0}).splitlines()[1:] == [
        "# TYPE env_sync_task_freshness_seconds gauge",
        'env_sync_task_freshness_seconds{task="a"} 100800.0',
        'env_sync_task_freshness_seconds{task="b"} 3600.0',
    ]


def test_rules_dashboard_and_documentation_have_the_metrics_that_are_written_and_no_others(tmp_path: Path) -> None:
    prometheus.write(success(), str(tmp_path))
    metrics = {f"env_sync_{name}" for name in written(tmp_path)} | {"env_sync_task_freshness_seconds"}
    files = ROOT / "roles" / "env_sync" / "files"
    panels = json.loads((files / "grafana" / "env_sync.json").read_text())["panels"]
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    rules = " ".join(re.findall(r"expr:(.*?)\n +(?:labels|for):", _text(files / "prometheus/env_sync.rules.yml"), re.S))
    for text in (queries, rules):
        assert set(re.findall(r"env_sync_\w+", text)) <= metrics
    documented = set(
        re.findall(
            r"^\| `(env_sync_\w+_(?:seconds|bytes|success))` \|",
            _text(ROOT / "docs" / "operate" / "monitoring.md"),
            re.M,
        )
    )
    assert documented == metrics


def test_every_alert_is_documented() -> None:
    rules = _text(ROOT / "roles" / "env_sync" / "files" / "prometheus" / "env_sync.rules.yml")
    documented = re.findall(r"^\| `(EnvSync\w+)` \|", _text(ROOT / "docs" / "operate" / "monitoring.md"), re.M)
    assert documented == re.findall(r"- alert: (\w+)", rules)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
