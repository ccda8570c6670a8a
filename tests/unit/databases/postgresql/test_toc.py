# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables of contents made here; those of a real ``pg_dump`` are read in the integration tests."""

from __future__ import annotations

import io
import itertools
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql import toc as postgresql_toc
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.databases.postgresql.toc import (
    CUSTOM,
    DIRECTORY,
    Adapted,
    Entry,
    Target,
    Toc,
    adapt,
    largest_first,
    split_statements,
    tokens,
)
from ansible_collections.govuk.env_sync.plugins.module_utils._engine.errors import EnvSyncError

IDS = itertools.count(100)


def entry(desc: str, tag: str, **values: Any) -> Entry:
    usual: dict[str, Any] = {
        "dump_id": next(IDS),
        "had_data": 0,
        "table_oid": "1259",
        "oid": "16384",
        "section": 2,
        "defn": f"CREATE {desc} {tag};\n",
        "drop_stmt": f"DROP {desc} {tag};\n",
        "copy_stmt": None,
        "namespace": "public",
        "tablespace": "",
        "table_am": "",
        "relkind": 0,
        "owner": "app_owner",
        "with_oids": "false",
        "dependencies": (),
        "extra": b"",
    }
    return Entry(desc=desc, tag=tag, **{**usual, **values})


def grants(tag: str, *statements: str, **values: Any) -> Entry:
    text = "".join(f"{statement};\n" for statement in statements)
    return entry(values.pop("desc", "ACL"), tag, **{"section": 1, "defn": text, "drop_stmt": "", **values})


def encoding(name: str) -> Entry:
    return entry("ENCODING", "ENCODING", defn=f"SET client_encoding = '{name}';\n", drop_stmt="", owner="", section=2)


def toc(*entries: Entry, **values: Any) -> Toc:
    usual: dict[str, Any] = {
        "version": (1, 14, 0),
        "int_size": 4,
        "off_size": 8,
        "format": DIRECTORY,
        "compression": 0,
        "created": (5, 4, 3, 2, 0, 126, 0),
        "dbname": "app",
        "server_version": "15.4",
        "dump_version": "15.4",
    }
    return Toc(entries=entries, **{**usual, **values})


def read(data: bytes) -> Toc:
    return Toc.read(io.BytesIO(data))


def variety(form: int) -> list[Entry]:
    """Return entries that have every kind of value that a table of contents can hold."""
    extra = b"\x01" + bytes(8) if form == CUSTOM else b""
    data = b"\x02" + b"\x00\x10" + bytes(6) if form == CUSTOM else b"3041.dat"
    return [
        replace(encoding("UTF8"), extra=extra),
        entry("TABLE", "naïve ☃", extra=extra, dependencies=("5", "16"), relkind=ord("r"), table_am="heap"),
        entry("TABLE DATA", "t", had_data=1, extra=data, copy_stmt="COPY public.t (a) FROM stdin;\n", drop_stmt=None),
        entry("FUNCTION", "f(integer)", extra=extra, defn="x" * 300, namespace=None, owner=None, tablespace=None),
        entry(
            "BLOBS", "BLOBS", had_data=1, extra=b"\x02" + bytes(8) if form == CUSTOM else b"blobs.toc", with_oids=None
        ),
    ]


# -- the encoding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
@pytest.mark.parametrize("minor", range(12, 17))
@pytest.mark.parametrize(("int_size", "off_size"), [(4, 8), (8, 4), (8, 8)])
def test_what_is_written_is_what_is_read(form: int, minor: int, int_size: int, off_size: int) -> None:
    entries = [
        replace(
            one,
            table_am=one.table_am if minor >= 14 else None,
            relkind=one.relkind if minor >= 16 else 0,
            extra=one.extra[: 1 + off_size] if form == CUSTOM else one.extra,
        )
        for one in variety(form)
    ]
    compression = 0 if minor >= 15 else -1
    made = toc(
        *entries, version=(1, minor, 0), format=form, int_size=int_size, off_size=off_size, compression=compression
    )
    assert read(made.to_bytes()) == made
    assert read(made.to_bytes()).to_bytes() == made.to_bytes()


def test_not_a_byte_more_is_read() -> None:
    """What follows in a custom archive is the data, which goes to pg_restore as it is."""
    source = io.BytesIO(toc(*variety(CUSTOM), format=CUSTOM).to_bytes() + b"data")
    Toc.read(source)
    assert source.read() == b"data"


def test_a_source_that_gives_little_at_a_time_is_read_all_the_same() -> None:
    data = toc(*variety(DIRECTORY)).to_bytes()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 3))

    assert Toc.read(Slow(data)).to_bytes() == data


