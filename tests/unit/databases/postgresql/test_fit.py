# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.sql import split_statements
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.target import Target
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import Entry
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

from tests.unit.databases.postgresql.archives import ORDINARY, SUPER, encoding, entry, fitted, grants, kept, toc, tried


def test_what_fits_is_not_touched() -> None:
    entries = [
        encoding("UTF8"),
        entry("SCHEMA", "s"),
        entry("TABLE", "t"),
        grants("TABLE t", "GRANT SELECT ON t TO reader"),
    ]
    found = fitted(SUPER, *entries)
    assert found.toc.to_bytes() == toc(*entries).to_bytes()
    assert (found.dump_ids, found.warnings, found.owners) == (tuple(one.dump_id for one in entries), (), ())


def test_every_entry_stays_in_the_table_and_in_its_place() -> None:
    entries = [entry("ACCESS METHOD", "m"), entry("TABLE", "t"), entry("SUBSCRIPTION", "s")]
    found = fitted(ORDINARY, *entries)
    assert [one.dump_id for one in found.toc.entries] == [one.dump_id for one in entries]
    assert found.dump_ids == (entries[1].dump_id,)


def test_a_superuser_gives_what_belonged_to_a_missing_role_to_the_databases_owner() -> None:
    found = fitted(SUPER, entry("TABLE", "a", owner="gone"), entry("VIEW", "b", owner="gone"), entry("TABLE", "c"))
    assert [one.owner for one in found.toc.entries] == ["admin", "admin", "app_owner"]
    assert found.warnings == ("2 objects of role gone will belong to admin, who can own them here: TABLE a, VIEW b",)
    assert found.owners == ()


def test_for_another_user_objects_are_given_away_after_the_restore_where_he_may() -> None:
    found = fitted(
        ORDINARY,
        entry("TABLE", "mine", owner="deploy"),
        entry("TABLE", "assumable", owner="reader"),
        entry("TABLE", "not_assumable", owner="app_owner"),
        entry("FUNCTION", 'f("A", text)', owner="reader"),
        entry("CONSTRAINT", "t_pkey", owner="reader", drop_stmt="ALTER TABLE ONLY t DROP CONSTRAINT t_pkey;\n"),
    )
    assert {one.owner for one in found.toc.entries} == {""}
    assert found.owners == (("TABLE assumable", "reader"), ('FUNCTION f("A", text)', "reader"))
    assert found.warnings == (
        "1 object of role app_owner will belong to deploy, who can own them here: TABLE not_assumable",
    )


def test_what_is_left_out_is_given_to_nobody() -> None:
    found = fitted(ORDINARY, entry("ACCESS METHOD", "m", owner="reader"))
    assert (found.dump_ids, found.owners) == ((), ())


def test_and_nothing_is_said_of_its_owner() -> None:
    assert len(fitted(ORDINARY, entry("ACCESS METHOD", "m", owner="gone")).warnings) == 1


def test_a_large_object_is_called_by_its_number() -> None:
    found = fitted(ORDINARY, entry("BLOB", "16400", owner="reader", drop_stmt="SELECT pg_catalog.lo_unlink('16400');"))
    assert found.owners == (("LARGE OBJECT 16400", "reader"),)


def test_nobody_owns_what_pg_database_owner_owns() -> None:
    found = fitted(SUPER, entry("SCHEMA", "public", owner="pg_database_owner"))
    assert (found.toc.entries[0].owner, found.warnings) == ("pg_database_owner", ())


