# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the original did beside what its tasks declare, and an inventory therefore has to say itself.

A finding is a mapping: ``about`` (a task's title, or a key of the hieradata), ``what`` the original did, and ``do``,
what to do about it here. Secrets of the hieradata are never repeated.
"""

from __future__ import annotations

import re

#: keys of the Puppet module that become variables of the inventory
TASKS = {"govuk_env_sync::tasks": "tasks", "govuk_env_sync::s3_sync_tasks": "s3_sync_tasks"}

#: the module's other parameters: the original's default, and what has their place here
PARAMETERS = {
    "govuk_env_sync::user": ("govuk-backup", "env_sync_user"),
    "govuk_env_sync::conf_dir": ("/etc/govuk_env_sync", "env_sync_name, from which the directory takes its name"),
}
REGION = "govuk_env_sync::aws_region"
DOCUMENTDB = "govuk_env_sync::document_db_credentials"
DOMAIN = "app_domain_internal"

#: databases that the original changed after a pull, by their names: what it did, and the example that does it here
FIX_UPS = {
    "router": ("it gave the backends' addresses this environment's domain", "router.js"),
    "draft_router": ("it gave the backends' addresses this environment's domain", "router.js"),
    "signon_production": (
        "in staging, it gave the OAuth applications' addresses this environment's domains",
        "signon.sql",
    ),
    "govuk_assets_production": ("it redacted the file names of access-limited assets", "govuk_assets.js"),
}


def mentions(text):
    """Say whether a file of hieradata may hold something that the original took."""
    return re.search(rf"^[\"']?(govuk_env_sync::|{DOMAIN}\b)", text, re.M) is not None


def of_parameters(data):
    """Return the findings of what a file of hieradata has beside tasks."""
    found = []
    for key in sorted(key for key in data if isinstance(key, str) and key.startswith("govuk_env_sync::")):
        if key in TASKS:
            continue
        if key in PARAMETERS:
            default, ours = PARAMETERS[key]
            if data[key] != default:
                found.append(_finding(key, f"is {data[key]}", f"Set {ours}."))
        elif key == REGION:
            found.append(_finding(key, "was in the tasks' environment", _variable("AWS_REGION", data[key])))
        elif key == DOCUMENTDB:
            found += _documentdb(data[key])
        else:
            found.append(
                _finding(
                    key, "is a parameter that is not brought along", "Look up what it was for; it may hold a secret."
                )
            )
    if DOMAIN in data:
        what = "was in the tasks' environment as LOCAL_DOMAIN, for what the original did to databases after a pull"
        found.append(_finding(DOMAIN, what, f"The example scripts have a variable for it: {data[DOMAIN]}."))
    return found


def _documentdb(credentials):
    found = []
    for name in sorted(credentials) if isinstance(credentials, dict) else []:
        given = credentials[name] if isinstance(credentials[name], dict) else {}
        variable = _documentdb_variable(name)
        do = f"Put {variable}_HOST into env_sync_variables" + (f" ({given['host']})" if given.get("host") else "")
        do += f", and {variable}_PASSWD into env_sync_secret_environment, encrypted."
        found.append(_finding(f"{DOCUMENTDB}: {name}", "was in the tasks' environment", do))
    return found or [
        _finding(DOCUMENTDB, "is no mapping from databases to credentials", "Look up what it was meant to be.")
    ]


def of_every_task(datas):
    """Return the findings of what the original gave every task, from all files together."""
    found = []
    if not any(REGION in data for data in datas):
        what = "AWS_REGION was eu-west-1 in the tasks' environment"
        found.append(_finding("every task", what, _variable("AWS_REGION", "eu-west-1")))
    if not any(DOMAIN in data for data in datas):
        what = f"LOCAL_DOMAIN was in the tasks' environment, from {DOMAIN} of the hieradata"
        do = "Only what the original did to databases after a pull took it; the example scripts have a variable for it."
        found.append(_finding("every task", what, do))
    what = "the timestamps of points were in the host's local time"
    do = "They are in UTC here; set timezone: local in a push while something else still reads them as local."
    return [*found, _finding("every task", what, do)]


def of_tasks(tasks, s3_sync_tasks):
    """Return the findings of the tasks that may run, now or when they are enabled again (``absent`` ones do not)."""
    found = []
    for title, values in tasks.items():
        if _may_run(values):
            found += _of_task(title, values)
    for title, values in s3_sync_tasks.items():
        if _may_run(values) and not values.get("acl"):
            what = "the original sent the ACL bucket-owner-full-control with every object; without acl none is sent"
            do = (
                "Add acl: bucket-owner-full-control where another account owns the destination and its bucket has ACLs "
                "on. A bucket with ACLs off refuses it."
            )
            found.append(_finding(title, what, do))
    return found


def _may_run(values):
    return isinstance(values, dict) and str(values.get("ensure") or "present") != "absent"


def _of_task(title, values):
    database, dbms, action = (str(values.get(key) or "") for key in ("database", "dbms", "action"))
    found = []
    if action == "pull" and database in FIX_UPS:
        what, example = FIX_UPS[database]
        do = (
            f"Adapt {example}, name it in env_sync_transformation_sql_files, and set transformation_sql_filename: "
            f"{example}. Without it, {database} goes live as it was pushed."
        )
        found.append(_finding(title, f"after a pull of {database}, {what}", do))
    if dbms == "documentdb":
        what = (
            "the original logged in as master, with NAME_DOCUMENTDB_HOST and NAME_DOCUMENTDB_PASSWD of the environment "
            "(NAME is the database's name in upper case, with _ for -)"
        )
        do = (
            "Put NAME_DOCUMENTDB_HOST into env_sync_variables (or set database_hostname), and NAME_DOCUMENTDB_PASSWD "
            "into env_sync_secret_environment, encrypted; set login_user for another user than master."
        )
        found.append(_finding(title, what, do))
    if dbms in ("postgresql", "mysql") and not values.get("login_user"):
        found.append(_finding(title, *_user(dbms, action)))
    if dbms == "postgresql" and action == "pull" and database == "ckan_production":
        what = "the original restored it without a single transaction, as part of it always failed"
        found.append(_finding(title, what, "See what --plan says; leave out what can't be restored."))
    for key in ("transformation_sql_filename", "pre_dump_transformation_sql_filename"):
        names = ", ".join(script_names(values.get(key)))
        if names:
            what = f"{key} is {names}, which the Puppet module had in files/transformation_sql"
            found.append(_finding(title, what, "Copy it, and name the copy in env_sync_transformation_sql_files."))
    return found


def _user(dbms, action):
    """The login that the original took, which no task names."""
    if dbms == "postgresql":
        what = "the original logged in as aws_db_admin, by sudo and root's ~/.pgpass"
        do = (
            "Set login_user: aws_db_admin, and PGPASSWORD in env_sync_secret_environment or ~/.pgpass of "
            "env_sync_user; root's files are not read."
        )
        if action == "pull":
            what += ", and gave aws_db_admin what the schema public's owner postgres had"
            do += " What a pull that is no superuser can't restore is in its warnings."
        return what, do
    user = (
        "aws_db_admin (as root where AWS_ACCESS_KEY_ID was set)" if action == "push" else "the user of root's ~/.my.cnf"
    )
    what = f"the original logged in as {user}, by sudo -H, with the password of root's ~/.my.cnf"
    return what, "Set login_user, and put the password into ~/.my.cnf of env_sync_user; root's files are not read."


def script_names(value):
    """Return the names in a task's key that names scripts: a list, or text with commas."""
    names = value or ""
    names = names if isinstance(names, list) else str(names).split(",")
    return [name for name in (str(name).strip() for name in names) if name]


def examples(tasks):
    """Return the names of the example scripts that the tasks will want."""
    wanted = set()
    for values in tasks.values():
        if _may_run(values) and str(values.get("action")) == "pull" and str(values.get("database")) in FIX_UPS:
            wanted.add(FIX_UPS[str(values["database"])][1])
    return sorted(wanted)


def merged(findings):
    """Return the findings with those that differ in nothing but the task as one; ``about`` is a list then."""
    found = {}
    for finding in findings:
        found.setdefault((finding["what"], finding["do"]), []).append(finding["about"])
    return [{"about": about, "what": what, "do": do} for (what, do), about in found.items()]


def _documentdb_variable(database):
    return f"{database.upper().replace('-', '_')}_DOCUMENTDB"


def _variable(name, value):
    return f"Put {name}: {value} into env_sync_variables."


def _finding(about, what, do):
    return {"about": about, "what": what, "do": do}
