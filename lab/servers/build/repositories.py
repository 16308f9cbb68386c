"""Bare git repositories out of the trees of lab/fakes, with commits that do not depend on machine or time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ..hosts.git import CONFIG, git_environment
from . import EPOCH, Builder, BuildError, fingerprint, replace_tree, source_files

AUTHOR = "sdops.webui lab"


def build(builder: Builder, entries: list[dict[str, Any]], fakes: Path) -> dict[str, Any]:
    """content/git/OWNER/NAME.git for every entry {"source", "repository", "tag"?, "version"?, "branch"?}.

    Entries with the same repository become commits one after the other, each with its tag. Returns {"commits": {repository:
    last commit}, "tags": {repository: {tag: commit}}}.
    """
    commits: dict[str, str] = {}
    tags: dict[str, dict[str, str]] = {}
    for repository in dict.fromkeys(entry["repository"] for entry in entries):
        own = [entry for entry in entries if entry["repository"] == repository]
        sources = []
        for entry in own:
            source = fakes / entry["source"]
            if not source.is_dir():
                raise BuildError(f"The fake tree {source} for {repository} is missing; see lab/fakes/manifest.json.")
            sources.append(source)
        target = builder.content / "git" / f"{repository}.git"
        result = builder.part(
            f"git {repository}",
            fingerprint(own, CONFIG, *sources),
            [target / "HEAD"],
            lambda own=own, sources=sources, target=target: _make(own, sources, target),  # type: ignore[misc]
        )
        commits[repository] = result["commit"]
        tags[repository] = result["tags"]
    return {"commits": commits, "tags": tags}


def _make(entries: list[dict[str, Any]], sources: list[Path], target: Path) -> dict[str, Any]:
    repository = entries[0]["repository"]
    branch = entries[-1].get("branch", "master")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        bare = Path(scratch) / "bare.git"
        _git(None, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", str(bare))
        for name, value in CONFIG.items():
            if name != "safe.directory":
                _git(bare, "config", name, value)
        parent, tags = None, {}
        for number, (entry, source) in enumerate(zip(entries, sources, strict=True)):
            tree = Path(scratch) / f"tree{number}"
            _copy(source, tree)
            moment = EPOCH + 86400 * number
            title = f"{repository}: lab fake" + (f" {entry['tag']}" if entry.get("tag") else "")
            _git(bare, "add", "--all", "--force", ".", work_tree=tree)
            commit_args = ["commit-tree", _git(bare, "write-tree", work_tree=tree), "-m", title]
            parent = _git(bare, *commit_args, *(["-p", parent] if parent else []), moment=moment)
            if entry.get("tag"):
                _git(bare, "update-ref", f"refs/tags/{entry['tag']}", parent)
                tags[entry["tag"]] = parent
        _git(bare, "update-ref", f"refs/heads/{branch}", str(parent))
        (bare / "index").unlink(missing_ok=True)
        (bare / "description").write_text(f"{repository}: lab fake\n")
        replace_tree(bare, target)
    return {"commit": parent, "tags": tags}


def _copy(source: Path, tree: Path) -> None:
    """The files git shall see. Empty directories do not exist for git anyway."""
    tree.mkdir()
    for path in source_files(source):
        place = tree / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)


def _git(bare: Path | None, *arguments: str, work_tree: Path | None = None, moment: int = EPOCH) -> str:
    env = git_environment()
    for role in ("AUTHOR", "COMMITTER"):
        env.update(
            {f"GIT_{role}_NAME": AUTHOR, f"GIT_{role}_EMAIL": "lab@lab.test", f"GIT_{role}_DATE": f"{moment} +0000"}
        )
    if bare:
        env["GIT_DIR"] = str(bare)
    if work_tree:
        env["GIT_WORK_TREE"] = str(work_tree)
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=work_tree or os.sep, env=env, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as exc:
        raise BuildError("git is not installed; the lab needs it.") from exc
    except subprocess.CalledProcessError as exc:
        raise BuildError(f"git {arguments[0]} failed: {exc.stderr.strip()}") from exc
    return done.stdout.strip()
