# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job: a database pushed from one server and pulled into another."""

from __future__ import annotations

import re
import time
from typing import Any, Callable

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine import catalogue, pull, push, upkeep
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.host.progress import Host
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.points.name import iso_utc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.stores import open_store
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.tasks.task import Task

from tests.servers.postgresql import PostgresServer

SAMPLE = """
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL);
INSERT INTO customers (email) SELECT 'user' || g || '@example.com' FROM generate_series(1, 5000) g;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer int REFERENCES customers, data jsonb);
INSERT INTO orders (customer, data)
  SELECT 1 + g % 5000, jsonb_build_object('n', g, 'text', md5(g::text)) FROM generate_series(1, 20000) g;
SELECT lo_from_bytea(0, convert_to('object ' || g, 'UTF8')) FROM generate_series(1, 200) g \\g /dev/null
"""

Values = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("form", ["directory", "custom"])
@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_push_and_pull(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values, form: str, compression: str
) -> None:
    production.create_database(database, SAMPLE)
    how = {"format": form, "compression": compression}

    pushed = push.push(Task.from_mapping(task_values("push", database, **how)), Host())
    verified = upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())
    pulled = pull.pull(Task.from_mapping(task_values("pull", database)), Host())

    points = catalogue.list_points(open_store(Task.from_mapping(task_values("pull", database))))
    assert [(point.name, point.state) for point in points] == [(pushed["point"], "complete")]
    assert verified["point"] == pulled["point"] == pushed["point"]
    for query in (
        "SELECT count(*), min(email), max(email) FROM customers",
        "SELECT count(*), md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o",
        "SELECT count(*), md5(string_agg(lo_get(oid)::text, ',' ORDER BY oid)) FROM pg_largeobject_metadata",
        "SELECT nextval('orders_id_seq')",
    ):
        assert staging.psql(database, query) == production.psql(database, query)
    assert [name for name in staging.databases() if name.startswith("env_sync")] == []


def test_a_point_that_is_not_the_newest_is_said(production: PostgresServer, database: str, task_values: Values) -> None:
    """Within the 15 minutes that clocks may be apart, a point of another host counts although it is of a later time."""
    production.create_database(database)
    soon = iso_utc(time.time() + 600).rstrip("Z")
    later = push.push(Task.from_mapping(task_values("push", database, timestamp=soon)), Host())
    assert later["warnings"] == []
    of = Task.from_mapping(task_values("push", database))
    said = rf".*{soon}-.* is of a later time than this push: a pull takes that one"
    for verb in (push.plan, push.push):
        assert [bool(re.match(said, text)) for text in verb(of, Host())["warnings"]] == [True]
    assert upkeep.verify(Task.from_mapping(task_values("pull", database)), Host())["point"] == later["point"]


def test_a_point_from_the_future_is_passed_over_by_everything(
    production: PostgresServer, staging: PostgresServer, database: str, task_values: Values
) -> None:
    production.create_database(database, "CREATE TABLE small AS SELECT 1 AS n")
    of_push, of_pull = (Task.from_mapping(task_values(action, database)) for action in ("push", "pull"))
    named = Task.from_mapping(task_values("push", database, timestamp="2099-01-01T00:00:00"))
    for verb in (push.plan, push.push):
        assert "gets a time later than now" in verb(named, Host())["warnings"][0]
    false = f"2099-01-01T00:00:00-{database}"
    with pytest.raises(EnvSyncError, match=r"only points that claim a time later than now \(2099-01-01T00:00:00\)"):
        pull.pull(of_pull, Host())

    pushed = push.push(of_push, Host())
    assert "2099-01-01T00:00:00" in pushed["warnings"][0] and "no pull takes it" in pushed["warnings"][0]
    planned = pull.plan(of_pull, Host())
    logged: list[str] = []
    pulled = pull.pull(of_pull, Host(log=lambda level, text: logged.append(text)))
    for result in (planned, pulled):
        assert result["point"] == pushed["point"]
        assert 0 <= result["point_age_seconds"] < 600
        assert "1 point is passed over, with a time later than now (2099-01-01T00:00:00)" in result["warnings"][0]
    assert [text for text in logged if re.fullmatch(rf"taking .*{pushed['point']}, which is \d+ m?s old", text)]
    pruned = upkeep.prune(of_push, Host(), keep=1)
    assert (pruned["removed"], pruned["after"]) == ([], {"points": [pushed["point"]]})
    assert f"{false} claims a time later than now: it is not counted, and stays" in pruned["warnings"][0]

    chosen = pull.pull(Task.from_mapping(task_values("pull", database, timestamp="2099-01-01T00:00")), Host())
    assert (chosen["point"], chosen["point_age_seconds"]) == (false, 0)
    assert "is taken because its timestamp was given" in chosen["warnings"][0]


def test_a_clock_that_is_set_back_meanwhile_costs_nothing(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, SAMPLE)
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began)
    done = push.push(Task.from_mapping(task_values("push", database)), Host())
    assert done["rate"] > 0 and done["durations"]["total"] > 0


def test_a_push_that_comes_in_the_second_of_another_waits_for_the_next(
    production: PostgresServer, database: str, task_values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    production.create_database(database, "CREATE TABLE small AS SELECT 1 AS n")
    clock = iter(["2026-01-02T03:04:05", "2026-01-02T03:04:05", "2026-01-02T03:04:06"])
    monkeypatch.setattr(push, "now", lambda timezone: next(clock))
    for second in ("05", "06"):
        pushed = push.push(Task.from_mapping(task_values("push", database)), Host())
        assert pushed["point"] == f"2026-01-02T03:04:{second}-{database}"
    again = task_values("push", database, timestamp="2026-01-02T03:04:06")
    with pytest.raises(EnvSyncError, match=r"there is such a point already\. Choose another timestamp"):
        push.push(Task.from_mapping(again), Host())
