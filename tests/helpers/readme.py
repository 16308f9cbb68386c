"""The code blocks of a page, and its lines of commands run as they are printed: in a terminal, with answers to what they ask."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$")


@dataclass(frozen=True)
class CodeBlock:
    """``heading``: that of its section; ``before``: the paragraph before it."""

    heading: str
    language: str
    text: str
    before: str

    @property
    def commands(self) -> list[str]:
        """The lines that a reader types, of a block in the language console."""
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]


def code_blocks(page: str) -> list[CodeBlock]:
    blocks = []
    for match in BLOCK.finditer(page):
        above = page[: match.start()].rstrip()
        headings = re.findall(r"(?m)^#+ (.+)$", BLOCK.sub("", above + "\n"))
        blocks.append(
            CodeBlock(headings[-1] if headings else "", match[2], match[3], above.rpartition("\n\n")[2].strip())
        )
    return blocks


def section_prose(page: str, heading: str) -> str:
    """What stands below a heading up to the next one, without code blocks."""
    found = re.search(rf"(?ms)^#+ {re.escape(heading)}$(.*?)(?=^#+ |\Z)", BLOCK.sub("", page))
    assert found, f"the page has no section {heading}"
    return found[1]


def run_in_terminal(
    line: str, directory: Path, environment: dict[str, str], answers: dict[str, str], seconds: float = 1800
) -> tuple[int, str]:
    """Run a command line by bash in a terminal of its own; its exit status and what the terminal showed.

    ``answers``: what is typed, with a return, when the terminal shows a prompt that matches the regular expression. A program that
    asks for a secret reads it from the terminal, not from its standard input; so does this one's.
    """
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=directory,
        env={**environment, "TERM": "dumb"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    shown, answered, deadline = b"", 0, time.monotonic() + seconds
    try:
        while True:
            readable, _, _ = select.select([master], [], [], 1)
            if readable:
                try:
                    data = os.read(master, 65536)
                except OSError:  # Linux: nobody has the other end any more
                    break
                if not data:
                    break
                shown += data
                for prompt, answer in answers.items():
                    match = re.search(rb"(?:" + prompt.encode() + rb")\Z", shown[answered:])
                    if match:
                        answered = len(shown)
                        # what is typed before the program has switched the echo off would be seen
                        wait_for_silence(master)
                        os.write(master, answer.encode() + b"\n")
            elif process.poll() is not None:  # what it started in the background may have the terminal still
                break
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{line}: not ended after {seconds} s:\n{shown.decode(errors='replace')[-3000:]}")
        return process.wait(timeout=30), shown.decode(errors="replace").replace("\r\n", "\n")
    finally:
        os.close(master)


def wait_for_silence(terminal: int, seconds: float = 10) -> None:
    """Until the terminal does not echo."""
    deadline = time.monotonic() + seconds
    while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < deadline:
        time.sleep(0.05)