@pytest.mark.parametrize("name", ["LATIN1", "WIN1252", "EUC_JP", "SJIS", "KOI8R"])
def test_texts_are_read_in_the_archives_own_encoding(name: str) -> None:
    tag = {"LATIN1": "café", "WIN1252": "5 €", "EUC_JP": "表", "SJIS": "表", "KOI8R": "таблица"}[name]
    made = toc(encoding(name), entry("TABLE", tag), codec=postgresql_toc.python_codec(name))
    found = read(made.to_bytes())
    assert found.entries[1].tag == tag
    assert found.to_bytes() == made.to_bytes()


@pytest.mark.parametrize("name", ["SQL_ASCII", "UTF8", "LATIN1", "MULE_INTERNAL", "NONSENSE"])
def test_bytes_that_are_no_text_come_back_as_they_were(name: str) -> None:
    data = toc(encoding(name), entry("TABLE", "XX")).to_bytes().replace(b"XX", b"\xff\x81")
    assert read(data).to_bytes() == data


def test_data_members_are_the_files_that_hold_data() -> None:
    found = toc(*variety(DIRECTORY), entry("TABLE", "no data", extra=b"9.dat")).data_members()
    assert {name: one.tag for name, one in found.items()} == {"3041.dat": "t", "blobs.toc": "BLOBS"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it ends early"),
        (b"PGDM", "it ends early"),
        (b"-- SQL dump", "no pg_dump archive"),
        (b"PGDMP\x01\x0b\x00\x04\x08\x01", r"version 1\.11"),
        (b"PGDMP\x01\x11\x00\x04\x08\x01", r"version 1\.17"),
        (b"PGDMP\x01\x0e\x00\x03\x08\x01", "impossible sizes"),
        (b"PGDMP\x01\x0e\x00\x04\x08\x09", "format 9"),
    ],
)
def test_what_is_no_archive_is_told(data: bytes, why: str) -> None:
    with pytest.raises(EnvSyncError, match=why):
        read(data)


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
def test_no_part_passes_for_the_whole(form: int) -> None:
    data = toc(*variety(form), format=form).to_bytes()
    for length in range(len(data)):
        with pytest.raises(EnvSyncError):
            read(data[:length])


def bears_changes(data: bytes, positions: Sequence[int], seed: str) -> None:
    """Each of 500 changes, of one byte at one of the positions, is told or comes back as it is read."""
    dice = random.Random(seed)
    for _unused in range(500):
        changed = bytearray(data)
        changed[dice.choice(positions)] ^= dice.randrange(1, 256)
        try:
            found = read(bytes(changed))
        except EnvSyncError:
            continue
        assert read(found.to_bytes()) == found


SET_ENCODING = b"SET client_encoding = 'UTF8';"


@pytest.mark.parametrize("form", [CUSTOM, DIRECTORY], ids=["custom", "directory"])
@pytest.mark.parametrize("minor", [12, 16])
def test_a_wrong_byte_is_no_accident(form: int, minor: int) -> None:
    data = toc(*variety(form), format=form, version=(1, minor, 0)).to_bytes()
    start = data.index(SET_ENCODING)
    statement = range(start, start + len(SET_ENCODING))
    bears_changes(data, [place for place in range(len(data)) if place not in statement], f"{form} {minor}")


def test_a_wrong_byte_where_the_encoding_is_named_is_no_accident() -> None:
    data = toc(encoding("UTF8"), entry("TABLE", "é")).to_bytes()
    start = data.index(SET_ENCODING)
    bears_changes(data, range(start, start + len(SET_ENCODING)), "encoding")


@pytest.mark.parametrize("lie", [250 * 2**20, 2**31 - 1, 2**32 - 1], ids=hex)
@pytest.mark.parametrize("of", ["a string", "the number of entries"])
def test_a_length_that_lies_costs_no_memory(of: str, lie: int) -> None:
    whole = toc(*variety(DIRECTORY)).to_bytes()
    head = toc().to_bytes()
    position = whole.index(b"app") - 4 if of == "a string" else len(head) - 4
    data = whole[:position] + lie.to_bytes(4, "little") + whole[position + 4 :]
    tracemalloc.start()
    try:
        with pytest.raises(EnvSyncError, match="it is damaged"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name",
    [
        *["", "..", "\x7fTF8", "\nTF8", "'TF8", "undefined", "idna"],
        "\0TF8",
        "hex",
        "rot13",
        "zlib",
    ],
)
def test_an_encoding_that_is_none_changes_nothing(name: str) -> None:
    data = toc(encoding(name), entry("TABLE", "é")).to_bytes()
    assert read(data).to_bytes() == data


# -- fitting it to a server --------------------------------------------------------------------------------------------

