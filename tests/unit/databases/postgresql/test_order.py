# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.order import largest_first

from tests.unit.databases.postgresql.archives import ORDINARY, SUPER, entry, fitted, toc


def test_row_security_waits_for_all_that_reads_rows() -> None:
    """Whatever number of tables have it: one entry waits for all of them, and the others for that one."""
    entries = [
        entry("ROW SECURITY", "a", dump_id=1, drop_stmt=""),
        entry("ROW SECURITY", "b", dump_id=2, drop_stmt="", dependencies=("9",)),
        entry("FK CONSTRAINT", "a a_b_fkey", dump_id=3, drop_stmt=""),
        entry("INDEX", "a_x", dump_id=4, drop_stmt=""),
    ]
    found = {one.tag: one.dependencies for one in fitted(ORDINARY, *entries).toc.entries}
    assert (found["a"], found["b"], found["a_x"]) == (("3", "4"), ("9", "1"), ())
    assert all(one == original for one, original in zip(fitted(SUPER, *entries).toc.entries, entries))


def test_the_largest_tables_and_their_indexes_get_the_lowest_numbers() -> None:
    names = ("small", "large", "middle")
    tables = [entry("TABLE", name, dump_id=number) for number, name in enumerate(names, start=1)]
    data = [
        entry(
            "TABLE DATA", name, dump_id=10 + number, section=3, had_data=1, dependencies=(str(number),),
            extra=f"{name}.dat".encode(),
        )
        for number, name in enumerate(names, start=1)
    ]  # fmt: skip
    indexes = [
        entry("INDEX", f"{name}_key", dump_id=20 + number, section=4, dependencies=(str(number),))
        for number, name in enumerate(names, start=1)
    ]
    key = entry("FK CONSTRAINT", "small to large", dump_id=30, section=4, dependencies=("2", "1", "22"))
    statistics = entry("STATISTICS", "of nothing", dump_id=31, section=4)
    ordered = largest_first(
        toc(*tables, *data, *indexes, key, statistics), {"small.dat": 1, "large.dat": 300, "middle.dat": 20}
    )
    found = {(item.desc, item.tag): item.dump_id for item in ordered.entries}
    assert sorted(found, key=lambda name: found[name])[3:] == [
        ("TABLE DATA", "large"),
        ("INDEX", "large_key"),
        ("FK CONSTRAINT", "small to large"),
        ("TABLE DATA", "middle"),
        ("INDEX", "middle_key"),
        ("TABLE DATA", "small"),
        ("INDEX", "small_key"),
        ("STATISTICS", "of nothing"),
    ]
    # The order of the entries, and what they depend on, is as it was.
    assert [item.tag for item in ordered.entries] == [
        *names,
        *names,
        *(f"{name}_key" for name in names),
        key.tag,
        statistics.tag,
    ]
    assert sorted(found.values()) == [1, 2, 3, 11, 12, 13, 21, 22, 23, 30, 31]
    after = next(item for item in ordered.entries if item.desc == "FK CONSTRAINT")
    assert after.dependencies == ("2", "1", str(found["INDEX", "large_key"]))