def test_ways_to_other_servers_are_left_out_with_all_that_depends_on_them_and_named() -> None:
    def numbered(number: int, desc: str, tag: str, *needs: int) -> Entry:
        return replace(entry(desc, tag), dump_id=number, dependencies=tuple(str(one) for one in needs))

    entries = [
        numbered(1, "EXTENSION", "postgres_fdw"),
        numbered(2, "SERVER", "far", 1),
        numbered(3, "USER MAPPING", "USER MAPPING reader SERVER far"),
        numbered(4, "FOREIGN TABLE", "remote", 2),
        numbered(5, "TABLE", "ours"),
        numbered(6, "VIEW", "both", 4, 5),
        numbered(7, "VIEW", "above", 6),
        numbered(8, "TABLE ATTACH", "part", 4, 5),
        numbered(9, "COMMENT", "SERVER far", 2),
        *(numbered(10 + number, "VIEW", f"v{number}", 4) for number in range(9)),
    ]
    found = fitted(SUPER, *entries)
    assert found.dump_ids == (1, 5)
    [ways, dependents] = sorted(found.warnings, key=lambda text: "depends" in text)
    assert "(keep_foreign_servers brings it): SERVER far, USER MAPPING reader SERVER far, FOREIGN TABLE remote" in (
        ways.replace("USER MAPPING USER", "USER")
    )
    assert all(f"VIEW v{number}" in dependents for number in range(9)), "all of them"
    assert len(fitted(replace(SUPER, keep_foreign_servers=True), *entries).dump_ids) == len(entries)


def test_nothing_connects_to_the_sources_publisher() -> None:
    entries = [
        entry("SUBSCRIPTION", "s"),
        entry("SUBSCRIPTION TABLE", "s t"),
        entry("COMMENT", "SUBSCRIPTION s"),
        entry("TABLE", "t"),
    ]
    assert kept(SUPER, *entries) == ["t"]


@pytest.mark.parametrize(
    "one",
    [
        entry("ACCESS METHOD", "m"),
        entry("AGGREGATE", "a(internal)", defn="CREATE AGGREGATE a(int) (SFUNC = f, STYPE = internal);"),
        entry("CAST", "CAST (a AS b)", defn="CREATE CAST (a AS b) WITHOUT FUNCTION;"),
        entry("FOREIGN DATA WRAPPER", "w"),
        entry("FUNCTION", "f()", defn="CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'f';"),
        entry(
            "FUNCTION", "g()", defn="""CREATE FUNCTION g("language" sql) RETURNS int LANGUAGE "plpython3u" AS $$$$;"""
        ),
        entry("OPERATOR CLASS", "c"),
        entry("OPERATOR FAMILY", "f"),
        entry("PROCEDURAL LANGUAGE", "l"),
        entry("SHELL TYPE", "s"),
        entry("TEXT SEARCH PARSER", "p"),
        entry("TEXT SEARCH TEMPLATE", "t"),
        entry("TYPE", "b", defn="CREATE TYPE public.b (INTERNALLENGTH = 4, INPUT = public.i);"),
        entry("TYPE", "shell", defn="CREATE TYPE public.shell;"),
    ],
    ids=lambda one: f"{one.desc} {one.tag}",
)
def test_what_needs_a_superuser_is_left_out_for_others_and_said(one: Entry) -> None:
    target = replace(ORDINARY, untrusted_languages=ORDINARY.untrusted_languages | {"plpython3u"})
    assert kept(SUPER, one) == [one.tag]
    assert (kept(target, one), tried(target, one)) == ([], [])
    [warning] = fitted(target, replace(one, owner="deploy")).warnings
    assert " need a superuser: " in warning and warning.endswith(f": {one.desc} {one.tag}")


@pytest.mark.parametrize(
    "one",
    [
        entry("AGGREGATE", "a(int)", defn="CREATE AGGREGATE a(int) (SFUNC = f, STYPE = integer);"),
        entry("CAST", "CAST (a AS b)", defn="CREATE CAST (a AS b) WITH FUNCTION without(function);"),
        entry("FUNCTION", "f()", defn="CREATE FUNCTION f(language c) RETURNS int LANGUAGE sql AS 'language c';"),
        entry("TYPE", "composite", defn='CREATE TYPE public."as" AS (a int);'),
        entry("TYPE", "enum", defn="CREATE TYPE public.e AS ENUM ('(');"),
        entry("TYPE", "range", defn="CREATE TYPE public.r AS RANGE (subtype = integer);"),
    ],
    ids=lambda one: f"{one.desc} {one.tag}",
)
def test_what_only_looks_as_if_it_needed_a_superuser_is_restored(one: Entry) -> None:
    assert kept(ORDINARY, one) == [one.tag]