ROLES = frozenset({"admin", "app_owner", "reader", 'Odd "role'})
SUPER = Target(
    user="postgres",
    superuser=True,
    roles=ROLES | {"postgres"},
    assumable=ROLES | {"postgres"},
    database_owner="admin",
    extensions_available=frozenset({"plpgsql", "hstore"}),
    tablespaces=frozenset({"pg_default", "fast"}),
    public_owner="pg_database_owner",
)
ORDINARY = replace(
    SUPER, user="deploy", superuser=False, roles=ROLES | {"deploy"}, assumable=frozenset({"deploy", "reader"})
)


def fitted(target: Target, *entries: Entry) -> Adapted:
    return adapt(toc(*entries), target)


def kept(target: Target, *entries: Entry) -> list[str]:
    """Return the tags of the entries that are restored by ``pg_restore``."""
    found = fitted(target, *entries)
    return [one.tag for one in found.toc.entries if one.dump_id in found.dump_ids]


def tried(target: Target, *entries: Entry) -> list[str]:
    """Return the labels of what is done after ``pg_restore``."""
    return [item.label for item in fitted(target, *entries).later]


def granted(target: Target, *statements: str, desc: str = "ACL") -> list[str]:
    """Return which of the statements are restored."""
    found = fitted(target, grants("TABLE t", *statements, desc=desc))
    if not target.superuser:
        return [statement for item in found.later for statement in item.statements]
    return split_statements(found.toc.entries[0].defn or "") if found.dump_ids else []


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


def test_grants_to_missing_roles_are_left_out_and_the_others_stay() -> None:
    statements = [
        "REVOKE ALL ON TABLE public.t FROM app_owner",
        "GRANT SELECT ON TABLE public.t TO reader",
        "GRANT SELECT ON TABLE public.t TO gone",
        "GRANT SELECT(a),UPDATE(b) ON TABLE public.t TO gone WITH GRANT OPTION",
        "GRANT SELECT ON TABLE public.t TO PUBLIC",
        'GRANT SELECT ON TABLE public."to gone" TO "Odd ""role"',
        'GRANT SELECT ON TABLE public."; GRANT x TO gone" TO reader',
        'GRANT SELECT ON TABLE public.t TO "Gone too"',
    ]
    assert granted(SUPER, *statements) == [statements[number] for number in (0, 1, 4, 5, 6)]
    assert fitted(SUPER, grants("TABLE t", *statements)).warnings == (
        "1 grant left out: role Gone too does not exist here: ACL TABLE t",
        "2 grants left out: role gone does not exist here: ACL TABLE t, ACL TABLE t",
    )


def test_grants_of_which_none_is_left_are_not_restored() -> None:
    found = fitted(SUPER, grants("TABLE t", "GRANT SELECT ON TABLE t TO gone"))
    assert found.dump_ids == ()
    assert found.warnings == ("1 grant left out: role gone does not exist here: ACL TABLE t",)


def test_a_superuser_speaks_for_grantors_that_are_here() -> None:
    known = [
        'SET SESSION AUTHORIZATION "app_owner"',
        "GRANT SELECT ON TABLE t TO reader",
        "RESET SESSION AUTHORIZATION",
    ]
    assert granted(SUPER, *known) == known
    missing = ["SET SESSION AUTHORIZATION gone", *known[1:]]
    assert granted(SUPER, *missing) == [known[1]]
    assert fitted(SUPER, grants("TABLE t", *missing)).warnings == (
        "1 grant by role gone made by the object's owner instead: ACL TABLE t",
    )


def test_another_user_becomes_the_grantors_and_owners_whose_member_it_is() -> None:
    grant = "GRANT SELECT ON TABLE t TO reader"
    by_another = ["SET SESSION AUTHORIZATION app_owner", grant, "RESET SESSION AUTHORIZATION"]
    assert granted(ORDINARY, *by_another) == [grant]
    assert (
        "by role app_owner made by the object's owner" in fitted(ORDINARY, grants("TABLE t", *by_another)).warnings[0]
    )
    member = replace(ORDINARY, assumable=ORDINARY.assumable | {"app_owner"})
    as_owner = ['SET ROLE "app_owner"', grant, "RESET ROLE"]
    assert granted(member, grant) == granted(member, *by_another) == as_owner
    inherits = replace(member, inherited=frozenset({"app_owner"}))
    assert granted(inherits, grant, *by_another) == [grant, *as_owner]


def test_default_privileges_need_their_role() -> None:
    statement = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT SELECT ON TABLES TO reader"
    assert granted(SUPER, statement.format("app_owner"), statement.format("gone"), desc="DEFAULT ACL") == [
        statement.format("app_owner")
    ]
    acl = grants("DEFAULT PRIVILEGES FOR TABLES", statement.format("app_owner"), desc="DEFAULT ACL")
    assert tried(ORDINARY, acl) == []
    assert fitted(ORDINARY, acl).warnings[0].startswith("left out, default privileges of roles that deploy is not a m")
    for target in (SUPER, ORDINARY):
        [said] = fitted(target, replace(acl, owner="gone")).warnings
        assert said.startswith("left out, default privileges of roles that do not exist here: DEFAULT ACL")
    assert tried(ORDINARY, replace(acl, owner="reader")) == ["DEFAULT ACL DEFAULT PRIVILEGES FOR TABLES"]


