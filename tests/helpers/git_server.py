"""Real repositories behind a real smart-HTTP server (git http-backend), with switches for bad days."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Iterator

import pytest

WHO = [
    "-c",
    "user.name=t",
    "-c",
    "user.email=t@example.org",
    "-c",
    "init.defaultBranch=main",
    "-c",
    "protocol.file.allow=always",
]


def git(where: Path, *arguments: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(["git", *WHO, *arguments], cwd=where, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Repo:
    """A work tree to commit in, and the bare repository that is served."""

    def __init__(self, base: Path, name: str, **config: str) -> None:
        self.tree, self.bare, self.name = base / "trees" / name, base / "served" / (name + ".git"), name
        self.tree.mkdir(parents=True)
        self.bare.parent.mkdir(parents=True, exist_ok=True)
        git(self.tree, "init", "--quiet")
        git(base, "init", "--quiet", "--bare", str(self.bare))
        for key, value in {"uploadpack.allowFilter": "true", **config}.items():
            git(self.bare, "config", key.replace("__", "."), value)
        git(self.tree, "remote", "add", "origin", str(self.bare))

    def commit(self, files: dict[str, str], tag: str | None = None) -> str:
        for name, content in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(self.tree, "add", *files)
        return self.push(tag)

    def push(self, tag: str | None = None) -> str:
        git(self.tree, "commit", "--quiet", "-m", "change")
        if tag:
            git(self.tree, "tag", "-a", tag, "-m", tag)
        git(self.tree, "push", "--quiet", "--follow-tags", "origin", "HEAD:main")
        return git(self.tree, "rev-parse", "HEAD")


class Server:
    """http://127.0.0.1:PORT/NAME.git; ``requests`` counts, ``failures`` answers that many with 503, ``token`` asks for auth.

    ``rate``: bytes per second of each answer; 0 for as fast as it goes.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.requests, self.failures, self.token, self.rate = root, 0, 0, None, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *unused: object) -> None:
                pass

            def answer(self) -> None:
                outer.requests += 1
                if outer.failures > 0:
                    outer.failures -= 1
                    self.send_error(503)
                    return
                authorization = self.headers.get("Authorization", "")
                if outer.token and authorization != "Basic " + base64.b64encode(outer.token.encode()).decode():
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                # also as the proxy on the way to itself
                path, _, query = re.sub(r"^http://[^/]+", "", self.path).partition("?")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
                env.update(
                    GIT_PROJECT_ROOT=str(outer.root), GIT_HTTP_EXPORT_ALL="1", PATH_INFO=path, QUERY_STRING=query,
                    REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get("Content-Type", ""),
                    CONTENT_LENGTH=str(len(body)), HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
                    GIT_PROTOCOL=self.headers.get("Git-Protocol", ""), REMOTE_ADDR="127.0.0.1",
                    GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
                )  # fmt: skip
                done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=False)
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                block = outer.rate // 10 or len(content) or 1
                for start in range(0, len(content), block):
                    self.wfile.write(content[start : start + block])
                    time.sleep(0.1 if outer.rate else 0)

            do_GET = do_POST = answer

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "served")
    yield server
    server.stop()