@pytest.mark.parametrize(
    "one",
    [
        entry("EVENT TRIGGER", "e"),
        entry("COMMENT", "EVENT TRIGGER e"),
        entry("COMMENT", "EXTENSION hstore"),
        entry("COMMENT", "SCHEMA public"),
        entry("PUBLICATION", "p", defn="CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');"),
        entry("PUBLICATION TABLES IN SCHEMA", "p s", defn="ALTER PUBLICATION p ADD TABLES IN SCHEMA s;", drop_stmt=""),
        entry("SECURITY LABEL", "TABLE t"),
    ],
    ids=lambda one: f"{one.desc} {one.tag}",
)
def test_what_a_server_may_refuse_is_tried_after_the_restore(one: Entry) -> None:
    assert (kept(SUPER, one), tried(SUPER, one)) == ([one.tag], [])
    assert (kept(ORDINARY, one), tried(ORDINARY, one)) == ([], [f"{one.desc} {one.tag}"])
    assert fitted(ORDINARY, one).warnings == ()


def test_schema_public_gets_its_owner_where_the_user_may_give_it() -> None:
    public = entry("SCHEMA", "public", owner="reader", defn="-- *not* creating", drop_stmt="-- *not* dropping")
    assert (kept(ORDINARY, public), fitted(ORDINARY, public).owners) == ([], (("SCHEMA public", "reader"),))
    others = fitted(ORDINARY, replace(public, owner="app_owner"))
    assert (others.owners, others.warnings) == (
        (),
        ("schema public keeps the owner that it has here, pg_database_owner: deploy may not give it to app_owner",),
    )
    assert fitted(SUPER, replace(public, owner="gone")).warnings == (
        "1 object of role gone will belong to admin, who can own them here: SCHEMA public",
    )


def test_what_needs_something_that_is_left_out_is_left_out_too_but_no_rows_are() -> None:
    opclass = entry("OPERATOR CLASS", "c", dump_id=1)
    index = entry("INDEX", "i", dump_id=2, dependencies=("1",), drop_stmt="DROP INDEX i;")
    comment = entry("COMMENT", "INDEX i", dump_id=3, dependencies=("2",), drop_stmt="")
    found = fitted(ORDINARY, opclass, index, comment)
    assert (found.dump_ids, found.later) == ((), ())
    because = "left out, as it needs something that is left out (operator classes need a superuser)"
    assert f"{because}: INDEX i, COMMENT INDEX i" in found.warnings
    assert len(kept(SUPER, opclass, index, comment)) == 3
    with pytest.raises(EnvSyncError, match=r"TABLE public.t needs something that is left out \(base types need a su"):
        fitted(
            ORDINARY,
            entry("TYPE", "b", dump_id=4, defn="CREATE TYPE b (INPUT = i);"),
            entry("TABLE", "t", dump_id=5, dependencies=("4",)),
        )


DEFINER = "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';\n"


@pytest.mark.parametrize("target", [SUPER, ORDINARY], ids=["superuser", "ordinary"])
def test_nobody_else_executes_what_would_run_with_the_rights_of_another_role_than_it_was_made_for(
    target: Target,
) -> None:
    function = entry("FUNCTION", "f()", owner="gone", defn=DEFINER, drop_stmt="DROP FUNCTION public.f();\n")
    acl = grants("FUNCTION f()", "GRANT ALL ON FUNCTION public.f() TO reader", owner="gone")
    found = fitted(target, function, acl)
    assert split_statements(found.toc.entries[0].defn or "")[1:] == ["REVOKE ALL ON FUNCTION public.f() FROM PUBLIC"]
    assert (found.dump_ids, found.later) == ((function.dump_id,), ())
    heir = target.owner_for("gone")
    assert (
        f"1 function with SECURITY DEFINER of role gone will run with the rights of {heir}: nobody else may execute "
        "them here: FUNCTION public.f()"
    ) in found.warnings
    for other in (replace(function, owner="reader"), replace(function, defn=DEFINER.replace("SECURITY DEFINER", ""))):
        assert "REVOKE" not in (fitted(target, other).toc.entries[0].defn or "")


