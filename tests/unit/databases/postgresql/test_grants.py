# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.databases.postgresql.archives import ORDINARY, SUPER, entry, fitted, granted, grants, kept, tried


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


def test_what_schema_public_grants_is_left_to_the_server_to_refuse() -> None:
    acl = grants("SCHEMA public", "GRANT USAGE ON SCHEMA public TO reader", namespace="")
    assert tried(ORDINARY, acl) == ["ACL SCHEMA public"]
    assert granted(ORDINARY, "GRANT USAGE ON SCHEMA public TO reader") == ["GRANT USAGE ON SCHEMA public TO reader"]
