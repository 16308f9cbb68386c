"""git.lab.test: real git over smart HTTP, and archive zips, from bare repositories. Stands in for github.com."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..web import CHUNK, Request, Response, text

SERVICES = ("git-upload-pack", "git-receive-pack")
# settings that make a mirror out of git: any commit can be fetched by its id, partial clones work, ownership does not matter
CONFIG = {
    "safe.directory": "*",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "http.receivepack": "false",
}


def git_environment() -> dict[str, str]:
    """An environment in which only our settings count, not those of the machine or the user."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, LC_ALL="C", HOME="/nonexistent")
    for number, (name, value) in enumerate(CONFIG.items()):
        env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = name, value
    env["GIT_CONFIG_COUNT"] = str(len(CONFIG))
    return env


class GitHost:
    """Bare repositories at ``root``/OWNER/NAME.git; URLs with and without ``.git``, as on the real site."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def handle(self, request: Request) -> Response:
        if request.path == "/robots.txt":
            return text(200, "# lab fake of a git hosting site\nUser-agent: *\nDisallow: /\n")
        parts = request.segments
        if len(parts) < 2:
            return text(200, "git.lab.test: a lab fake of a git hosting site.\n")
        repository = self._repository(parts[0], parts[1])
        if repository is None:
            return text(404, "Not Found")
        rest = "/".join(parts[2:])
        if (rest == "info/refs" and request.method == "GET") or (rest in SERVICES and request.method == "POST"):
            return self._backend(request, repository, rest)
        archive = re.fullmatch(r"archive/(?:refs/(?:heads|tags)/)?(.+)\.zip", rest)
        if archive and request.method in ("GET", "HEAD"):
            return self._archive(repository, archive[1])
        if not rest:
            return text(200, f"{parts[0]}/{repository.stem}: a lab fake repository.\n")
        return text(404, "Not Found")

    def _repository(self, owner: str, name: str) -> Path | None:
        name = name[:-4] if name.endswith(".git") else name
        if not all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in (owner, name)):
            return None
        path = self.root / owner / f"{name}.git"
        return path if path.is_dir() else None

    def _backend(self, request: Request, repository: Path, rest: str) -> Response:
        """git's own CGI program answers; its output is streamed."""
        env = git_environment()
        env.update(
            GIT_PROJECT_ROOT=str(self.root),
            GIT_HTTP_EXPORT_ALL="1",
            PATH_INFO=f"/{repository.relative_to(self.root)}/{rest}",
            QUERY_STRING=request.query_string,
            REQUEST_METHOD=request.method,
            CONTENT_TYPE=request.headers.get("Content-Type", ""),
            REMOTE_ADDR=request.client,
            GIT_PROTOCOL=request.headers.get("Git-Protocol", ""),
        )
        if request.headers.get("Content-Length"):
            env["CONTENT_LENGTH"] = request.headers["Content-Length"]
        if request.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = request.headers["Content-Encoding"]
        # a file, not a pipe: git may answer before it has read everything
        with tempfile.TemporaryFile() as body:
            shutil.copyfileobj(request.body, body, CHUNK)
            body.seek(0)
            process = subprocess.Popen(
                ["git", "http-backend"], stdin=body, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
            )
        assert process.stdout and process.stderr
        threading.Thread(target=process.stderr.read, daemon=True).start()
        status, headers = 200, {}
        for line in iter(process.stdout.readline, b""):
            name, _, value = line.decode("latin-1").strip().partition(": ")
            if not name:
                break
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers[name] = value
        return Response(status, headers, _stream(process, process.stdout))

    def _archive(self, repository: Path, ref: str) -> Response:
        """A zip with one folder NAME-REF, as the real site makes it."""
        env = git_environment()
        found = subprocess.run(
            ["git", "-C", str(repository), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"],
            capture_output=True,
            text=True,
            env=env,
        )
        if found.returncode:
            return text(404, "404: Not Found")
        ref_name = re.sub(r"^v(?=\d)", "", ref).replace("/", "-")
        name = f"{repository.stem}-{ref_name}"
        done = subprocess.run(
            ["git", "-C", str(repository), "archive", "--format=zip", f"--prefix={name}/", found.stdout.strip()],
            capture_output=True,
            check=True,
            env=env,
        )
        headers = {"Content-Type": "application/zip", "Content-Disposition": f"attachment; filename={name}.zip"}
        return Response(200, headers, done.stdout)


def _stream(process: subprocess.Popen[bytes], output: IO[bytes]) -> Iterator[bytes]:
    """The program's output until its end; the program is ended when the client goes away."""
    try:
        while data := output.read1(CHUNK):  # type: ignore[attr-defined]
            yield data
    finally:
        output.close()
        if process.poll() is None:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
