"""git over smart HTTP, by git itself (``git http-backend``), and archives of commits as GitHub serves them."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .server import Request


def handle(request: Request) -> None:
    repositories = request.root / "git"
    if request.path == "/robots.txt":
        return request.answer(200, "User-agent: *\n", {"Content-Type": "text/plain"})
    archive = re.fullmatch(r"/([\w.-]+)/([\w.-]+)/archive/([0-9a-f]{40})\.zip", request.path)
    if archive:
        owner, name, commit = archive.groups()
        repository = repositories / owner / f"{name}.git"
        if repository.is_dir():
            done = subprocess.run(
                ["git", "-c", "safe.directory=*", "-C", str(repository), "archive", "--format=zip", f"--prefix={name}-{commit}/", commit],
                capture_output=True,
            )
            if done.returncode == 0:
                return request.answer(200, done.stdout, {"Content-Type": "application/zip"})
        return request.answer(404, "Not Found\n")
    if not re.match(r"/[\w.-]+/[\w.-]+\.git/", request.path):
        return request.answer(404, "Not Found\n")
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "GIT_PROJECT_ROOT": str(repositories),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_ADDR": "lab",
    }
    body = request.body() if request.method == "POST" else b""
    environment["CONTENT_LENGTH"] = str(len(body))
    done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=environment)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200").split()[0])
    headers.pop("Content-Length", None)
    return request.answer(status, content, headers)
