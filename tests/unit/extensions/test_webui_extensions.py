"""webui_extensions as a process: real git, real uv, a real environment, wheels made here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from git_world import Repo, git
from module_process import four_times, run_module, start_module
from wheels import install, venv, wheel

TORCH_MOVED = """
import glob, os, site
for place in site.getsitepackages():
    for path in glob.glob(os.path.join(place, "torch-*.dist-info", "METADATA")):
        text = open(path).read(); os.unlink(path); open(path, "w").write(text.replace("Version: 2.1.2", "Version: 9.9"))
"""


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("links")
    for name, *versions in (
        ("torch", "2.1.2", "2.2.0"),
        ("protobuf", "3.20.0", "4.25.3"),
        ("pillow", "9.5.0", "10.0.0"),
    ):
        for version in versions:
            wheel(where, name, version)
    wheel(where, "mediapipe", "0.10.15", "protobuf>=4.25.3")
    wheel(where, "rich", "13.9.4")
    wheel(where, "greedy", "1.0", "pillow>=10")
    return where


class Box:
    """A WebUI's directory, its environment, and repositories of extensions."""

    def __init__(self, base: Path, links: Path) -> None:
        self.base, self.links = base, links
        self.python = venv(base / "env")
        install(self.python, "--no-index", "--find-links", links, "torch==2.1.2", "protobuf==3.20.0", "pillow==9.5.0")
        self.webui = base / "webui"
        (self.webui / "extensions").mkdir(parents=True)
        (self.webui / "requirements_versions.txt").write_text("Pillow==9.5.0\nprotobuf==3.20.0\n")
        self.arguments = {
            "python": str(self.python),
            "webui_dir": str(self.webui),
            "env": {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(links), "UV_CACHE_DIR": str(base / "cache")},
        }

    def extension(self, name: str, files: dict[str, str], **more) -> dict:
        repo = Repo(self.base, name)
        return {"name": name, "repo": str(repo.bare), "commit": repo.commit({"README.md": name, **files}), **more}

    def run(self, *extensions: dict, **more) -> dict:
        return run_module("webui_extensions", extensions=list(extensions), **self.arguments, **more)

    def version(self, name: str) -> str:
        code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
        done = subprocess.run([self.python, "-c", code, name], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    @property
    def untouched(self) -> bool:
        return (self.version("torch"), self.version("protobuf"), self.version("pillow")) == ("2.1.2", "3.20.0", "9.5.0")


@pytest.fixture
def box(tmp_path: Path, links: Path) -> Box:
    return Box(tmp_path, links)


def test_four_times(box: Box) -> None:
    script = "import os; open(os.path.join(os.path.dirname(__file__), 'ran'), 'a').write('x')"
    one = box.extension("one", {"requirements.txt": "rich==13.9.4\n", "install.py": script})
    first, applied, again, last = four_times("webui_extensions", extensions=[one], **box.arguments)
    assert any("clone" in action for action in first["actions"])
    assert {"one: install rich 13.9.4"} <= set(applied["actions"])
    assert box.version("rich") == "13.9.4"
    # once, and not again although it was asked for two more times
    assert (box.webui / "extensions/one/ran").read_text() == "x"
    assert not again["actions"] and not last["actions"]


def test_a_package_may_not_move_what_the_webui_pins(box: Box) -> None:
    bad = box.extension("bad", {"requirements.txt": "greedy\n"})
    good = box.extension("good", {"requirements.txt": "rich\n"})
    told = box.run(bad, good)
    assert told["failed"] and told["failed_extensions"] == ["bad"]
    assert "pillow" in told["msg"] and "bad" in told["msg"]
    assert box.untouched and box.version("rich") == "13.9.4"
    assert [(e["name"], e["status"]) for e in told["extensions"]] == [("bad", "failed"), ("good", "changed")]


def test_another_torch_is_refused(box: Box) -> None:
    told = box.run(box.extension("bad", {"requirements.txt": "torch==2.2.0\n"}))
    assert told["failed"] and "must not change torch==2.1.2" in told["msg"]
    assert box.untouched


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('no server')", ["ended with 1", "no server"]),
        (TORCH_MOVED, ["changed torch from 2.1.2 to 9.9", "put back"]),
        (TORCH_MOVED + "raise SystemExit(3)", ["ended with 3"]),
        ("import shutil, site; shutil.rmtree(site.getsitepackages()[0])", ["put back"]),
    ],
    ids=["fails", "moves torch", "moves torch and fails", "removes everything"],
)
def test_a_hostile_script_is_undone(box: Box, script: str, words: list[str]) -> None:
    told = box.run(box.extension("hostile", {"install.py": script}))
    assert told["failed"] and told["failed_extensions"] == ["hostile"]
    for word in words:
        assert word in told["msg"], told["msg"]
    assert box.untouched
    assert not Path(str(box.base / "env") + ".extension").exists()
    # it is tried again, since it has not worked
    assert box.run(box.extension("other", {}), check=True)["changed"]


