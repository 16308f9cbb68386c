# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a program on a host: the command that reads a part of it, and what of that a person is shown."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from typing import Any, Iterable, NamedTuple

from ..module_utils.errors import SdopsError
from ..module_utils.secrets import MIN_MASKED_LENGTH
from ..module_utils.terminal import printable
from ..module_utils.urls import redact_secrets

MAX_CHUNK = 1 << 20  # bytes of a log that one command returns
MAX_LINE_CHARACTERS = 2000  # characters of a line that are shown
MASK = "********"
# colours and movements of the cursor: ECMA-48, 5.4 (CSI), and the shell's titles (OSC)
ESCAPES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)")
# The size first, so that what is appended meanwhile comes with the next part. supervisord renames a full log to LOG.1: the rest of
# it comes before the new one. Between marks: what a login script prints is no part of the log.
READ_SCRIPT = """
f={path}; i={inode}; o={offset}
inode() {{ stat -Lc %i -- "$1" 2>/dev/null; }}
[ -f "$f" ] && [ -r "$f" ] || {{ echo sdops-log-missing; exit 0; }}
n=$(inode "$f"); s=$(stat -Lc %s -- "$f")
old() {{ :; }}
if [ -z "$i" ]; then new() {{ head -c "$s" -- "$f" | tail -n {lines}; }}
else
  if [ "$n" != "$i" ] || [ "$s" -lt "$o" ]; then
    [ "$(inode "$f.1")" != "$i" ] || old() {{ tail -c "+$(({offset} + 1))" -- "$f.1"; }}
    o=0
  fi
  new() {{ tail -c "+$((o + 1))" -- "$f" | head -c "$((s - o))"; }}
fi
echo "sdops-log $n $s"; {{ old; new; }} | tail -c {limit} | base64; echo sdops-log-end
"""


class LogPosition(NamedTuple):
    """The end of what was read: ``inode`` of the file, "" where nothing was, and ``offset`` in bytes."""

    inode: str
    offset: int


START = LogPosition("", 0)


def read_command(path: str, position: LogPosition, lines: int) -> str:
    """The shell command for what comes after ``position``; at its start, for the last ``lines`` lines."""
    return READ_SCRIPT.strip().format(  # Ansible puts more behind it
        path=shlex.quote(path), inode=position.inode or "''", offset=position.offset, lines=lines, limit=MAX_CHUNK
    )


def parse_answer(text: str) -> tuple[LogPosition, bytes] | None:
    """What the command has printed: the new position and the bytes before it; None where there is no log. Raises SdopsError."""
    if "sdops-log-missing" in text:
        return None
    found = re.search(r"sdops-log (\d+) (\d+)\s+(.*?)\s*sdops-log-end", text, re.S)
    try:
        if not found:
            raise ValueError
        data = base64.b64decode("".join(found.group(3).split()), validate=True)
    except (ValueError, binascii.Error):
        raise SdopsError("The host's answer is no part of a log. Run this again.") from None
    return LogPosition(found.group(1), int(found.group(2))), data


def find_secrets(values: Iterable[Any]) -> list[str]:
    """What must not be shown: the texts among ``values``, and the user in front of the host where one is a URL. Longest first."""
    found = set()
    for value in values:
        if isinstance(value, str):
            found |= {value.strip(), *re.findall(r"://([^@/?#\s]+)@", value)}
    return sorted((each for each in found if len(each) >= MIN_MASKED_LENGTH), key=len, reverse=True)


class LogView:
    """Lines of a log as a person may see them, made of the bytes as they come."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = list(secrets)
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_CHUNK:  # a line without an end
            complete, self._rest = [*complete, self._rest], b""
        return [self._clean(line) for line in complete]

    def flush(self) -> list[str]:
        """The line that has no end yet."""
        rest, self._rest = self._rest, b""
        return [self._clean(rest)] if rest.strip() else []

    def _clean(self, line: bytes) -> str:
        """Of a line that a progress bar has written over and over, what a terminal would show last."""
        text = ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip("\r").rpartition("\r")[2]
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = printable(redact_secrets(text)).rstrip()
        return text if len(text) <= MAX_LINE_CHARACTERS else text[:MAX_LINE_CHARACTERS] + " ..."
