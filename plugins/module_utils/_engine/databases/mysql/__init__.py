# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MySQL and MariaDB. To read it, begin with ``database``, ``dump``, ``restore`` and ``swap``.

- ``client``, ``options``, ``programs``, ``errors``, ``parallel``: the server, and how it is reached
- ``dump``, ``preflight``, ``tables``, ``arguments``, ``facts``, ``snapshot``, ``output``, ``failures``: a push
- ``restore``, ``load``, ``statements``, ``fit``, ``collations``, ``definers``, ``rows``: a pull's dump, read and loaded
- ``counts``, ``checks``, ``statistics``: what is compared and gathered afterwards
- ``transform``, ``scripts``, ``guard``, ``runner``, ``effect``, ``purge``: the operator's scripts
- ``swap``, ``code``, ``names``: the exchange of one schema's contents for another's
"""
