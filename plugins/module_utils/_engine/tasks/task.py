# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task: what is asked for, validated, whichever front end asked.

The keys are those of the original's inventory (``govuk_env_sync::tasks``); newer keys extend the list.
Values arrive as strings (a config file, a command line) or as native types (a module's parameters).
"""

from __future__ import annotations

import datetime
import difflib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Callable

from ..errors import EnvSyncError
from .config import default_conf_dir
from .schedule import FIELDS, Schedule

ACTIONS = ("push", "pull", "s3_sync")
DBMS = ("postgresql", "mysql", "files", "mongo", "documentdb", "elasticsearch")
#: which key names a local directory that stands in for a store
LOCAL = MappingProxyType({"push": "dest", "pull": "src"})
FILE_STORES = ("s3", "directory", "rsync")
#: the stores whose server stores by itself, each with the only dbms that it stores
SELF_STORING = MappingProxyType({"es_snapshot": "elasticsearch"})
STORES = (*FILE_STORES, *SELF_STORING)

#: what others call some keys: Puppet's cron
_OTHER_NAMES = MappingProxyType({"monthday": "day"})

#: what the original calls some of them
OLD_DBMS = {"elasticsearch5": "elasticsearch"}
OLD_STORES = {"elasticsearch": "es_snapshot"}

FORMATS = ("directory", "custom")
COMPRESSIONS = ("zstd", "gzip", "none")
TIMEZONES = ("utc", "local")
OLD_DATABASE = ("drop", "keep")
RESTORE_AS = ("alias", "index")
ADDRESSING_STYLES = ("auto", "path", "virtual")
ENCRYPTION_MODES = ("AES256", "aws:kms", "none")

TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:[0-5]\d)?\Z", re.ASCII)


def _text(value: Any) -> str:
    if isinstance(value, (dict, list, tuple, set)):
        raise ValueError("must be a single value")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line
        raise ValueError("must be UTF-8 text") from None
    return text


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "yes", "on", "1", "y", "t"):
        return True
    if text in ("false", "no", "off", "0", "n", "f", ""):
        return False
    raise ValueError("must be true or false")


def _number(lowest: int, highest: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        try:
            number = int(str(value).strip())
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not lowest <= number <= highest:
            raise ValueError(f"must be from {lowest} to {highest}")
        return number

    return convert


def _choice(*allowed: str, old: Mapping[str, str] = MappingProxyType({})) -> Callable[[Any], str]:
    """:param old: words that mean one of the allowed ones."""

    def convert(value: Any) -> str:
        text = str(value).strip()
        text = old.get(text, text)
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return convert


def _duration(value: Any) -> int:
    """Seconds: a number of them, or of other units (``90m``, ``36h``, ``3d``)."""
    match = re.match(r"(\d{1,9})\s*([smhd]?)\Z", str(value).strip(), re.ASCII)
    if not match:
        raise ValueError("must be a number of seconds, or of minutes, hours or days (90m, 36h, 3d)")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def environment_name(value: Any) -> str:
    """Return the name of an environment; raises ValueError where it can't be one."""
    text = _text(value).strip()
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z", text, re.ASCII):
        raise ValueError("must be an environment's name (letters, digits, _ . -)")
    return text


def _environments(value: Any) -> tuple[str, ...]:
    return tuple(environment_name(name) for name in _names(value))


def _names(value: Any) -> tuple[str, ...]:
    """A list of names: a YAML list, or one string with commas between them, as the original takes it."""
    items = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(_text(item).strip() for item in items if str(item).strip())


def _objects(value: Any) -> tuple[str, ...]:
    """A list of objects: a YAML list, or one string with commas between them, but for those in parentheses or quotes.

    The arguments of a function are part of its name: ``FUNCTION public.f(integer, text)``.
    """
    if isinstance(value, (list, tuple)):
        return _names(value)
    return _names([match[0] for match in _OBJECT.finditer(_text(value))])


#: one object of such a string
_OBJECT = re.compile(r'(?:"[^"]*"|\([^()]*\)|[^,])+')


def _settings(value: Any) -> dict[str, str]:
    """Settings by name: a YAML mapping, or one string, ``name=value`` with commas between them."""
    if isinstance(value, Mapping):
        return {str(name): str(item).lower() if isinstance(item, bool) else str(item) for name, item in value.items()}
    pairs = [item.partition("=") for item in _names(value)]
    if not all(name and sign for name, sign, _unused in pairs):
        raise ValueError("must be a mapping, or name=value with commas between them")
    return {name.strip(): item.strip() for name, _unused, item in pairs}


def _timestamp(value: Any) -> str:
    text = str(value).strip()
    if not TIMESTAMP.match(text):
        raise ValueError("must have the form YYYY-MM-DDTHH:MM or YYYY-MM-DDTHH:MM:SS")
    try:
        datetime.datetime.strptime(text[:16], "%Y-%m-%dT%H:%M")
    except ValueError:
        raise ValueError("must be a day and a time that exist") from None
    return text


def _user(value: Any) -> str:
    text = _text(value)
    if not re.match(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z", text, re.ASCII):
        raise ValueError("must be the name of a user")
    return text


def _path(value: Any) -> str:
    """A path: absolute, or beginning with ``./`` or ``../`` for the directory that the caller is in."""
    text = os.path.expanduser(_text(value))
    if is_here(text):
        try:
            return os.path.abspath(text)
        except OSError:
            raise ValueError("is relative to the current directory, which is gone") from None
    if not os.path.isabs(text):
        raise ValueError("must be an absolute path (or begin with ./)")
    return text


def is_here(text: str) -> bool:
    """Say whether a path is meant to begin in the current directory: that is said, and never assumed."""
    return text in (".", "..") or text.startswith(("./", "../"))


def _absolute(value: Any) -> str:
    text = os.path.expanduser(_text(value))
    if not os.path.isabs(text):
        raise ValueError("must be an absolute path")
    return text


def _prefix(value: Any) -> str:
    text = _text(value).rstrip("/")
    if any(part in (".", "..") for part in text.split("/")):
        raise ValueError("must not contain . or .. as a folder")
    return text


def _object_part(value: Any) -> str:
    text = _text(value)
    if any(ord(character) < 32 for character in text):
        raise ValueError("must not contain control characters")
    return text


#: what a :class:`Connection`'s host calls this machine, over the network
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Connection:
    """How to reach the database server. Empty values are left to the DBMS's own client (libpq's environment...)."""

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class S3Options:
    """How to reach a bucket; names as in amazon.aws. Empty values are left to the AWS chain."""

    endpoint_url: str = ""
    region: str = ""
    profile: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    validate_certs: bool = True
    aws_ca_bundle: str = ""
    addressing_style: str = "auto"
    encryption_mode: str = ""
    encryption_kms_key_id: str = ""
    acl: str = ""
    storage_class: str = ""
    max_upload_parts: int = 10000


@dataclass(frozen=True)
class SshOptions:
    """How to reach the host of an rsync store. Empty values are left to ssh's own configuration."""

    ssh_port: int = 0
    ssh_key_file: str = ""
    ssh_known_hosts_file: str = ""


@dataclass(frozen=True)
class ElasticOptions:
    """How to log in to Elasticsearch beside user and password, and what to register a snapshot repository as."""

    api_key: str = field(default="", repr=False)
    aws_sigv4: bool = False
    repository_type: str = ""
    repository_settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One push, pull or bucket sync. Build it with :meth:`from_mapping`.

    ``timestamp`` is ``YYYY-MM-DDTHH:MM[:SS]`` or empty (pull: the newest point; push: now).
    ``jobs`` is how many tables are dumped or restored at once; 0 means as many as there are cores.
    The keys ``src`` and ``dest`` name a local directory that stands in for a store.
    """

    name: str = ""
    action: str = ""
    dbms: str = ""
    storagebackend: str = ""
    database: str = ""
    directory: str = ""
    connection: Connection = Connection()
    temppath: str = ""
    url: str = ""
    path: str = ""
    timestamp: str = ""
    transformation_sql: tuple[str, ...] = ()
    pre_dump_transformation_sql: tuple[str, ...] = ()
    excluded_tables: tuple[str, ...] = ()
    excluded_table_data: tuple[str, ...] = ()
    excluded_extensions: tuple[str, ...] = ()
    excluded_objects: tuple[str, ...] = ()
    s3: S3Options = S3Options()
    ssh: SshOptions = SshOptions()
    elastic: ElasticOptions = ElasticOptions()
    indices: tuple[str, ...] = ()
    format: str = "directory"
    compression: str = "zstd"
    compression_level: int = 0
    jobs: int = 0
    timezone: str = "utc"
    environment: str = ""
    allow_restore_to_source: bool = False
    allow_special_files: bool = False
    require_sanitised: bool = False
    sources: tuple[str, ...] = ()
    max_point_age: int = 0
    may_change_nothing: bool = False
    keep_foreign_servers: bool = False
    template_database: str = ""
    locale: str = ""
    old_database: str = "drop"
    restore_as: str = "alias"
    analyze: bool = True
    lock_wait: int = 0
    lock_timeout: int = 60
    stall_timeout: int = 1800
    state_dir: str = ""
    source_bucket: str = ""
    destination_bucket: str = ""
    delete: bool = False

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], name: str = "", conf_dir: str = "") -> Task:
        """Return the task that the flat mapping ``values`` describes.

        :param values: keys as in ``KEYS``; None and empty strings count as not given.
        :param name: the task's title (a config file's base name); ``values['name']`` where that is empty.
        :param conf_dir: where names of transformation files are looked up, in its folder ``transformation_sql``, as
            the original does. One that begins with ``./`` is a path from the current directory, which is looked into
            for nothing else. Empty: that of the command.
        :raises EnvSyncError: names every fault at once.
        """
        given: dict[str, Any] = {}
        faults: list[str] = []
        for key, value in values.items():
            if value is None or (isinstance(value, str) and value == ""):
                continue
            convert = KEYS.get(key)
            if convert is None:
                faults.append(f"unknown key {key}{did_you_mean(str(key), KEYS, _OTHER_NAMES)}")
                continue
            try:
                given[key] = convert(value)
            except ValueError as error:
                faults.append(f"{key} {error}" + ("" if key in SECRETS else f", not {value!r}"))
        name = name or given.pop("name", "")
        given.pop("name", None)
        refused = {key for key, value in values.items() if key not in given and value is not None and value != ""}
        faults += [f"missing key {key}{which}" for key, which in _missing(given).items() if key not in refused]
        if given.get("storagebackend") != "rsync" and "path" in given:
            # Only an rsync store has a root of its own that a path could begin at.
            given["path"] = given["path"].lstrip("/")
        only_dbms = SELF_STORING.get(given.get("storagebackend", ""))
        if only_dbms:
            given["compression"] = "none"  # the server stores its own files
            if given.get("dbms", only_dbms) != only_dbms:
                faults.append(
                    f"storagebackend {given['storagebackend']} is for dbms {only_dbms}, not for {given['dbms']}"
                )
        faults += _timing_faults(given)
        folders = {key: given.pop(key, "") for key in LOCAL.values()}
        local = folders.get(LOCAL.get(given.get("action", ""), ""))
        if local:
            given.update(storagebackend="directory", url=local, path="")
        if given.get("storagebackend") == "directory" and "url" in given:
            try:
                given["url"] = _path(given["url"])
            except ValueError as error:
                faults.append(f"url {error}, not {given['url']!r}")
        scripts: dict[str, Any] = {}
        for stem in ("transformation_sql", "pre_dump_transformation_sql"):
            try:
                scripts[stem] = _scripts(given, stem, conf_dir)
            except ValueError as error:
                faults.append(f"{stem}_filename {error}")
        faults += [
            f"{key} is for dbms {', '.join(only)}, not for {given['dbms']}"
            for key, only in ONLY_FOR.items()
            if given.get(key) and given.get("dbms", only[0]) not in only
        ]
        if faults:
            raise EnvSyncError(
                f"reading the task {name}".rstrip(), "; ".join(faults), "Correct the parameters named here."
            )
        direct = {f.name for f in fields(cls)} & set(given)
        return cls(
            name=name,
            connection=Connection(
                host=given.get("database_hostname", ""),
                port=given.get("database_port", 0),
                user=given.get("login_user", ""),
                password=given.get("login_password", ""),
            ),
            s3=S3Options(**{f.name: given[f.name] for f in fields(S3Options) if f.name in given}),
            ssh=SshOptions(**{f.name: given[f.name] for f in fields(SshOptions) if f.name in given}),
            elastic=ElasticOptions(**{f.name: given[f.name] for f in fields(ElasticOptions) if f.name in given}),
            **scripts,
            **{key: given[key] for key in direct},
        )

    @property
    def tree(self) -> str:
        """The directory tree of a task on files: ``directory``, or ``database``, where the original has it."""
        return self.directory or self.database

    @property
    def title(self) -> str:
        """What messages call the task: its name, or what it does."""
        return self.name or f"{self.action} {self.database or self.destination_bucket}"

    @property
    def worker_count(self) -> int:
        """How many tables are handled at once."""
        return self.jobs or os.cpu_count() or 1


def of_store(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's keys for what concerns its store alone: what else a task must have is stood in for.

    To list, check or prune points takes no database server, and no directory tree.
    """
    kind = str(values.get("storagebackend") or "")
    whole = {"dbms": SELF_STORING.get(OLD_STORES.get(kind, kind), DBMS[0]), "database": "*"}
    whole.update({key: value for key, value in values.items() if value not in (None, "")})
    if whole["dbms"] == "files":
        whole.setdefault("directory", "/")
    return whole


def did_you_mean(word: str, known: Collection[str], other_names: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a question that names the known word nearest to one that is not known; empty where none is near.

    :param other_names: what else some known words are called.
    """
    near = [other_names[word]] if word in other_names else difflib.get_close_matches(word, known, 1, 0.75)
    return f" (did you mean {near[0]}?)" if near else ""


def _scripts(given: Mapping[str, Any], stem: str, conf_dir: str) -> tuple[str, ...]:
    """Return the paths of the scripts given as ``<stem>_filename`` (the inventory) or ``<stem>_file`` (old configs)."""
    names = given.get(f"{stem}_filename", ()) + given.get(f"{stem}_file", ())
    return tuple(deployed(name, conf_dir or default_conf_dir(), "transformation_sql") for name in names)


def deployed(name: str, conf_dir: str, folder: str) -> str:
    """Return the path of a file that a task names: one of the deployed ones, unless it is absolute or begins with ./.

    :raises ValueError: it begins with ./, and the current directory is gone.
    """
    if os.path.isabs(name) or is_here(name):
        return _path(name)
    return os.path.join(conf_dir, folder, name)


def _timing_faults(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with when a task runs; one that runs when it is asked to need not say when."""
    when = {key: given[key] for key in FIELDS if key in given}
    try:
        Schedule.parse(**{"hour": "0", "minute": "0", **when})
    except ValueError as error:
        return [str(error)]
    return []


def _missing(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys that are missing, each with what else to say of it."""
    action = given.get("action", "")
    if not action:
        return {"action": f" (one of {', '.join(ACTIONS)})"}
    if action == "s3_sync":
        needed = ["source_bucket", "destination_bucket"]
    else:
        needed = ["dbms", "database"]
        if not given.get(LOCAL[action]):
            needed += ["storagebackend", "url"]
    if given.get("dbms") == "files" and "directory" not in given and not given.get("database", "/").startswith("/"):
        needed.append("directory")  # the original has the path in database
    return {key: "" for key in needed if key not in given}


#: keys whose values are paths
PATHS = frozenset({"temppath", "src", "dest", "aws_ca_bundle", "ssh_key_file", "ssh_known_hosts_file", "state_dir"})

#: keys that name files, which are the deployed ones unless a path is given
FILES = frozenset(
    {
        "transformation_sql_filename",
        "transformation_sql_file",
        "pre_dump_transformation_sql_filename",
        "pre_dump_transformation_sql_file",
    }
)

#: every key a task may have, with what turns a value given for it into the engine's own type
KEYS: dict[str, Callable[[Any], Any]] = {
    # the original's
    "name": _text,
    "ensure": _choice("present", "disabled", "absent"),
    "hour": _text,
    "minute": _text,
    "day": _text,
    "month": _text,
    "weekday": _text,
    "freshness": _number(60, 366 * 24 * 3600),
    "become_user": _user,
    "action": _choice(*ACTIONS),
    "dbms": _choice(*DBMS, old=OLD_DBMS),
    "storagebackend": _choice(*STORES, old=OLD_STORES),
    "database": _object_part,
    "database_hostname": _text,
    "temppath": _path,
    "url": _object_part,
    "path": _prefix,
    "transformation_sql_filename": _names,
    "transformation_sql_file": _names,
    "pre_dump_transformation_sql_filename": _names,
    "pre_dump_transformation_sql_file": _names,
    "excluded_tables": _names,
    "excluded_table_data": _names,
    "excluded_extensions": _names,
    "excluded_objects": _objects,
    "directory": _absolute,
    "source_bucket": _text,
    "destination_bucket": _text,
    "delete": _boolean,
    # ours: what and where
    "timestamp": _timestamp,
    "database_port": _number(1, 65535),
    "login_user": _text,
    "login_password": _text,
    "src": _path,
    "dest": _path,
    # ours: S3, as amazon.aws names them
    "endpoint_url": _text,
    "region": _text,
    "profile": _text,
    "access_key": _text,
    "secret_key": _text,
    "session_token": _text,
    "validate_certs": _boolean,
    "aws_ca_bundle": _path,
    "addressing_style": _choice(*ADDRESSING_STYLES),
    "encryption_mode": _choice(*ENCRYPTION_MODES),
    "encryption_kms_key_id": _text,
    "acl": _text,
    "storage_class": _text,
    "max_upload_parts": _number(2, 10000),
    # ours: rsync
    "ssh_port": _number(1, 65535),
    "ssh_key_file": _path,
    "ssh_known_hosts_file": _path,
    # ours: Elasticsearch and OpenSearch
    "indices": _names,
    "restore_as": _choice(*RESTORE_AS),
    "api_key": _text,
    "aws_sigv4": _boolean,
    "repository_type": _text,
    "repository_settings": _settings,
    # ours: how
    "format": _choice(*FORMATS),
    "compression": _choice(*COMPRESSIONS),
    "compression_level": _number(1, 19),
    "jobs": _number(0, 64),
    "timezone": _choice(*TIMEZONES),
    "environment": _text,
    "allow_restore_to_source": _boolean,
    "allow_special_files": _boolean,
    "require_sanitised": _boolean,
    "sources": _environments,
    "max_point_age": _duration,
    "may_change_nothing": _boolean,
    "keep_foreign_servers": _boolean,
    "template_database": _text,
    "locale": _text,
    "old_database": _choice(*OLD_DATABASE),
    "analyze": _boolean,
    "lock_wait": _number(0, 7 * 24 * 3600),
    "lock_timeout": _number(0, 7 * 24 * 3600),
    "stall_timeout": _number(0, 7 * 24 * 3600),
    "state_dir": _path,
}

#: keys that some kinds of database only can obey: elsewhere they would say that something is left out, and it is not
ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "excluded_table_data": ("postgresql", "mysql"),
    "excluded_extensions": ("postgresql",),
    "excluded_objects": ("postgresql",),
    "template_database": ("postgresql",),
    "locale": ("postgresql",),
}

#: keys whose values appear in no message
SECRETS = frozenset({"login_password", "secret_key", "session_token", "api_key"})
