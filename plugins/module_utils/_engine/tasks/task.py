# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task: what is asked for, validated, whichever front end asked. Its keys are in ``keys.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..host.linux import processors
from .keys import DBMS, OLD_STORES, SELF_STORING
from .reading import read

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
        given = read(values, name, conf_dir)
        return cls(
            connection=Connection(
                host=given.get("database_hostname", ""),
                port=given.get("database_port", 0),
                user=given.get("login_user", ""),
                password=given.get("login_password", ""),
            ),
            s3=S3Options(**_fields_of(S3Options, given)),
            ssh=SshOptions(**_fields_of(SshOptions, given)),
            elastic=ElasticOptions(**_fields_of(ElasticOptions, given)),
            **_fields_of(cls, given),
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
        return self.jobs or processors()


def _fields_of(options: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are given for the fields of a data class."""
    return {item.name: given[item.name] for item in fields(options) if item.name in given}


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