def test_what_is_kept_is_kept(box: Box) -> None:
    spec = box.extension("media", {}, packages=["mediapipe==0.10.15"], keep=["protobuf"])
    assert box.run({**spec, "keep": []})["failed"]
    assert box.run(spec)["changed"]
    assert box.version("mediapipe") == "0.10.15" and box.untouched
    assert not box.run(spec)["changed"]


def test_a_cut_run_is_put_right(box: Box) -> None:
    """A power cut in the middle of an install.py: the next run begins with the environment as it was."""
    slow = box.extension("slow", {"install.py": TORCH_MOVED + "import os; os.kill(os.getppid(), 9)"})
    process = start_module("webui_extensions", extensions=[slow], **box.arguments)
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert box.version("torch") == "9.9"
    good = box.extension("good", {})
    told = box.run(good)
    assert "put the environment back, in which an installation was cut off" in told["actions"]
    assert box.untouched


def test_disabled_absent_and_foreign(box: Box) -> None:
    one = box.extension("one", {"requirements.txt": "rich\n"}, state="disabled")
    (box.webui / "extensions/mine").mkdir()
    told = box.run(one)
    assert told["changed"] and told["foreign"] == ["mine"]
    assert box.version("rich") == ""
    gone = box.run({**one, "state": "absent"})
    assert gone["changed"] and not (box.webui / "extensions/one").exists()
    assert not box.run({**one, "state": "absent"})["changed"]
    told = box.run({"name": "mine", "state": "absent"})
    assert told["failed"] and "not ours" in told["msg"] and (box.webui / "extensions/mine").exists()


def test_local_work_is_never_removed(box: Box) -> None:
    one = box.extension("one", {"a.py": "a = 1\n"})
    box.run(one)
    (box.webui / "extensions/one/a.py").write_text("a = 2\n")
    told = box.run({**one, "state": "absent"})
    assert told["failed"] and "a.py" in told["msg"]
    assert (box.webui / "extensions/one/a.py").read_text() == "a = 2\n"


def test_a_dead_repository_is_named_and_the_others_go_on(box: Box) -> None:
    dead = {"name": "dead", "repo": str(box.base / "nowhere.git"), "commit": "1" * 40}
    told = box.run(dead, box.extension("good", {}))
    assert told["failed_extensions"] == ["dead"] and "nowhere.git" in told["msg"]
    assert (box.webui / "extensions/good/README.md").exists()


def test_a_moved_commit_runs_the_script_again(box: Box) -> None:
    repo = Repo(box.base, "one")
    script = "import os; open(os.path.join(os.path.dirname(__file__), 'ran'), 'a').write('x')"
    spec = {"name": "one", "repo": str(repo.bare), "commit": repo.commit({"install.py": script})}
    box.run(spec)
    spec["commit"] = repo.commit({"README.md": "newer"})
    box.run(spec)
    assert (box.webui / "extensions/one/ran").read_text() == "xx"
    assert git(box.webui / "extensions/one", "rev-parse", "HEAD") == spec["commit"]


def test_without_a_python_the_role_is_named(box: Box) -> None:
    arguments = {**box.arguments, "python": str(box.base / "none/bin/python")}
    spec = box.extension("one", {"requirements.txt": "rich\n"})
    told = run_module("webui_extensions", extensions=[spec], **arguments)
    assert told["failed"] and "conda_env" in told["msg"]
    assert run_module("webui_extensions", extensions=[spec], check=True, **arguments)["changed"]
    json.dumps(told)
