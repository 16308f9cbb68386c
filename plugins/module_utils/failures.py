# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause of a failed task in one sentence: of a command, what it said at its end and not "non-zero return code"."""

from __future__ import annotations

import re
import shlex
from typing import Any, Iterable, Mapping

from .terminal import printable
from .urls import redact_secrets

# what Ansible says of any command, validation, module or loop
EMPTY_MESSAGE = re.compile(
    r"((?:The command exited with a )?non-zero return code|failed to validate|MODULE FAILURE|Module result deserialization failed"
    r"|One or more items failed|Failed to template loop_control|Task failed: )?[:.]?"
    r"(\s*(See stdout/stderr for the exact error|No start of json char found).*)?\Z",
    re.S,
)
# how programs begin a line that matters: apt, pip and uv, git, tar, compilers (behind file and line), Python, launch.py quoting pip
MARKED = re.compile(
    r"(?:stderr:\s+|[^\s:]\S*:\s+)?(?:E|ERROR|Error|error|FATAL|fatal|Fatal)(?: error)?(?:\[[^]]*\])?:\s+(\S.*)"
)
# what matters wherever it stands
STRIKING = re.compile(
    r"No space left on device|Permission denied|Disk quota exceeded|Out of memory|Cannot allocate memory|Killed\b|Unexpected EOF"
    r"|Cannot open|name resolution|Could not resolve|Connection (?:refused|reset|timed out)",
    re.IGNORECASE,
)
RAISED = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Failed)\w*(?::\s+(\S.*))?\Z"
)
NOT_WORTH_IT = re.compile(
    r"(\[?notice\]?|hint|note|warning)\b|[-=~^*\s]*\Z|exit status|error code: \d+\Z|(?:(?:stderr:\s+)?(?:E|error|fatal|\S+):\s+)?(?:"
    r"Sub-process \S+ returned an error code|Unable to fetch some archives|Unable to lock directory|Error is not recoverable"
    r"|ResolutionImpossible: for help|for help visit|Could not read from remote repository|\*\*\* |Ignored the following"
    r"|metadata-generation-failed|subprocess-exited-with-error|legacy-install-failure|Error compiling objects)",
    re.IGNORECASE,
)
LONGEST = 600
LONGEST_PART = 250


def last_words(text: str) -> str:
    """The lines of a program's output that tell why it ended.

    That is what was raised at the end, and what that quotes; lines that the program marks as errors; and such that name a full disk
    and the like. Where there are none, the last line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    traceback = any(line.startswith("Traceback (most recent call last)") for line in lines)
    raised = [
        n
        for n, line in enumerate(lines)
        if RAISED.match(line) and (traceback or ": " in line) and not NOT_WORTH_IT.match(line)
    ]
    found: list[str] = []
    if raised:
        first = lines[raised[-1]]
        found.append((RAISED.match(first) or [first, first])[1] or first)
        lines = lines[raised[-1] + 1 :] if traceback else lines[: raised[-1]] + lines[raised[-1] + 1 :]
        if found[0].endswith(":"):  # what follows is a list
            found[0] += " " + ", ".join(line[1:].strip() for line in lines if line.startswith("- "))
    telling = [line for line in lines if not NOT_WORTH_IT.match(line)]
    marked = [match[1] for line in telling for match in [MARKED.match(line)] if match]
    found += marked if len(marked) < 4 else [*marked[:2], marked[-1]]
    found += [line for line in telling if STRIKING.search(line) and not MARKED.match(line)][-1:]
    return " ".join(_sentence(_shortened(part, LONGEST_PART)) for part in dict.fromkeys(found or telling[-1:]) if part)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + " ..."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", ".)")) else text + "."


def _program(command: Any) -> str:
    """A short name of a command: ``python launch.py``, ``apt-get install``."""
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError:
            command = command.split()
    words = [str(word) for word in command or []]
    if not words:
        return ""
    name = words.pop(0).rpartition("/")[2]
    # what follows an interpreter is what runs
    if re.match(r"(python|bash|sh\Z)", name):
        if "-c" in words[:2]:
            return name
        words = words[
            next((n for n, word in enumerate(words) if word == "-m" or not word.startswith("-")), len(words)) :
        ]
    more = (
        words[:2]
        if words[:1] == ["-m"]
        else [word.rpartition("/")[2] for word in words[:1] if not word.startswith("-")]
    )
    return " ".join([name, *more])


def _is_quoted(result: Mapping) -> bool:
    """Whether the result has nothing to say but what its command has said."""
    return bool(EMPTY_MESSAGE.match(str(result.get("msg") or "").strip()) and result.get("cmd"))


def _cause(result: Mapping) -> str:
    message = str(result.get("msg") or "").strip()
    if not EMPTY_MESSAGE.match(message):
        return message
    if result.get("censored"):
        return "It failed, and its output is hidden, because it may hold secrets."
    output = ""
    for part in ("stderr", "stdout", "module_stderr", "module_stdout", "exception"):
        output = output or printable(last_words(str(result.get(part) or "")))
    output = _shortened(output, LONGEST)
    if not _is_quoted(result):
        return output or message
    rc = result.get("rc")
    name = printable(_program(result["cmd"]))
    if isinstance(rc, int) and rc < 0:
        memory = " That is what Linux does when memory runs out." if rc == -9 else ""
        return f"{name} was ended by signal {-rc}.{memory} Before, it said: {output or 'nothing.'}"
    return "{} ended with {}: {}".format(name, "an error" if rc is None else rc, output or "it said nothing.")


def failure_message(result: Mapping, task: str = "") -> str:
    """What a failed task's ``result`` says, or those of its items that failed. ``task``: its name, to find its output by."""
    items: Iterable[Any] = result.get("results") or []
    failed = [item for item in items if isinstance(item, Mapping) and item.get("failed")] or [result]
    causes = list(dict.fromkeys(cause for cause in map(_cause, failed) if cause)) or ["It failed without a word."]
    if task and any(_is_quoted(each) for each in failed):
        causes.append(f'All that it said is above, at "{printable(task)}".')
    return redact_secrets(" ".join(causes))
