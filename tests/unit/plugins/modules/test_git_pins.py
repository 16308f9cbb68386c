"""git_pins as a process, against real repositories served over smart HTTP."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from helpers.git_server import Repo, Server, git
from helpers.module_process import four_times, run_module, start_module


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path, "BLIP")
    made.first = made.commit({"a.txt": "one\n", "d/b.txt": "b\n"}, tag="v1")
    made.second = made.commit({"a.txt": "two\n", "new.txt": "n\n"}, tag="v2")
    return made


def pin(git_server: Server, repo: Repo, dest: Path, commit: str, **more) -> dict:
    return {"repo": f"{git_server.url}/{repo.name}.git", "dest": str(dest), "commit": commit, **more}


def head(dest: Path) -> str:
    return git(dest, "rev-parse", "HEAD")


def test_clone_four_times(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "deep" / "BLIP"
    first, applied, _, last = four_times("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    assert head(dest) == repo.first
    assert (dest / "a.txt").read_text() == "one\n"
    assert applied["repos"] == [
        {
            "name": "BLIP",
            "dest": str(dest),
            "repo": git_server.url + "/BLIP.git",
            "ref": None,
            "before": None,
            "after": repo.first,
            "status": "changed",
            "error": None,
        }
    ]
    assert first["diff"]["after"] == applied["diff"]["after"] == f"{dest} {repo.first} from {git_server.url}/BLIP.git\n"
    assert last["repos"][0]["status"] == "ok"
    assert git(dest, "status", "--porcelain") == ""
    assert sorted(p.name for p in dest.parent.iterdir()) == ["BLIP"]  # nothing beside it
    assert git(dest, "symbolic-ref", "--short", "HEAD") == "sdops-pin"  # the WebUI does not list a detached extension


def test_no_network_when_it_stands_there(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    pins = [pin(git_server, repo, dest, repo.second)]
    assert run_module("git_pins", check=True, repos=pins)["changed"]
    assert git_server.requests == 0
    run_module("git_pins", repos=pins)
    requested = git_server.requests
    assert requested > 0
    git_server.stop()
    assert not run_module("git_pins", repos=pins)["changed"]
    assert git_server.requests == requested


def test_move_keeps_untracked_files(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    (dest / "mine.txt").write_text("mine")
    first, applied, *_ = four_times("git_pins", repos=[pin(git_server, repo, dest, repo.second)])
    assert head(dest) == repo.second
    assert (dest / "a.txt").read_text() == "two\n"
    assert (dest / "mine.txt").read_text() == "mine"
    assert applied["repos"][0]["before"] == repo.first
    assert "move" in first["actions"][0]
    # and back, from what is on the disk
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    assert not (dest / "new.txt").exists()


def test_a_full_clone_stays_one(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    git(tmp_path, "clone", "--quiet", git_server.url + "/BLIP.git", str(dest))
    third = repo.commit({"a.txt": "three\n"})
    run_module("git_pins", repos=[pin(git_server, repo, dest, third)])
    assert head(dest) == third
    assert git(dest, "rev-parse", "--is-shallow-repository") == "false"
    assert git(dest, "rev-list", "--count", "HEAD") == "3"


def test_local_changes_are_preserved(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    (dest / "a.txt").write_text("edited\n")
    assert not run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])["changed"]  # need not move
    for check in (True, False):
        result = run_module("git_pins", check=check, repos=[pin(git_server, repo, dest, repo.second)])
        assert result["failed"]
        assert "a.txt" in result["msg"] and "stash" in result["msg"]
    assert (dest / "a.txt").read_text() == "edited\n"
    assert head(dest) == repo.first


def test_local_commits_are_preserved(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    (dest / "a.txt").write_text("edited\n")
    git(dest, "commit", "--quiet", "-am", "mine")
    mine = head(dest)
    for check in (True, False):
        result = run_module("git_pins", check=check, repos=[pin(git_server, repo, dest, repo.second)])
        assert result["failed"] and "somebody committed" in result["msg"] and mine in result["msg"]
    assert head(dest) == mine
    git(dest, "switch", "--quiet", "-c", "my-own")  # what the message says
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)])["changed"]
    assert git(dest, "rev-parse", "my-own") == mine and head(dest) == repo.second


def test_untracked_file_in_the_way(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    (dest / "new.txt").write_text("mine\n")
    result = run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)])
    assert result["failed"]
    assert "new.txt" in result["msg"] and "in the way" in result["msg"]
    assert (dest / "new.txt").read_text() == "mine\n"
    assert head(dest) == repo.first
    (dest / "new.txt").unlink()
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)])["changed"]


def commit_in(dest: Path, name: str) -> str:
    (dest / name).write_text("mine\n")
    git(dest, "add", "--force", name)
    git(dest, "commit", "--quiet", "-m", "mine")
    return head(dest)


def test_commits_of_a_detached_head_are_preserved(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    git(dest, "checkout", "--quiet", "--detach")
    # at the pin itself there is nothing to lose
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)])["changed"]
    git(dest, "checkout", "--quiet", "--detach")
    mine = commit_in(dest, "mine.txt")
    for check in (True, False):
        result = run_module("git_pins", check=check, repos=[pin(git_server, repo, dest, repo.first)])
        assert result["failed"] and mine in result["msg"] and "branch NAME" in result["msg"]
    assert head(dest) == mine
    git(dest, "branch", "keep", mine)
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])["changed"]
    assert git(dest, "rev-parse", "keep") == mine


def test_commits_on_the_managed_branch_are_preserved_while_head_is_elsewhere(
    tmp_path: Path, git_server: Server, repo: Repo
) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    mine = commit_in(dest, "mine.txt")
    git(dest, "checkout", "--quiet", "-b", "other", repo.first)
    result = run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)])
    assert result["failed"] and mine in result["msg"]
    assert git(dest, "rev-parse", "sdops-pin") == mine


def test_files_in_a_repository_without_commits_are_preserved(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    dest.mkdir()
    git(dest, "init", "--quiet")
    (dest / "a.txt").write_text("mine\n")
    pins = [pin(git_server, repo, dest, repo.first)]
    result = run_module("git_pins", repos=pins)
    assert result["failed"] and "a.txt" in result["msg"] and "in the way" in result["msg"]
    git(dest, "add", "a.txt")
    result = run_module("git_pins", repos=pins)
    assert result["failed"] and "local changes in a.txt" in result["msg"] and "from nothing" in result["msg"]
    assert (dest / "a.txt").read_text() == "mine\n"
    git(dest, "rm", "--quiet", "--force", "a.txt")
    (dest / "other.txt").write_text("mine\n")
    four_times("git_pins", repos=pins)
    assert (dest / "a.txt").read_text() == "one\n" and (dest / "other.txt").read_text() == "mine\n"


def test_ignored_file_in_the_way(tmp_path: Path, git_server: Server) -> None:
    repo = Repo(tmp_path, "BLIP")
    first = repo.commit({".gitignore": "*.json\n"})
    (repo.tree / "config.json").write_text("{}\n")
    git(repo.tree, "add", "--force", "config.json")
    second = repo.push()
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, first)])
    (dest / "config.json").write_text("mine\n")
    result = run_module("git_pins", repos=[pin(git_server, repo, dest, second)])
    assert result["failed"] and "config.json" in result["msg"] and "in the way" in result["msg"]
    assert (head(dest), (dest / "config.json").read_text()) == (first, "mine\n")
    (dest / "config.json").unlink()
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, second)])["changed"]


def test_not_a_repository(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    dest.mkdir()
    (dest / "file").write_text("x")
    result = run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    assert result["failed"] and "no git checkout" in result["msg"]
    (dest / "file").unlink()
    assert run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])["changed"]  # an empty one is fine


def test_origin_is_updated(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    git(dest, "remote", "set-url", "origin", "https://me:secret@old.example.org/BLIP.git")
    first, *_ = four_times("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    assert "old.example.org" in first["actions"][0] and "secret" not in str(first)
    assert git(dest, "remote", "get-url", "origin") == git_server.url + "/BLIP.git"


def test_one_failure_does_not_stop_the_others(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    removed = {
        "repo": git_server.url + "/gone.git",
        "dest": str(tmp_path / "gone"),
        "commit": "0" * 40,
        "name": "stablediffusion",
    }
    lost = pin(git_server, repo, tmp_path / "lost", "1" * 40)
    result = run_module(
        "git_pins", repos=[removed, lost, pin(git_server, repo, tmp_path / "BLIP", repo.first)], retries=1
    )
    assert result["failed"] and result["changed"]
    assert "2 of 3 checkouts failed" in result["msg"]
    assert "stablediffusion: " in result["msg"] and "gone, has moved or is private" in result["msg"]
    assert "no such commit" in result["msg"]
    assert [r["status"] for r in result["repos"]] == ["failed", "failed", "changed"]
    assert head(tmp_path / "BLIP") == repo.first
    assert not (tmp_path / "gone").exists() and not (tmp_path / "lost").exists()


def test_private_repositories_do_not_prompt(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    git_server.token = "me:hunter2"
    pins = pin(git_server, repo, tmp_path / "BLIP", repo.first)
    result = run_module("git_pins", repos=[pins], retries=0)
    assert result["failed"] and "private" in result["msg"]
    pins["repo"] = pins["repo"].replace("http://", "http://me:hunter2@")
    result = run_module("git_pins", repos=[pins])
    assert result["changed"]
    assert "hunter2" not in str(result)
    assert "hunter2" not in (tmp_path / "BLIP/.git/config").read_text()
    git_server.stop()
    result = run_module("git_pins", repos=[{**pins, "commit": repo.second}], retries=0)
    assert result["failed"] and "hunter2" not in str(result)


def test_a_login_of_the_url_is_in_no_argument_and_no_file(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    """A git that writes down how it was called; and a keeper of passwords of the user's, who does not get this one."""
    git_server.token = "me@home:hunter2/%"
    tools, seen, home = tmp_path / "bin", tmp_path / "seen", tmp_path / "home"
    for directory in (tools, home):
        directory.mkdir()
    (tools / "git").write_text(
        f'#!/bin/sh\necho "$@" >> {seen}\nenv | grep -v ^PATH >> {seen}\nexec {shutil.which("git")} "$@"\n'
    )
    (tools / "git").chmod(0o755)
    (home / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(home)}
    pins = pin(git_server, repo, tmp_path / "BLIP", repo.first)
    pins["repo"] = pins["repo"].replace("http://", "http://me%40home:hunter2%2F%25@")
    four_times("git_pins", repos=[pins], env=env)
    assert "fetch" in seen.read_text() and "hunter2" not in seen.read_text()
    for path in [*(tmp_path / "BLIP/.git").rglob("*"), *home.rglob("*")]:
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    # a checkout of former days, with the login in its configuration, is set right
    git(tmp_path / "BLIP", "remote", "set-url", "origin", pins["repo"])
    assert run_module("git_pins", repos=[{**pins, "commit": repo.second}], env=env)["changed"]
    assert "hunter2" not in (tmp_path / "BLIP/.git/config").read_text()


