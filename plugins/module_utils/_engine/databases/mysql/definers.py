# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The accounts that a user may make the definers of views, routines, triggers and events."""

from __future__ import annotations

import contextlib

from .client import Server
from .errors import ServerError
from .fit import Account


def possible_definers(server: Server, doing: str) -> frozenset[Account]:
    """Return the accounts that this user may give objects to: itself, and with the right to, all that exist.

    (MySQL manual, "Stored Object Access Control"; MariaDB, "GRANT", SET USER.)
    """
    ask = server.query
    itself = str(ask("SELECT CURRENT_USER()", (), doing)[0][0])
    user, _unused, host = itself.rpartition("@")
    accounts = {(user.encode(), host.encode())}
    rights = server.rights()
    if rights & {"ALL PRIVILEGES", "SUPER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER"}:
        with contextlib.suppress(ServerError):  # nobody has to be allowed to read these
            accounts |= _accounts(server, "SELECT User, Host FROM mysql.user")
        if not rights & {"ALL PRIVILEGES", "SYSTEM_USER"}:
            with contextlib.suppress(ServerError):  # MySQL 8.0.16 and newer: such accounts are for their like
                system = "SELECT USER, HOST FROM mysql.global_grants WHERE PRIV = 'SYSTEM_USER'"
                accounts -= _accounts(server, system)
    return frozenset(accounts)


def _accounts(server: Server, query: str) -> set[Account]:
    return {(str(user).encode(), str(host).encode()) for user, host in server.query(query)}
