"""Error reports in the real program's shapes: '*** text' for reports, 'task: Type' and a traceback for displays."""

from __future__ import annotations

import sys
import textwrap
import traceback

_records: list[dict] = []


def _remember() -> None:
    _, exc, tb = sys.exc_info()
    if exc is None:
        return
    frames = [
        [f"{frame.filename}, line {frame.lineno}, {frame.name}", frame.line] for frame in traceback.extract_tb(tb)
    ]
    _records.append({"exception": str(exc), "traceback": frames})
    del _records[:-5]


def get_exceptions() -> list[dict]:
    """The last five exceptions, newest first (shown by /internal/sysinfo)."""
    return _records[::-1]


def report(message: str, *, exc_info: bool = False) -> None:
    _remember()
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), file=sys.stderr)
        print("---", file=sys.stderr)


def display(exc: BaseException, task: str) -> None:
    _remember()
    print(f"{task}: {type(exc).__name__}", file=sys.stderr)
    traceback.print_exception(type(exc), exc, exc.__traceback__, file=sys.stderr)


def print_error_explanation(message: str) -> None:
    lines = message.strip().splitlines()
    bar = "=" * max(len(line) for line in lines)
    print(bar, *lines, bar, sep="\n", file=sys.stderr)
