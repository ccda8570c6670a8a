# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this is not a public fragment: it is for this collection's own modules, and may change in any release.

from __future__ import annotations


class ModuleDocFragment:
    """The options that modules share; their specifications are in ``module_utils/_args.py``, under the same names."""

    NAME = r"""
options:
  name:
    description:
      - The task's name in status files and messages, usually its title in the inventory.
      - The default is the action and the name of the database.
    type: str
"""

    DETAILS = r"""
options:
  details:
    description: Return the point's manifest too, as RV(manifest).
    type: bool
    default: false
    version_added: 0.5.0
"""

    DATABASE = r"""
options:
  dbms:
    description: The kind of database server.
    type: str
    choices:
      - postgresql
      - mysql
      - files
      - mongo
      - documentdb
      - elasticsearch
      - elasticsearch5
    required: true
  database:
    description: The name of the database, or of a directory tree.
    type: str
    required: true
  directory:
    description: The absolute path of the directory tree, with O(dbms=files). The default is O(database).
    type: path
  indices:
    description:
      - With O(dbms=elasticsearch), the indices to push or pull, with C(*) and C(?) as wildcards.
      - The default is all indices whose names do not begin with a dot. Others must be named.
    type: list
    elements: str
  allow_special_files:
    description:
      - With O(dbms=files), the tree is meant to have device nodes, programs that run as their owner or group
        (set-user-ID, set-group-ID), programs with capabilities, or extended attributes of the system.
      - Otherwise a pull refuses such files, because whoever may write to the store could make them. A push stores them
        and warns.
    type: bool
    default: false
    version_added: 0.4.0
"""

    CONNECTION = r"""
options:
  database_hostname:
    description:
      - The database server, or for PostgreSQL the directory of its Unix socket.
      - For Elasticsearch and OpenSearch, a URL if the server uses TLS, for example C(https://search.example.com).
      - Connection settings that are not given here come from the same places as those of the database's own client.
        For PostgreSQL these are libpq's environment variables, its service file and C(~/.pgpass).
    type: str
    aliases:
      - login_host
  database_port:
    description: The port that the database server listens on.
    type: int
    aliases:
      - login_port
  login_user:
    description: The role to log in as.
    type: str
  login_password:
    description:
      - The role's password.
      - It is passed to the database's own tools in their environment, never on a command line.
    type: str
requirements:
  - On the host that the module runs on, for PostgreSQL, the Python library psycopg2 2.8 or later.
  - For PostgreSQL, C(pg_dump), C(pg_restore), C(psql) and C(vacuumdb) of at least the server's major version.
"""

    ELASTIC = r"""
options:
  api_key:
    description:
      - For Elasticsearch and OpenSearch, an API key, encoded or as C(id:key), instead of O(login_user).
      - If no login is given, it comes from C(ELASTICSEARCH_API_KEY), or C(ELASTICSEARCH_USERNAME) and
        C(ELASTICSEARCH_PASSWORD), in the environment.
    type: str
  aws_sigv4:
    description: For Elasticsearch and OpenSearch, sign requests with AWS credentials, for Amazon OpenSearch Service.
    type: bool
    default: false
  repository_type:
    description:
      - With O(storagebackend=es_snapshot), the type under which to register the snapshot repository if it is not
        registered, for example V(fs) or V(s3). A pull registers it as read-only.
      - Without it, the repository must be registered.
    type: str
  repository_settings:
    description:
      - The settings to register the snapshot repository with, for example C(location), or C(bucket) and C(base_path).
      - A repository that is registered with other settings is refused, never changed.
    type: dict
requirements:
  - For Elasticsearch and OpenSearch, the Python library urllib3, and botocore for O(aws_sigv4).
"""

    STORE = r"""
options:
  storagebackend:
    description: The kind of store.
    type: str
    choices:
      - s3
      - directory
      - rsync
      - es_snapshot
      - elasticsearch
  url:
    description:
      - The bucket, or the base directory of a directory store, which must exist. A relative one begins with V(./).
      - For rsync, the host, or C(user@host).
      - For O(storagebackend=es_snapshot), the name of the snapshot repository.
    type: str
  path:
    description: The prefix in the bucket, or the folder below the base directory, or the directory on the rsync host.
    type: str
  ssh_port:
    description: The port of the ssh server of an rsync store.
    type: int
  ssh_key_file:
    description: The file of the private key for an rsync store. The default is ssh's own.
    type: path
  ssh_known_hosts_file:
    description: The file with the host key of an rsync store. The default is ssh's own.
    type: path
  endpoint_url:
    description: The URL of an S3 service other than AWS.
    type: str
    aliases:
      - aws_endpoint_url
      - s3_url
  region:
    description: The bucket's region.
    type: str
    aliases:
      - aws_region
  profile:
    description:
      - A profile of the AWS configuration files.
      - Credentials that are not given here come from the same places as those of the AWS command line, which are
        environment variables, configuration files or the role of the instance.
    type: str
    aliases:
      - aws_profile
  access_key:
    description: The access key of an AWS user or of a compatible service.
    type: str
    aliases:
      - aws_access_key_id
      - aws_access_key
  secret_key:
    description: The secret that belongs to O(access_key).
    type: str
    aliases:
      - aws_secret_access_key
      - aws_secret_key
  session_token:
    description: The token of temporary credentials.
    type: str
    aliases:
      - aws_session_token
  validate_certs:
    description: Whether the service's TLS certificate is checked.
    type: bool
    default: true
  aws_ca_bundle:
    description: A file with the certificates of the authorities to trust.
    type: path
  addressing_style:
    description:
      - Whether the bucket is named in the URL's path or in its host name. V(auto) leaves it to the AWS library.
    type: str
    choices:
      - auto
      - path
      - virtual
    default: auto
  encryption_mode:
    description:
      - Encryption at rest of stored objects.
      - The default for points is V(AES256) on AWS.
      - Elsewhere, for bucket syncs, and with V(none), the bucket's own encryption applies.
    type: str
    choices:
      - AES256
      - aws:kms
      - none
  encryption_kms_key_id:
    description: The key for O(encryption_mode=aws:kms).
    type: str
  acl:
    description:
      - The canned ACL for stored objects, for example V(bucket-owner-full-control) if another account owns the bucket.
      - By default none is sent, as buckets with ACLs off require.
    type: str
  storage_class:
    description: The storage class of stored objects.
    type: str
  max_upload_parts:
    description: How many parts the service allows in one upload. AWS allows 10,000, some compatible services 1,000.
    type: int
    default: 10000
requirements:
  - For O(storagebackend=s3), the Python library boto3 on the host that the module runs on.
"""

    RUN = r"""
options:
  timestamp:
    description:
      - A point's timestamp, in the form C(YYYY-MM-DDTHH:MM:SS) or C(YYYY-MM-DDTHH:MM).
      - The default is the present time for a point that is made, otherwise the newest point.
    type: str
  temppath:
    description:
      - The folder for temporary files. It is made if it does not exist. A relative path begins with V(./).
      - The default is the system's folder for temporary files.
    type: path
  jobs:
    description: How many tables or objects are worked on at once. V(0) means as many as there are processor cores.
    type: int
    default: 0
  lock_wait:
    description: How many seconds to wait for another run on the same database on this host, before failing.
    type: int
    default: 0
"""

    LOCKS = r"""
options:
  lock_timeout:
    description:
      - How many seconds to wait for a lock that another session holds in the live database, with O(dbms=postgresql).
        After that the run fails, and names the session. V(0) means that it waits for ever.
      - It applies to a push, including its pre-dump scripts, and to the swap of a pull.
    type: int
    default: 60
    version_added: 0.5.0
"""

    TIME = r"""
options:
  timezone:
    description:
      - The time zone of points' timestamps, V(utc), or the host's local time (V(local), as in the original script).
      - A point that claims a time later than now is never taken as the newest one. A manifest states the time of its
        point in UTC, whatever the timestamp's time zone.
    type: str
    choices:
      - utc
      - local
    default: utc
"""

    STATE = r"""
options:
  state_dir:
    description:
      - Where the statuses of runs are kept, and the records with which a run cleans up after a killed one.
      - The default is C(/var/lib/govuk_env_sync) if the user may write to it, else C(govuk_env_sync) in the user's
        C(~/.local/state).
    type: path
"""