@pytest.mark.parametrize(
    ("roles", "restored"), [("PUBLIC", True), ("reader", True), ("reader, gone", False), ("gone", False)]
)
def test_a_policy_needs_all_its_roles(roles: str, restored: bool) -> None:
    defn = f"CREATE POLICY p ON public.t TO {roles} USING ((name = 'to gone') AND EXTRACT(year FROM born) > 1);"
    found = fitted(SUPER, entry("POLICY", "t p", defn=defn))
    assert bool(found.dump_ids) is restored
    assert bool(found.warnings) is not restored


def test_a_user_mapping_needs_its_role() -> None:
    mapping = "CREATE USER MAPPING FOR {} SERVER s OPTIONS (\"user\" 'gone');"
    entries = [entry("USER MAPPING", role, defn=mapping.format(role)) for role in ("reader", "gone")]
    assert kept(replace(SUPER, keep_foreign_servers=True), *entries) == ["reader"]


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


def test_what_schema_public_grants_is_left_to_the_server_to_refuse() -> None:
    acl = grants("SCHEMA public", "GRANT USAGE ON SCHEMA public TO reader", namespace="")
    assert tried(ORDINARY, acl) == ["ACL SCHEMA public"]
    assert granted(ORDINARY, "GRANT USAGE ON SCHEMA public TO reader") == ["GRANT USAGE ON SCHEMA public TO reader"]


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


# -- SQL ---------------------------------------------------------------------------------------------------------------

NESTED = "/* a /* b; */ c; */"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n\t", []),
        ("GRANT a TO b", ["GRANT", "a", "TO", "b"]),
        ("f(a,b)", ["f", "(", "a", ",", "b", ")"]),
        ("a_1$x + $1", ["a_1$x", "+", "$", "1"]),
        ("""'it''s; "x" -- no' a""", ["""'it''s; "x" -- no'""", "a"]),
        ("""'back\\' a""", ["'back\\'", "a"]),
        ("""E'back\\'; x' a""", ["E", "'back\\'; x'", "a"]),
        ("""(e'\\\\' a)""", ["(", "e", "'\\\\'", "a", ")"]),
        ("""note'a\\' b""", ["note", "'a\\'", "b"]),
        ('"a ""b"" ; \'c" d', ['"a ""b"" ; \'c"', "d"]),
        ("$$ ; ' $x$ \" $$ a", ["$$ ; ' $x$ \" $$", "a"]),
        ("$x$ $$ ; $y$ $x$ a", ["$x$ $$ ; $y$ $x$", "a"]),
        ("$é_1$;$é_1$ a", ["$é_1$;$é_1$", "a"]),
        ("a -- b ' c\n d", ["a", "d"]),
        ("a -- b", ["a"]),
        ("a /* ' ; \n */ b", ["a", "b"]),
        ("naïve_表 Ünï", ["naïve_表", "Ünï"]),
        ('"☃;☃"', ['"☃;☃"']),
        ("'never closed; a", ["'never closed; a"]),
        ('"never closed; a', ['"never closed; a']),
        ("$$never closed; a", ["$$never closed; a"]),
        ("a /* never closed; a", ["a"]),
        (f"a {NESTED} d", ["a", "d"]),
    ],
)
def test_tokens(text: str, found: list[str]) -> None:
    assert tokens(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (";;\n ; -- nothing\n", []),
        ("a; b ;c", ["a", "b", "c"]),
        ("a ';' b; c", ["a ';' b", "c"]),
        ('a ";" b; c', ['a ";" b', "c"]),
        ("a $f$;$f$; c", ["a $f$;$f$", "c"]),
        ("a E'\\';' b; c", ["a E'\\';' b", "c"]),
        ("a -- ;\n b; c", ["a -- ;\n b", "c"]),
        ("a /* ; */ b; c /* ; */", ["a /* ; */ b", "c /* ; */"]),
        ("a; 'never closed;", ["a", "'never closed;"]),
    ],
)
def test_statements_end_at_semicolons_that_are_semicolons(text: str, found: list[str]) -> None:
    assert split_statements(text) == found


def test_any_text_whatever_has_tokens() -> None:
    dice = random.Random(7)
    for _unused in range(2000):
        text = "".join(dice.choices("aE'\"$;-/*\\\n é1_", k=dice.randrange(12)))
        assert sum(map(len, tokens(text))) <= len(text)
        assert all(statement in text for statement in split_statements(text))


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
