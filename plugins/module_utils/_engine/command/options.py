# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the command can be asked: its options, and how they are read."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..tasks import inventory, keys
from ..tasks.task import Task
from ..version import VERSION


@dataclass(frozen=True)
class Option:
    """The option for one key of a task; ``value`` is what its help calls the value, empty for a switch."""

    key: str
    value: str
    help: str
    short: str = ""
    also: str = ""


def _one_of(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


OPTIONS: Mapping[str, Sequence[Option]] = {
    "what": (
        Option("action", "ACTION", _one_of(keys.ACTIONS), "-a"),
        Option("dbms", "DBMS", _one_of(keys.DBMS), "-D"),
        Option("database", "NAME", "the database", "-d"),
        Option("directory", "DIR", "the directory tree, where dbms is files"),
        Option("timestamp", "TIME", "the point to take, YYYY-MM-DDTHH:MM[:SS] (default: the newest)", "-t"),
        Option("excluded_tables", "TABLES", "tables to leave out of a push, with commas; * and ? are wildcards", "-e"),
        Option("excluded_table_data", "TABLES", "tables to push without their rows (PostgreSQL, MySQL), likewise"),
        Option("excluded_extensions", "NAMES", "PostgreSQL: extensions to leave out, and what depends on them"),
        Option("excluded_objects", "OBJECTS", "PostgreSQL: objects not to restore: 'VIEW public.broken', with commas"),
        Option("indices", "INDICES", "Elasticsearch: the indices, with commas; * and ? are wildcards (default: all)"),
        Option("environment", "NAME", "the environment, noted in the manifest of a push"),
    ),
    "the database server (default: where the DBMS's own client would go)": (
        Option("database_hostname", "HOST", "host name, or directory of the Unix socket", "-H"),
        Option("database_port", "PORT", "TCP port"),
        Option("login_user", "USER", "the role to log in as"),
    ),
    "the store": (
        Option("storagebackend", "STORE", _one_of(keys.STORES), "-S"),
        Option("url", "URL", "bucket, base directory, host (rsync), or snapshot repository", "-u"),
        Option("path", "PATH", "prefix in the bucket, or folder below the directory", "-p"),
        Option("src", "DIR", "pull from this local directory instead of a store"),
        Option("dest", "DIR", "push into this local directory instead of a store"),
    ),
    "S3 (default: as the AWS command line takes it)": (
        Option("endpoint_url", "URL", "an S3 service other than AWS"),
        Option("region", "REGION", "the bucket's region"),
        Option("profile", "NAME", "a profile of the AWS configuration files"),
        Option("addressing_style", "STYLE", _one_of(keys.ADDRESSING_STYLES)),
        Option("validate_certs", "", "check the service's certificate"),
        Option("aws_ca_bundle", "FILE", "certificates of the authorities to trust"),
        Option("encryption_mode", "MODE", "encryption at rest: " + _one_of(keys.ENCRYPTION_MODES)),
        Option("encryption_kms_key_id", "ID", "the key for aws:kms"),
        Option("acl", "ACL", "canned ACL for what is stored (default: none is sent)"),
        Option("storage_class", "CLASS", "storage class for what is stored"),
        Option("max_upload_parts", "N", "parts that the service allows in an upload (default: 10000)"),
    ),
    "Elasticsearch and OpenSearch": (
        Option("aws_sigv4", "", "sign requests for Amazon OpenSearch Service"),
        Option("restore_as", "WHAT", "what the live names are after a pull: " + _one_of(keys.RESTORE_AS)),
        Option("repository_type", "TYPE", "register the snapshot repository where it isn't: fs, s3, ..."),
        Option("repository_settings", "SETTINGS", "its settings: name=value, with commas"),
    ),
    "rsync over ssh (default: as ssh's own configuration says)": (
        Option("ssh_port", "PORT", "TCP port"),
        Option("ssh_key_file", "FILE", "the private key to log in with"),
        Option("ssh_known_hosts_file", "FILE", "the keys of the hosts to trust"),
    ),
    "SQL": (
        Option(
            "transformation_sql_filename",
            "FILES",
            "scripts to run on what was pulled, before it goes live, with commas",
            "-s",
            "transformation_sql_file",
        ),
        Option(
            "pre_dump_transformation_sql_filename",
            "FILES",
            "scripts to run on the database itself, before a push",
            "-F",
            "pre_dump_transformation_sql_file",
        ),
        Option("sources", "NAMES", "the environments whose points may be pulled, with commas (default: any)"),
        Option(
            "max_point_age", "AGE", "refuse to pull a point that is older: seconds, or 90m, 36h, 3d (default: any age)"
        ),
        Option("require_sanitised", "", "refuse to pull what no script sanitised"),
        Option("may_change_nothing", "", "a transformation that changes no row is right for this database"),
        Option("keep_foreign_servers", "", "restore a database's ways to other servers, passwords and all"),
        Option("locale", "NAME", "PostgreSQL: the locale of a pull's database (default: the source's)"),
        Option("template_database", "NAME", "PostgreSQL: what a pull's database begins as (default: template0)"),
    ),
    "how": (
        Option("temppath", "DIR", "where to make temporary files", "-T"),
        Option("jobs", "N", "tables to dump or restore at once (default: as many as there are cores)"),
        Option("format", "FORMAT", f"of a push: {_one_of(keys.FORMATS)} (default: {Task.format})"),
        Option("compression", "NAME", f"of a push: {_one_of(keys.COMPRESSIONS)} (default: {Task.compression})"),
        Option("compression_level", "N", "1 (fast) to 19 (small)"),
        Option(
            "old_database",
            "WHAT",
            f"what a pull replaced: {_one_of(keys.OLD_DATABASE)} it (default: {Task.old_database})",
        ),
        Option("allow_special_files", "", "files: let device nodes and programs with rights of their own pass"),
        Option("allow_restore_to_source", "", "let a pull replace the database that the point was pushed from"),
        Option("analyze", "", "gather the planner's statistics before a pull goes live"),
        Option("timezone", "ZONE", f"of points' timestamps: {_one_of(keys.TIMEZONES)} (default: {Task.timezone})"),
        Option("lock_wait", "SECONDS", "how long to wait for another run on the same database (default: 0)"),
        Option(
            "lock_timeout",
            "SECONDS",
            f"how long to wait for locks of other sessions, PostgreSQL; 0: for ever (default: {Task.lock_timeout})",
        ),
        Option(
            "stall_timeout",
            "SECONDS",
            f"how long a dump program may write nothing; 0: for ever (default: {Task.stall_timeout})",
        ),
        Option("state_dir", "DIR", "where statuses and journals are kept"),
    ),
    "buckets, for the action s3_sync": (
        Option("source_bucket", "BUCKET", "the bucket to copy from"),
        Option("destination_bucket", "BUCKET", "the bucket to copy to"),
        Option("delete", "", "remove from the destination what the source has not"),
    ),
}

#: keys that no option sets: schedule and freshness do not concern one run; secrets, and the access key that goes with
#: one, come from the environment
KEYS_WITHOUT_OPTION = frozenset({"name", "access_key"}) | inventory.DEPLOYMENT | keys.SECRETS

#: keys of a config file that a flag for another key sets aside
SET_ASIDE = {
    "transformation_sql_filename": ("transformation_sql_file",),
    "pre_dump_transformation_sql_filename": ("pre_dump_transformation_sql_file",),
    "url": ("src", "dest"),
}


def _epilog(conf_dir: str, log: str) -> str:
    paragraphs = (
        "Flags win over the config file. A name without a slash (of a config file, a script, the DIR of --env-dir) is "
        f"that of what is deployed in {conf_dir}; a file in the current directory is ./NAME.",
        "Secrets have no options, and config files with secrets are refused. They come from the environment "
        "(PGPASSWORD, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), which cron's jobs get from "
        f"{conf_dir}/env.d, from ~/.pgpass, or from the AWS configuration files.",
        "Exit status: 0 done, or nothing to do; 1 failed, and the live database is as it was; 2 wrong usage; "
        "3 --check-store has warnings; "
        f"129, 130, 143 stopped by SIGHUP, SIGINT, SIGTERM. The log is {log}.",
    )
    return "\n\n".join(textwrap.fill(text, shutil.get_terminal_size().columns - 2) for text in paragraphs)


class _Parser(argparse.ArgumentParser):
    """Ends with status 2 and one line; argparse would print the usage of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says ``-d, --database NAME`` where argparse before Python 3.13 says the value's name twice."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        text = ", ".join(action.option_strings)
        return text if action.nargs == 0 else f"{text} {action.metavar}"


def make_parser(name: str, conf_dir: str, log: str) -> argparse.ArgumentParser:
    """Return the parser of the command of this name.

    :param conf_dir: where its help says that config files are.
    :param log: the path of the log file, for the help.
    """
    parser = _Parser(
        prog=name,
        usage=f"{name} -f CONFIG [option ...]\n"
        f"       {name} -a ACTION -D DBMS -d NAME -S STORE -u URL [-p PATH] [option ...]\n"
        f"       {name} --list | --verify | --prune KEEP | --check-store | --status  [-f CONFIG] [option ...]",
        description="Push a database into a store, or pull it from there into another environment.",
        epilog=_epilog(conf_dir, log),
        formatter_class=_Help,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-f", "--config", metavar="CONFIG", help="the task's config file, or just the task's name")
    parser.add_argument("--env-dir", metavar="DIR", help="set the environment from a directory, as envdir does")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and what was asked for")
    parser.add_argument("--verbose", action="store_true", help="show the log's lines on standard error too")
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}", help="print the version")
    parser.add_argument("-h", "--help", action="help", help="print this")
    instead = parser.add_argument_group("instead of running the task")
    instead.add_argument(
        "--plan", action="store_true", help="say what would be done (also with --prune, --check-store); change nothing"
    )
    verbs = instead.add_mutually_exclusive_group()
    for verb, text in (
        ("list", "list the store's points (those of one database with -d)"),
        ("verify", "read all of a point, and say whether it is good"),
        ("check-store", "try the store: write, read, list, remove, clock, rights, locks"),
        ("status", "say how far the tasks on this host are, or how they ended"),
    ):
        verbs.add_argument(f"--{verb}", dest="verb", action="store_const", const=verb.replace("-", "_"), help=text)
    verbs.add_argument(
        "--prune", metavar="KEEP", type=int, help="remove all but the newest KEEP points of the database"
    )
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for option in options:
            _add_option(group, option)
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command's arguments; end the program where they are wrong.

    What follows an option that there is not is in no message: it may be a secret.
    """
    asked, rest = parser.parse_known_args(joined(parser, argv))
    unknown = [argument.partition("=")[0] for argument in rest if argument.startswith("-")]
    if unknown:
        parser.error("; ".join(f"there is no option {option}{_instead(parser, option)}" for option in unknown))
    if rest:
        parser.error("there is an argument that belongs to no option")
    return asked


def _instead(parser: argparse.ArgumentParser, option: str) -> str:
    """Return what to do where an option does not exist: a hint in parentheses, or nothing."""
    key = option.lstrip("-").replace("-", "_")
    if key in keys.SECRETS or key in ("access_key", "password"):
        return " (secrets come from the environment, such as PGPASSWORD, or from ~/.pgpass and its like)"
    if key in inventory.DEPLOYMENT:
        return " (it is a key of a task that is deployed)"
    return keys.did_you_mean(option, [text for action in parser._actions for text in action.option_strings])


def joined(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Return the arguments, with an option's value that begins with a dash joined to it, as argparse wants it.

    ``getopts``, which the original has, takes whatever follows: a database may be called ``-dash``. What is an option
    itself is none of these: there the value was forgotten.
    """
    known = {text: action for action in parser._actions for text in action.option_strings}
    arguments: list[str] = []
    for argument in argv:
        option = arguments[-1] if arguments else ""
        waits = option in known and known[option].nargs is None
        if waits and argument.startswith("-") and argument.partition("=")[0] not in known:
            arguments[-1] += f"={argument}" if option.startswith("--") else argument
        else:
            arguments.append(argument)
    return arguments


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    names = [option.short] if option.short else []
    names.append("--" + option.key.replace("_", "-"))
    if option.value:
        group.add_argument(*names, dest=option.key, metavar=option.value, help=option.help)
    else:
        group.add_argument(*names, dest=option.key, action=argparse.BooleanOptionalAction, help=option.help)
    if option.also:
        group.add_argument("--" + option.also.replace("_", "-"), dest=option.key, help=argparse.SUPPRESS)


def check_usage(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """Set ``asked.verb``, what is to be done; end the program where the options do not go together."""
    if asked.prune is not None:
        asked.verb = "prune"
    if asked.plan and asked.verb not in (None, "prune", "check_store"):
        parser.error(f"argument --plan: not allowed with --{asked.verb}")
    if asked.verb is None:
        asked.verb = "plan" if asked.plan else "run"
    if asked.verb != "status" and not asked.config and not flags(asked):
        parser.error("no task is given: name its config file with -f, or give its parameters as options")


def from_here(given: Mapping[str, Any], local: bool) -> dict[str, Any]:
    """Return flags with the relative paths among them as such: a shell's user means the current directory.

    :param local: the store's ``url`` is a path.
    """
    values = dict(given)
    for key in (*keys.PATHS, *(["url"] if local else [])):
        if key in values:
            values[key] = _from_here(values[key])
    for key in keys.FILES & set(values):
        names = (name.strip() for name in values[key].split(","))
        values[key] = ",".join(_from_here(name) if "/" in name else name for name in names)
    return values


def _from_here(path: str) -> str:
    return path if not path or path.startswith(("/", "~")) or keys.is_here(path) else f"./{path}"


def flags(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the task's keys that were given as flags."""
    names = [option.key for options in OPTIONS.values() for option in options]
    return {key: getattr(asked, key) for key in names if getattr(asked, key) is not None}
