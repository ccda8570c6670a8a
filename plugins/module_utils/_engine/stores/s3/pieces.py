# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pieces in which objects go into a bucket and come out of it.

This is driven here (``upload``, ``download``) and not by s3transfer, boto3's transfer manager: that one chooses its
parts by the size, and for a stream, whose size is not known, takes 8 MiB, so that an upload ends at 80 GB, after hours.
Here parts grow. What is in memory is bounded for all transfers of a store together: a helper works on a piece where one
is free, otherwise the transfer's own thread does; so nobody ever waits for a piece that another transfer holds.
"""

from __future__ import annotations

import mmap

from ...streams.reader import BLOCK

#: what is sent, or read ahead, in one piece, in bytes; a smaller object is stored by a single request
PIECE = 8 * BLOCK


def memory(size: int) -> mmap.mmap:
    """Return memory that is the process's only as far as it is written to, and is given back when it is closed.

    The allocator keeps what large arrays leave behind, and copies them when they grow.
    """
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