def test_faults_that_pass_are_tried_again(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    git_server.failures = 1
    assert not run_module("git_pins", repos=[pin(git_server, repo, tmp_path / "BLIP", repo.first)]).get("failed")
    assert git_server.failures == 0


def test_a_server_without_filters_and_without_single_commits(tmp_path: Path, git_server: Server) -> None:
    old = Repo(tmp_path, "old", uploadpack__allowFilter="false", uploadpack__advertiseRef="false")
    first = old.commit({"a": "1\n"})
    old.commit({"a": "2\n"})
    assert not run_module("git_pins", repos=[pin(git_server, old, tmp_path / "old", first)]).get("failed")
    assert (tmp_path / "old" / "a").read_text() == "1\n"


def test_dumb_http(tmp_path: Path, repo: Repo) -> None:
    """Files only: neither filters nor shallow clones."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    git(repo.bare, "update-server-info")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *a: None})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path / "served")))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_address[1]}/BLIP.git"
    result = run_module("git_pins", repos=[{"repo": url, "dest": str(tmp_path / "B"), "commit": repo.first}], retries=0)
    httpd.shutdown()
    httpd.server_close()
    assert not result.get("failed"), result["msg"]
    assert head(tmp_path / "B") == repo.first


def test_file_urls(tmp_path: Path, repo: Repo) -> None:
    pins = {"url": f"file://{repo.bare}", "dest": str(tmp_path / "B"), "commit": repo.second, "name": "by url"}
    four_times("git_pins", repos=[pins])


def test_ref_is_looked_up_once(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    dest = tmp_path / "BLIP"
    pins = {"repo": git_server.url + "/BLIP.git", "dest": str(dest), "ref": "main"}
    first, applied, repeated, last = four_times("git_pins", repos=[pins])
    assert first["repos"][0]["after"] is None and git_server.requests > 0
    assert applied["repos"][0]["after"] == repo.second and applied["repos"][0]["ref"] == "main"
    third = repo.commit({"a.txt": "three\n"})
    requested = git_server.requests
    assert not run_module("git_pins", repos=[pins])["changed"]
    assert git_server.requests == requested
    moved = run_module("git_pins", repos=[pins], refresh=True)
    assert moved["repos"][0]["after"] == third == head(dest)
    # another ref is another wish: the tag means the commit, not the tag object
    tagged = run_module("git_pins", repos=[{**pins, "ref": "v1"}])
    assert tagged["repos"][0]["after"] == repo.first == head(dest)
    missing = run_module("git_pins", repos=[{**pins, "ref": "v9"}])
    assert missing["failed"] and "no tag or branch 'v9'" in missing["msg"]


def test_checkouts_inside_a_checkout(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    inner = Repo(tmp_path, "inner")
    commit = inner.commit({"x": "1\n"})
    outer_dest = tmp_path / "webui"
    inside = pin(git_server, inner, outer_dest / "repositories" / "inner", commit)
    result = run_module("git_pins", repos=[inside, pin(git_server, repo, outer_dest, repo.first)])
    assert not result.get("failed"), result["msg"]
    assert head(outer_dest) == repo.first and head(outer_dest / "repositories" / "inner") == commit
    assert [r["name"] for r in result["repos"]] == ["inner", "webui"]


def test_checkouts_inside_a_failed_checkout_are_skipped(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    """A clone inside would fill the directory that the outer one needs."""
    outer_dest = tmp_path / "webui"
    inside = pin(git_server, repo, outer_dest / "repositories" / "BLIP", repo.first)
    deeper = pin(git_server, repo, outer_dest / "repositories" / "BLIP" / "deeper", repo.first)
    outer = pin(git_server, repo, outer_dest, "1" * 40)
    result = run_module(
        "git_pins", repos=[inside, outer, deeper, pin(git_server, repo, tmp_path / "other", repo.first)]
    )
    assert result["failed"] and "1 of 4 checkouts failed" in result["msg"]
    assert [each["status"] for each in result["repos"]] == ["skipped", "failed", "skipped", "changed"]
    assert not outer_dest.exists()
    repeated = run_module("git_pins", repos=[inside, {**outer, "commit": repo.second}])
    assert not repeated["failed"] and [each["status"] for each in repeated["repos"]] == ["changed", "changed"]


def test_submodules(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    with_sub = Repo(tmp_path, "with")
    with_sub.commit({"a": "1\n"})
    git(with_sub.tree, "submodule", "--quiet", "add", git_server.url + "/BLIP.git", "third_party/blip")
    git(with_sub.tree / "third_party" / "blip", "checkout", "--quiet", repo.first)
    git(with_sub.tree, "add", ".")
    commit = with_sub.push()
    dest = tmp_path / "with"
    plain = pin(git_server, with_sub, dest, commit)
    run_module("git_pins", repos=[plain])
    assert not list((dest / "third_party" / "blip").iterdir())
    four_times("git_pins", repos=[{**plain, "submodules": True}])
    assert (dest / "third_party" / "blip" / "a.txt").read_text() == "one\n"
    fresh = {**plain, "dest": str(tmp_path / "fresh"), "submodules": True}
    assert not run_module("git_pins", repos=[fresh]).get("failed")
    assert (tmp_path / "fresh" / "third_party" / "blip" / "a.txt").read_text() == "one\n"


def big(tmp_path: Path) -> Repo:
    made = Repo(tmp_path, "big")
    made.first = made.commit({f"f{i}": f"first {i}\n" * 2000 for i in range(300)})
    made.second = made.commit({f"f{i}": f"second {i}\n" * 2000 for i in range(300)})
    return made


def test_killed_while_cloning(tmp_path: Path, git_server: Server) -> None:
    repo, dest = big(tmp_path), tmp_path / "dest"
    process = start_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    partial = tmp_path / ".dest.sdops-partial"
    while not list(partial.glob(".git/objects/pack/*pack*")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not dest.exists() or head(dest) == repo.first
    (partial / ".git").mkdir(parents=True, exist_ok=True)
    (partial / ".git" / "shallow.lock").touch()  # what a cut git leaves
    result = run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    assert not result.get("failed"), result["msg"]
    assert git(dest, "status", "--porcelain") == ""


def test_killed_while_moving(tmp_path: Path, git_server: Server) -> None:
    """git killed in the middle leaves HEAD, a lock, and files of both commits: that is ours to finish."""
    repo, dest = big(tmp_path), tmp_path / "dest"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.first)])
    (dest / ".git" / "sdops-moving").write_text(repo.second + "\n")
    (dest / ".git" / "index.lock").touch()
    (dest / "f1").write_text("second 1\n" * 2000)
    (dest / "f2").write_text("second 2\n" * 7)  # half a file
    (dest / "f3").unlink()
    move = [pin(git_server, repo, dest, repo.second)]
    assert run_module("git_pins", check=True, repos=move)["changed"]
    (dest / "f4").write_text("somebody's own\n")
    result = run_module("git_pins", repos=move)
    assert result["failed"] and "local changes in f4 and would" in result["msg"]
    (dest / "f4").write_text("first 4\n" * 2000)
    result = run_module("git_pins", repos=move)
    assert not result.get("failed"), result["msg"]
    assert head(dest) == repo.second and git(dest, "status", "--porcelain") == ""
    assert not run_module("git_pins", repos=move)["changed"]


def test_bad_arguments(tmp_path: Path) -> None:
    url, dest = "https://example.org/x.git", str(tmp_path / "x")
    short = run_module("git_pins", repos=[{"repo": url, "dest": dest, "commit": "82a973c0"}])
    assert short["failed"] and "40 hex digits" in short["msg"]
    both = run_module("git_pins", repos=[{"repo": url, "dest": dest, "commit": "0" * 40, "ref": "v1"}])
    assert both["failed"]
    option = run_module("git_pins", repos=[{"repo": url, "dest": dest, "ref": "--upload-pack=x"}])
    assert option["failed"] and "no name of a tag" in option["msg"]
    twice = run_module("git_pins", repos=[{"repo": url, "dest": dest, "commit": "0" * 40, "name": n} for n in "ab"])
    assert twice["failed"] and "a and b have the same dest" in twice["msg"]


def test_bare_host(tmp_path: Path) -> None:
    """Check mode without git and without the repository."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "env").symlink_to("/usr/bin/env")
    pins = [{"repo": "https://nowhere.example.org/x.git", "dest": str(tmp_path / "x"), "commit": "0" * 40}]
    planned = run_module("git_pins", check=True, env={"PATH": tmp_path / "bin"}, repos=pins)
    assert planned["changed"] and planned["actions"]
    assert "git is not installed" in str(planned["warnings"])
    rejected = run_module("git_pins", env={"PATH": tmp_path / "bin"}, repos=pins)
    assert rejected["failed"] and "Install it" in rejected["msg"]


# --- a cache that hosts share -----------------------------------------------------------------------------------------


def test_hosts_with_a_cache_fetch_a_commit_once(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    cache = tmp_path / "cache"
    run_module("git_pins", repos=[pin(git_server, repo, tmp_path / "one", repo.second)], cache_dir=str(cache))
    asked = git_server.requests
    assert asked > 0
    _, applied, *_ = four_times(
        "git_pins", repos=[pin(git_server, repo, tmp_path / "two", repo.second)], cache_dir=str(cache)
    )
    assert git_server.requests == asked
    assert applied["repos"][0]["after"] == repo.second
    for dest in (tmp_path / "one", tmp_path / "two"):
        assert (dest / "new.txt").read_text() == "n\n" and (dest / "d" / "b.txt").read_text() == "b\n"
        assert git(dest, "status", "--porcelain") == "" and git(dest, "rev-list", "--count", "HEAD") == "1"
        git(dest, "fsck", "--strict", "--connectivity-only")
    assert [p.name for p in cache.rglob("*.pack")] == [f"{repo.second}.pack"]
    assert sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix != ".pack") == [f".{repo.second}.lock"]


def test_a_checkout_moves_by_the_cache(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    cache = str(tmp_path / "cache")
    run_module("git_pins", repos=[pin(git_server, repo, tmp_path / "one", repo.second)], cache_dir=cache)
    two = tmp_path / "two"
    run_module("git_pins", repos=[pin(git_server, repo, two, repo.first)], cache_dir=cache)
    asked = git_server.requests
    run_module("git_pins", repos=[pin(git_server, repo, two, repo.second)], cache_dir=cache)
    assert git_server.requests == asked and head(two) == repo.second and (two / "a.txt").read_text() == "two\n"
    run_module("git_pins", repos=[pin(git_server, repo, two, repo.first)], cache_dir=cache)
    assert git_server.requests == asked and head(two) == repo.first and not (two / "new.txt").exists()


@pytest.mark.parametrize("damage", ["other commit", "cut", "link", "directory", "a setting that runs a program"])
def test_a_damaged_cache_is_not_used(tmp_path: Path, git_server: Server, repo: Repo, damage: str) -> None:
    cache = tmp_path / "cache"
    for number, commit in enumerate((repo.first, repo.second)):
        run_module("git_pins", repos=[pin(git_server, repo, tmp_path / str(number), commit)], cache_dir=str(cache))
    pack = cache / repo.second[:2] / f"{repo.second}.pack"
    if damage == "other commit":
        shutil.copyfile(cache / repo.first[:2] / f"{repo.first}.pack", pack)
    elif damage == "cut":
        pack.write_bytes(pack.read_bytes()[:-30])
    elif damage == "link":
        pack.rename(tmp_path / "elsewhere")
        pack.symlink_to(tmp_path / "elsewhere")
    elif damage == "directory":
        pack.unlink()
        pack.mkdir()
    else:
        (cache / "config").write_text(f"[core]\n\tfsmonitor = touch {tmp_path}/ran\n")
        (cache / "HEAD").write_text("ref: refs/heads/main\n")
    asked, dest = git_server.requests, tmp_path / "dest"
    run_module("git_pins", repos=[pin(git_server, repo, dest, repo.second)], cache_dir=str(cache))
    assert head(dest) == repo.second and (dest / "a.txt").read_text() == "two\n"
    assert (git_server.requests > asked) == ("program" not in damage)
    assert not (tmp_path / "ran").exists()
    git(dest, "fsck", "--strict", "--connectivity-only")


def test_a_cache_that_cannot_be_written_is_left_out(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    (tmp_path / "cache").write_text("no directory")
    run_module(
        "git_pins", repos=[pin(git_server, repo, tmp_path / "dest", repo.first)], cache_dir=str(tmp_path / "cache")
    )
    assert head(tmp_path / "dest") == repo.first


def test_hosts_at_the_same_time_fetch_once(tmp_path: Path, git_server: Server, repo: Repo) -> None:
    cache = str(tmp_path / "cache")
    run_module("git_pins", repos=[pin(git_server, repo, tmp_path / "alone", repo.first)])
    once = git_server.requests
    options = [
        {"repos": [pin(git_server, repo, tmp_path / f"host{n}", repo.first)], "cache_dir": cache} for n in range(3)
    ]
    running = [start_module("git_pins", **each) for each in options]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert git_server.requests <= 2 * once  # with the filter, the lone one asked for files too
    assert {head(tmp_path / f"host{n}") for n in range(3)} == {repo.first}