def test_large_objects_that_one_entry_stands_for_have_owners_and_grants_each() -> None:
    """As pg_dump 17 writes them (``BLOB METADATA``)."""
    batch = entry("BLOB METADATA", "7..9", dump_id=1, owner="reader", defn="7\n9\n", drop_stmt="-- dummy", section=3)
    acl = grants("LARGE OBJECTS 7..9", "GRANT SELECT ON LARGE OBJECT 7 TO reader", dependencies=("1",), owner="reader")
    found = fitted(replace(ORDINARY, inherited=frozenset({"reader"})), batch, acl)
    assert found.owners == (("LARGE OBJECT 7", "reader"), ("LARGE OBJECT 9", "reader"))
    assert [item.statements for item in found.later] == [
        (f"GRANT SELECT ON LARGE OBJECT {number} TO reader",) for number in (7, 9)
    ]
    assert [one.owner for one in fitted(SUPER, batch, acl).toc.entries] == ["reader", "reader"]
    with pytest.raises(EnvSyncError, match="damaged"):
        fitted(ORDINARY, replace(batch, defn="7; DROP TABLE t\n"))


def test_an_extension_itself_and_ordinary_publications_stay() -> None:
    entries = [
        entry("EXTENSION", "hstore"),
        entry("PUBLICATION", "p", defn="CREATE PUBLICATION p;"),
        entry("TABLE", "t"),
    ]
    assert kept(ORDINARY, *entries) == ["hstore", "p", "t"]


def test_comments_and_grants_go_with_what_they_are_about() -> None:
    entries = [
        entry("FOREIGN DATA WRAPPER", "w", namespace=""),
        grants("FOREIGN DATA WRAPPER w", "GRANT ALL ON FOREIGN DATA WRAPPER w TO reader", namespace=""),
        entry("COMMENT", "FOREIGN DATA WRAPPER w", namespace="", drop_stmt=""),
        entry("COMMENT", "TABLE w", drop_stmt=""),
    ]
    assert kept(ORDINARY, *entries) == ["TABLE w"]
    assert len(kept(SUPER, *entries)) == 4


def test_what_is_about_the_database_itself_is_the_replaced_ones_business() -> None:
    entries = [
        entry("DATABASE", "app"),
        entry("DATABASE PROPERTIES", "app"),
        entry("COMMENT", "DATABASE app"),
        grants("DATABASE app", "GRANT CONNECT ON DATABASE app TO gone"),
    ]
    found = fitted(SUPER, *entries)
    assert (found.dump_ids, found.warnings) == ((), ())


def test_foreign_keys_to_excluded_tables_are_left_out() -> None:
    target = replace(SUPER, excluded_foreign_keys=frozenset({("public", "a", "a_b_fkey")}))
    entries = [
        entry("FK CONSTRAINT", "a a_b_fkey"),
        entry("FK CONSTRAINT", "a a_c_fkey"),
        entry("FK CONSTRAINT", "a a_b_fkey", namespace="other"),
    ]
    found = fitted(target, *entries)
    assert found.dump_ids == tuple(one.dump_id for one in entries[1:])
    assert found.warnings == ("left out, foreign keys to excluded tables: FK CONSTRAINT a a_b_fkey",)


def test_missing_tablespaces_are_the_default_one() -> None:
    found = fitted(SUPER, entry("TABLE", "a", tablespace="slow"), entry("TABLE", "b", tablespace="fast"))
    assert [one.tablespace for one in found.toc.entries] == ["", "fast"]
    assert found.warnings == (
        "1 object moved to the default tablespace: slow does not exist here, or is not open to this role: TABLE a",
    )


def test_many_objects_are_said_in_few_lines() -> None:
    found = fitted(ORDINARY, *(entry("ACCESS METHOD", f"m{number}") for number in range(1000)))
    named = ", ".join(f"ACCESS METHOD m{number}" for number in range(20))
    assert found.warnings == (f"left out, access methods need a superuser: {named} and 980 more",)
