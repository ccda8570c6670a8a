# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amazon DocumentDB: MongoDB over TLS, with credentials that go by the database's name, as the original has them."""

from __future__ import annotations

import os
from dataclasses import replace

from ...errors import EnvSyncError
from ...tasks.task import Task
from .address import uri_of
from .database import Mongo

#: the user that the original always takes; login_user names another
_USER = "master"


class DocumentDB(Mongo):
    """One database of one DocumentDB cluster.

    ``<DATABASE>_DOCUMENTDB_HOST`` and ``_PASSWD`` in the environment (upper case, ``-`` as ``_``) say where it is and
    give the password, where the task's keys do not; ``_CA_FILE`` names the certificate authority, where the system's
    are not enough. It is always spoken to over TLS. Of ``MONGODB_URI``, the options count.
    """

    kind = "documentdb"

    @classmethod
    def uri(cls, task: Task) -> str:
        stem = task.database.replace("-", "_").upper() + "_DOCUMENTDB_"
        given = task.connection
        host = given.host or os.environ.get(stem + "HOST", "")
        password = given.password or os.environ.get(stem + "PASSWD", "")
        for value, key, name in ((host, "database_hostname", "HOST"), (password, "login_password", "PASSWD")):
            if not value:
                raise EnvSyncError(
                    f"looking for the DocumentDB cluster of {task.database}",
                    f"neither {key} nor {stem}{name} in the environment is set",
                    f"Set {stem}{name} in env.d.",
                )
        connection = replace(given, host=host, user=given.user or _USER, password=password)
        # DocumentDB refuses retryable writes (Developer Guide, functional differences).
        options = {"tls": "true", "retryWrites": "false"}
        authority = os.environ.get(stem + "CA_FILE", "")
        if authority:
            options["tlsCAFile"] = authority
        return uri_of(connection, os.environ.get("MONGODB_URI", ""), options)
