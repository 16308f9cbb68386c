"""git_pins with real repositories."""

from __future__ import annotations

import subprocess

import pytest


def git(where, *arguments) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    return subprocess.run(
        ["git", *identity, "-C", str(where), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def upstream(tmp_path):
    """A repository with two commits; (url, first, second)."""
    path = tmp_path / "upstream"
    path.mkdir()
    git(path, "init", "-q", "-b", "master")
    commits = []
    for number in ("one", "two"):
        (path / "file.txt").write_text(number)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", number)
        commits.append(git(path, "rev-parse", "HEAD"))
    for name in ("allowAnySHA1InWant", "allowFilter"):
        git(path, "config", f"uploadpack.{name}", "true")
    return f"file://{path}", *commits


def wish(upstream, dest, commit=1) -> list[dict]:
    return [{"url": upstream[0], "commit": upstream[commit], "dest": str(dest)}]


def test_clone_then_move(upstream, tmp_path, four_times):
    dest = tmp_path / "deep" / "checkout"
    _, applied = four_times("git_pins", repos=wish(upstream, dest))
    assert (dest / "file.txt").read_text() == "one"
    assert applied["repos"][0]["before"] is None
    planned, _ = four_times("git_pins", repos=wish(upstream, dest, 2))
    assert (dest / "file.txt").read_text() == "two"
    assert planned["diff"]["before"].strip().endswith(upstream[1])
    assert [p.name for p in dest.parent.iterdir()] == ["checkout"]
    # the WebUI does not list an extension on a detached HEAD
    assert git(dest, "symbolic-ref", "--short", "HEAD") == "sdops-pin"


def test_no_network_when_it_stands_at_the_pin(upstream, tmp_path, run_module):
    dest = tmp_path / "checkout"
    run_module("git_pins", repos=wish(upstream, dest))
    gone = [{"url": "file:///nowhere", "commit": upstream[1], "dest": str(dest)}]
    assert run_module("git_pins", repos=gone)["changed"] is False


def test_local_changes_are_never_thrown_away(upstream, tmp_path, run_module):
    dest = tmp_path / "checkout"
    run_module("git_pins", repos=wish(upstream, dest))
    (dest / "file.txt").write_text("mine")
    (dest / "untracked").write_text("mine too")
    for check in (True, False):
        found = run_module("git_pins", check=check, repos=wish(upstream, dest, 2))
        assert found["failed"]
        assert "file.txt" in found["msg"]
    assert (dest / "file.txt").read_text() == "mine"
    assert run_module("git_pins", repos=wish(upstream, dest))["failed"] is False


def test_commits_on_top_of_the_pin_are_never_lost(upstream, tmp_path, run_module):
    dest = tmp_path / "checkout"
    run_module("git_pins", repos=wish(upstream, dest))
    (dest / "file.txt").write_text("mine")
    git(dest, "commit", "-q", "-a", "-m", "mine")
    mine = git(dest, "rev-parse", "HEAD")
    found = run_module("git_pins", repos=wish(upstream, dest, 2))
    assert found["failed"]
    assert "committed" in found["msg"]
    assert git(dest, "rev-parse", "HEAD") == mine


def test_one_dead_repository_does_not_stop_the_others(upstream, tmp_path, run_module):
    dead = {"url": f"file://{tmp_path}/gone", "commit": "a" * 40, "dest": str(tmp_path / "dead"), "name": "stability"}
    found = run_module("git_pins", repos=[dead, *wish(upstream, tmp_path / "alive")], retries=0)
    assert found["failed"]
    assert "stability" in found["msg"]
    assert "still exists" in found["msg"]
    assert (tmp_path / "alive" / "file.txt").exists()
    assert not (tmp_path / "dead").exists()


def test_a_cut_clone_leaves_nothing_under_the_final_name(upstream, tmp_path, run_module):
    dest = tmp_path / "checkout"
    partial = tmp_path / ".checkout.partial"
    partial.mkdir()
    (partial / "rubbish").write_text("left behind")
    found = run_module("git_pins", repos=wish(upstream, dest))
    assert not found["failed"], found
    assert not partial.exists()
    assert not (dest / "rubbish").exists()


def test_somebody_elses_directory_is_refused(upstream, tmp_path, run_module):
    dest = tmp_path / "checkout"
    dest.mkdir()
    (dest / "precious").write_text("x")
    found = run_module("git_pins", repos=wish(upstream, dest))
    assert found["failed"]
    assert "no git checkout" in found["msg"]
    assert (dest / "precious").exists()


def test_a_branch_is_no_pin_and_passwords_stay_out_of_messages(tmp_path, run_module):
    found = run_module("git_pins", repos=[{"url": "https://x/y", "commit": "master", "dest": str(tmp_path / "x")}])
    assert found["failed"]
    assert "40 hex" in found["msg"]
    url = "https://user:hunter2@127.0.0.1:9/x.git"
    found = run_module("git_pins", repos=[{"url": url, "commit": "a" * 40, "dest": str(tmp_path / "x")}], retries=0)
    assert "hunter2" not in found["msg"]
