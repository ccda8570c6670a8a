# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What MySQL and MariaDB complain of, and how much of it may be repeated: a message can quote a row."""

from __future__ import annotations

from ...errors import EnvSyncError

# Errors (MySQL manual, "Server Error Message Reference") whose text can't hold a value of a row: it names columns,
# keys, tables, rights. Others (1062 duplicate entry, 1292 incorrect value, 1644 raised by a routine...) may.
_SAFE_ERRORS = frozenset(
    {1044, 1046, 1048, 1114, 1115, 1118, 1136, 1142, 1143, 1153, 1205, 1213, 1215, 1216, 1217, 1227, 1235, 1264, 1290}
    | {1347, 1351, 1356, 1364, 1368, 1370, 1406, 1418, 1419, 1435, 1451, 1452, 1538, 1680, 1728, 1821, 1822, 3105}
    | {3730, 3750, 3780, 3819, 4025, 6125}
)

#: these quote the statement: harmless where that holds no data
_QUOTING_ERRORS = frozenset(
    {1049, 1050, 1051, 1054, 1060, 1061, 1064, 1068, 1071, 1072, 1091, 1109, 1146, 1273, 1286, 1304, 1305, 1359, 1360}
    | {1449}
)


class ServerError(EnvSyncError):
    """The server refused a statement, or a connection; ``code`` is its error number, 0 where it is not the server's.

    :param text: what the server said.
    :param why: what of that may be repeated, where that is not all; see :func:`describe`.
    """

    def __init__(self, doing: str, code: int, text: str, why: str = "", hint: str = "") -> None:
        super().__init__(doing, why or text, hint or _hint(code, text))
        self.code = code


def describe(code: int, text: str, data: bool = False) -> str:
    """Return what of the server's complaint may be repeated: its number, and its text if that is harmless.

    :param code: the server's error number (MySQL manual, "Server Error Message Reference").
    :param data: the statement may hold data.
    """
    if code in _SAFE_ERRORS or 2000 <= code < 3000 or (code in _QUOTING_ERRORS and not data):
        return f"error {code}: {text}"
    return f"error {code} (its text is withheld, as it may quote data)"


def code_and_text(error: Exception) -> tuple[int, str]:
    """Return the number and the text of what PyMySQL raised; 0 where it is not the server's."""
    if len(error.args) > 1 and isinstance(error.args[0], int):
        return error.args[0], str(error.args[1]).strip()
    return 0, str(error).strip() or type(error).__name__


def _hint(code: int, text: str) -> str:
    if code in (1044, 1142, 1143, 1227, 1370, 1419):
        return "Give the user of login_user the right that is missing (the documentation lists what a task needs)."
    if code in (1045, 1698, 1130):
        return "Check login_user, and the password in ~/.my.cnf or login_password."
    if code == 1049:
        return "Check the parameter database."
    if code in (2002, 2003, 2005):
        return "Check database_hostname and database_port, and that the server is running."
    if code == 1205:
        return "End the transaction that uses these tables, or give this user the right to (CONNECTION ADMIN)."
    if code == 1153:
        return "Raise max_allowed_packet on the server."
    if "cryptography" in text:
        return "Install the Python library cryptography, or use TLS (ssl-ca in ~/.my.cnf)."
    return ""
