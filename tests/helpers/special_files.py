"""What may lie in the place of a regular file."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def place(kind: str, path: Path) -> None:
    """Make a FIFO, socket, directory, character device or symbolic link at ``path``, and the directories above it; for any other kind these alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
        (path / "mine").write_text("kept")
    elif kind == "character device":
        path.symlink_to("/dev/zero")  # as good as a node to whoever follows, and needs no privilege
    elif kind == "symbolic link":
        path.with_name("elsewhere").write_text("{}")
        path.symlink_to(path.with_name("elsewhere"))
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket may not be long
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)
