# Copyright (c) 2026, the govuk.env_sync contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of the command."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from logging.handlers import SysLogHandler

from ..errors import one_line, visible
from ..host.ownership import folder, hand_over, open_file
from ..points.name import iso_utc
from .terminal import Terminal


class Log:
    """The log file, syslog, and (where ``echo``) standard error. A log that can't be written never fails a run.

    Lines are ``YYYY-MM-DDTHH:MM:SSZ TASK[PID]: message``, warnings and errors marked as such. ``title`` is the task, or
    ``program`` where none is known yet.

    :param path: the log file; its directory must be there.
    :param syslog: the socket of the syslog daemon.
    """

    _PRIORITIES: Mapping[str, int] = {
        "info": SysLogHandler.LOG_INFO,
        "warning": SysLogHandler.LOG_WARNING,
        "error": SysLogHandler.LOG_ERR,
    }

    def __init__(self, program: str, path: str, syslog: str, terminal: Terminal, echo: bool) -> None:
        self.program = program
        self.path = path
        self.title = program
        self._syslog = syslog
        self._terminal = terminal
        self._echo = echo

    def record(self, level: str, text: str) -> None:
        """Note a line in the log file and in syslog, and show it nowhere."""
        self._to_file(self._lines(level, [one_line(text)]))
        self._to_syslog(level, one_line(text))

    def __call__(self, level: str, text: str) -> None:
        self.write(level, [one_line(text)])
        self._to_syslog(level, one_line(text))
        if level == "warning" and self._terminal.shown and not self._echo:
            self._terminal.say(f"{self.program}: warning: {one_line(text)}")

    def write(self, level: str, texts: Sequence[str]) -> bool:
        """Write lines to the log file, and to standard error where lines go there; say whether the file took them."""
        lines = self._lines(level, texts)
        if self._echo:
            for line in lines:
                self._terminal.say(line)
        return self._to_file(lines)

    def _lines(self, level: str, texts: Sequence[str]) -> list[str]:
        mark = "" if level == "info" else f"{level}: "
        head = f"{iso_utc(time.time())} {self.title}[{os.getpid()}]: {mark}"
        return [visible(f"{head}{text}") for text in texts]

    def _to_file(self, lines: Sequence[str]) -> bool:
        text = "".join(f"{line}\n" for line in lines)
        try:
            descriptor = self._open()
            try:
                os.write(descriptor, text.encode("utf-8", "backslashreplace"))
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True

    def _open(self) -> int:
        """Open the log file, each time anew, as it may have been rotated."""
        flags = os.O_WRONLY | os.O_APPEND
        name = os.path.basename(self.path)
        with folder(os.path.dirname(self.path)) as parent:
            try:
                return open_file(name, flags, parent)
            except FileNotFoundError:
                descriptor = open_file(name, flags | os.O_CREAT, parent, 0o640)
                hand_over(descriptor, parent)
                return descriptor

    def _to_syslog(self, level: str, text: str) -> None:
        # Not SysLogHandler itself: it would wait for ever for a syslog daemon that hangs.
        priority = SysLogHandler.LOG_USER << 3 | self._PRIORITIES[level]
        line = f"<{priority}>{self.program}[{os.getpid()}]: {visible(self.title)}: {text}"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode("utf-8", "backslashreplace"), self._syslog)
