# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that a task may have, and their kinds: what turns a value that is given into the engine's own type.

The keys are those of the original's inventory (``govuk_env_sync::tasks``); newer keys extend the list.
Values arrive as strings (a config file, a command line) or as native types (a module's parameters). A kind takes
either, and raises ValueError with what the value must be.
"""

from __future__ import annotations

import datetime
import difflib
import os
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Callable

ACTIONS = ("push", "pull", "s3_sync")

DBMS = ("postgresql", "mysql", "files", "mongo", "documentdb", "elasticsearch")
#: other names of some of them, which the original has
OLD_DBMS = {"elasticsearch5": "elasticsearch"}

FILE_STORES = ("s3", "directory", "rsync")
#: the stores whose server stores by itself, each with the only dbms that it stores
SELF_STORING = MappingProxyType({"es_snapshot": "elasticsearch"})
STORES = (*FILE_STORES, *SELF_STORING)
#: other names of some of them, which the original has
OLD_STORES = {"elasticsearch": "es_snapshot"}
#: which key of an action names a local directory that stands in for a store
LOCAL = MappingProxyType({"push": "dest", "pull": "src"})

FORMATS = ("directory", "custom")
COMPRESSIONS = ("zstd", "gzip", "none")
TIMEZONES = ("utc", "local")
OLD_DATABASE = ("drop", "keep")
RESTORE_AS = ("alias", "index")
ADDRESSING_STYLES = ("auto", "path", "virtual")
ENCRYPTION_MODES = ("AES256", "aws:kms", "none")

#: what others call some keys: Puppet's cron
OTHER_NAMES = MappingProxyType({"monthday": "day"})

#: one object in a string of several with commas between them
_OBJECT = re.compile(r'(?:"[^"]*"|\([^()]*\)|[^,])+')

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
    """Return a kind that takes some words only.

    :param old: words that mean one of the allowed ones.
    """

    def convert(value: Any) -> str:
        text = str(value).strip()
        text = old.get(text, text)
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return convert


def _duration(value: Any) -> int:
    """Seconds, given as a number of them or of other units (``90m``, ``36h``, ``3d``)."""
    match = re.match(r"(\d{1,9})\s*([smhd]?)\Z", str(value).strip(), re.ASCII)
    if not match:
        raise ValueError("must be a number of seconds, or of minutes, hours or days (90m, 36h, 3d)")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def environment_name(value: Any) -> str:
    """Return the name of an environment.

    :raises ValueError: it can't be one.
    """
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


def local_path(value: Any) -> str:
    """Return an absolute path; ``./`` or ``../`` at its beginning means the current directory, ``~`` the user's home.

    :raises ValueError: it is relative to anything else, or the current directory is gone.
    """
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


def did_you_mean(word: str, known: Collection[str], other_names: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a question that names the known word nearest to one that is not known; empty where none is near.

    :param other_names: what else some known words are called.
    """
    near = [other_names[word]] if word in other_names else difflib.get_close_matches(word, known, 1, 0.75)
    return f" (did you mean {near[0]}?)" if near else ""


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
    "temppath": local_path,
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
    "src": local_path,
    "dest": local_path,
    # ours: S3, as amazon.aws names them
    "endpoint_url": _text,
    "region": _text,
    "profile": _text,
    "access_key": _text,
    "secret_key": _text,
    "session_token": _text,
    "validate_certs": _boolean,
    "aws_ca_bundle": local_path,
    "addressing_style": _choice(*ADDRESSING_STYLES),
    "encryption_mode": _choice(*ENCRYPTION_MODES),
    "encryption_kms_key_id": _text,
    "acl": _text,
    "storage_class": _text,
    "max_upload_parts": _number(2, 10000),
    # ours: rsync
    "ssh_port": _number(1, 65535),
    "ssh_key_file": local_path,
    "ssh_known_hosts_file": local_path,
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
    "state_dir": local_path,
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
