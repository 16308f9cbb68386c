"""webui_extensions as a process: real git, real uv, a real environment, wheels made here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.roop.hardened import render_hardened
from helpers.git_server import Repo, git
from helpers.module_process import four_times, run_module, start_module
from helpers.processes import ends_within
from helpers.wheels import install, sdist, venv, wheel

TORCH_MOVED = """
import glob, os, site
for place in site.getsitepackages():
    for path in glob.glob(os.path.join(place, "torch-*.dist-info", "METADATA")):
        text = open(path).read(); os.unlink(path); open(path, "w").write(text.replace("Version: 2.1.2", "Version: 9.9"))
"""
# writes into files and puts none in their place
WRITTEN_INTO = """
import glob, os, site
for place in site.getsitepackages():
    for path in glob.glob(os.path.join(place, "torch-*.dist-info", "METADATA")):
        with open(path, "r+") as handle:
            text = handle.read(); handle.seek(0); handle.write(text.replace("Version: 2.1.2", "Version: 9.9.9"))
    for path in glob.glob(os.path.join(place, "torch*", "__init__.py")):
        open(path, "w").write("evil")
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


class Target:
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
def target(tmp_path: Path, links: Path) -> Target:
    return Target(tmp_path, links)


def test_four_times(target: Target) -> None:
    script = "import os; open(os.path.join(os.path.dirname(__file__), 'ran'), 'a').write('x')"
    one = target.extension("one", {"requirements.txt": "rich==13.9.4\n", "install.py": script})
    first, applied, repeated, last = four_times("webui_extensions", extensions=[one], **target.arguments)
    assert any("clone" in action for action in first["actions"])
    assert {"one: install rich 13.9.4"} <= set(applied["actions"])
    assert target.version("rich") == "13.9.4"
    # once, and not again although it was asked for two more times
    assert (target.webui / "extensions/one/ran").read_text() == "x"
    assert not repeated["actions"] and not last["actions"]


def test_hosts_with_a_cache_of_commits_fetch_once(target: Target, tmp_path: Path) -> None:
    one = target.extension("one", {"scripts/one.py": "one"})
    cache = tmp_path / "commits"
    assert target.run(one, commit_cache_dir=str(cache))["changed"]
    assert [path.stem for path in cache.rglob("*.pack")] == [one["commit"]]
    (tmp_path / "served").rename(tmp_path / "gone")
    target.arguments["data_dir"] = str(tmp_path / "other-host")
    assert target.run(one, commit_cache_dir=str(cache))["extensions"][0]["status"] == "changed"
    assert (tmp_path / "other-host/extensions/one/scripts/one.py").read_text() == "one"


def test_a_package_may_not_move_what_the_webui_pins(target: Target) -> None:
    bad = target.extension("bad", {"requirements.txt": "greedy\n"})
    good = target.extension("good", {"requirements.txt": "rich\n"})
    result = target.run(bad, good)
    assert result["failed"] and result["failed_extensions"] == ["bad"]
    assert "pillow" in result["msg"] and "bad" in result["msg"]
    assert target.untouched and target.version("rich") == "13.9.4"
    assert [(e["name"], e["status"]) for e in result["extensions"]] == [("bad", "failed"), ("good", "changed")]


def test_another_torch_is_rejected(target: Target) -> None:
    result = target.run(target.extension("bad", {"requirements.txt": "torch==2.2.0\n"}))
    assert result["failed"] and "must not change torch==2.1.2" in result["msg"]
    assert target.untouched


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('no server')", ["ended with 1", "no server"]),
        (TORCH_MOVED, ["changed torch from 2.1.2 to 9.9", "restored"]),
        (TORCH_MOVED + "raise SystemExit(3)", ["ended with 3"]),
        (WRITTEN_INTO, ["changed torch from 2.1.2 to 9.9.9", "restored"]),
        ("import shutil, site; shutil.rmtree(site.getsitepackages()[0])", ["restored"]),
    ],
    ids=["fails", "moves torch", "moves torch and fails", "writes into torch", "removes everything"],
)
def test_a_hostile_script_is_undone(target: Target, script: str, words: list[str]) -> None:
    result = target.run(target.extension("hostile", {"install.py": script}))
    assert result["failed"] and result["failed_extensions"] == ["hostile"]
    for word in words:
        assert word in result["msg"], result["msg"]
    assert target.untouched
    assert not Path(str(target.base / "env") + ".extension").exists()
    # it is tried again, since it has not worked
    assert target.run(target.extension("other", {}), check=True)["changed"]


def test_packages_in_keep_are_preserved(target: Target) -> None:
    spec = target.extension("media", {}, packages=["mediapipe==0.10.15"], keep=["protobuf"])
    assert target.run({**spec, "keep": []})["failed"]
    assert target.run(spec)["changed"]
    assert target.version("mediapipe") == "0.10.15" and target.untouched
    assert not target.run(spec)["changed"]


PROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """import os, zipfile
def build_wheel(directory, config=None, metadata=None):
    with open(os.environ["BUILDS"], "a") as handle:
        handle.write("x")
    name = "faces-0.7.3-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as bundle:
        bundle.writestr("faces.py", "x = 1")
        info = "faces-0.7.3.dist-info/"
        bundle.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: faces\\nVersion: 0.7.3\\n")
        bundle.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        bundle.writestr(info + "RECORD", "faces.py,,\\n%sMETADATA,,\\n%sWHEEL,,\\n%sRECORD,,\\n" % ((info,) * 3))
    return name
"""


def test_what_has_no_wheel_is_built_once(target: Target, tmp_path: Path) -> None:
    """As insightface: an sdist only. The next environment takes the wheel from the shared cache."""
    sources, wheels, builds = tmp_path / "sources", tmp_path / "shared/wheels", tmp_path / "builds"
    sources.mkdir()
    sdist(sources, "faces", "0.7.3", {"pyproject.toml": PROJECT, "backend.py": BACKEND})
    common = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(sources), "BUILDS": str(builds)}
    one = target.extension("one", {}, packages=["faces==0.7.3"], build=["faces==0.7.3"])
    for number in (1, 2):
        python = tmp_path / f"env{number}/bin/python"
        subprocess.run([sys.executable, "-m", "venv", tmp_path / f"env{number}"], check=True)
        arguments = {
            **target.arguments,
            "python": str(python),
            "wheels_dirs": [str(wheels)],
            "env": {
                **target.arguments["env"],
                **common,
                "UV_CACHE_DIR": str(tmp_path / f"cache{number}"),
                "UV_NO_BUILD": "1",
            },
        }
        result = run_module("webui_extensions", extensions=[one], **arguments)
        assert not result.get("failed"), result
        assert "one: install faces 0.7.3" in result["actions"]
        assert builds.read_text() == "x"
    assert [p.name for p in wheels.glob("*/*.whl")] == ["faces-0.7.3-py3-none-any.whl"]


def test_an_interrupted_run_is_repaired(target: Target) -> None:
    """A power cut in the middle of an install.py: the next run begins with the environment as it was."""
    slow = target.extension("slow", {"install.py": TORCH_MOVED + "import os; os.kill(os.getppid(), 9)"})
    process = start_module("webui_extensions", extensions=[slow], **target.arguments)
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert target.version("torch") == "9.9"
    good = target.extension("good", {})
    result = target.run(good)
    assert "restored the environment, in which an installation was interrupted" in result["actions"]
    assert target.untouched


def test_disabled_absent_and_unmanaged(target: Target) -> None:
    one = target.extension("one", {"requirements.txt": "rich\n"}, state="disabled")
    (target.webui / "extensions/mine").mkdir()
    result = target.run(one)
    assert result["changed"] and result["unmanaged"] == ["mine"]
    assert target.version("rich") == ""
    missing = target.run({**one, "state": "absent"})
    assert missing["changed"] and not (target.webui / "extensions/one").exists()
    assert not target.run({**one, "state": "absent"})["changed"]
    result = target.run({"name": "mine", "state": "absent"})
    assert result["failed"] and "not ours" in result["msg"] and (target.webui / "extensions/mine").exists()


ROOP = """import tempfile
from ifnude import detect


def convert_to_sd(img):
    shapes = []
    for chunk in detect(img):
        shapes.append(chunk["score"] > 0.95)
    return [any(shapes), tempfile.NamedTemporaryFile(delete=False, suffix=".png")]
"""


def test_managed_patch_is_not_a_local_change(target: Target) -> None:
    roop = target.extension("roop", {"scripts/cimage.py": ROOP})
    target.run(roop)
    place = target.webui / "extensions/roop"
    (place / "scripts/cimage.py").write_text(render_hardened(0.7))
    (place / "scripts/cimage.py.before-sdops").write_text(ROOP)
    (place / "scripts/__pycache__").mkdir()
    (place / "scripts/__pycache__/cimage.pyc").write_text("x")
    assert not target.run(roop)["changed"]
    missing = {**roop, "state": "absent"}
    assert target.run(missing, check=True)["changed"] and place.exists()
    assert target.run(missing)["changed"] and not place.exists()


@pytest.mark.parametrize("kind", ["ignored", "untracked", "commit", "branch", "stash"])
def test_user_files_are_never_removed(target: Target, kind: str) -> None:
    one = target.extension("one", {"a.py": "a = 1\n", ".gitignore": "*.pth\n"})
    target.run(one)
    place = target.webui / "extensions/one"
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    if kind == "ignored":
        (place / "models").mkdir()
        (place / "models/mine.pth").write_text("x")
    elif kind == "untracked":
        (place / "wildcards.txt").write_text("mine")
    else:
        if kind == "branch":
            git(place, "switch", "-q", "-c", "mine")
        (place / "a.py").write_text("a = 2\n")
        git(place, *who, *(["stash", "-q"] if kind == "stash" else ["commit", "-qam", "mine"]))
        if kind == "branch":
            git(place, "switch", "-q", "-")
    word = {"ignored": "models/", "untracked": "wildcards.txt"}.get(kind, "commits of somebody's own")
    result = target.run({**one, "state": "absent"})
    assert result["failed"] and word in result["msg"] and "one" in result["msg"], result["msg"]
    assert place.exists()


def test_a_checkout_of_the_user_is_unmanaged(target: Target) -> None:
    one = target.extension("one", {"a.py": "a = 1\n"})
    subprocess.run(["git", "clone", "-q", one["repo"], target.webui / "extensions/one"], check=True)
    result = target.run({**one, "state": "absent"})
    assert (
        result["failed"] and "not ours to remove" in result["msg"] and (target.webui / "extensions/one/a.py").exists()
    )


def test_requirements_that_are_no_text_are_named_and_the_others_go_on(target: Target) -> None:
    repo = Repo(target.base, "latin")
    (repo.tree / "requirements.txt").write_bytes("rich # \u00e9".encode("latin-1"))
    git(repo.tree, "add", ".")
    bad = {"name": "latin", "repo": str(repo.bare), "commit": repo.push()}
    result = target.run(bad, target.extension("good", {}))
    assert result["failed_extensions"] == ["latin"] and "no UTF-8" in result["msg"]
    assert (target.webui / "extensions/good/README.md").exists()


def test_an_install_script_that_takes_too_long_is_ended_with_its_children(target: Target) -> None:
    mark = target.base / "child"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(300)"
    result = target.run(target.extension("slow", {"install.py": script}), timeout=3)
    assert result["failed"] and "did not end within 3" in result["msg"]
    assert ends_within(int(mark.read_text()), 10)


def test_local_work_is_never_removed(target: Target) -> None:
    one = target.extension("one", {"a.py": "a = 1\n"})
    target.run(one)
    (target.webui / "extensions/one/a.py").write_text("a = 2\n")
    result = target.run({**one, "state": "absent"})
    assert result["failed"] and "a.py" in result["msg"]
    assert (target.webui / "extensions/one/a.py").read_text() == "a = 2\n"


def test_a_dead_repository_is_named_and_the_others_go_on(target: Target) -> None:
    dead = {"name": "dead", "repo": str(target.base / "nowhere.git"), "commit": "1" * 40}
    result = target.run(dead, target.extension("good", {}))
    assert result["failed_extensions"] == ["dead"] and "nowhere.git" in result["msg"]
    assert (target.webui / "extensions/good/README.md").exists()


def test_a_moved_commit_runs_the_script_again(target: Target) -> None:
    repo = Repo(target.base, "one")
    script = "import os; open(os.path.join(os.path.dirname(__file__), 'ran'), 'a').write('x')"
    spec = {"name": "one", "repo": str(repo.bare), "commit": repo.commit({"install.py": script})}
    target.run(spec)
    spec["commit"] = repo.commit({"README.md": "newer"})
    target.run(spec)
    assert (target.webui / "extensions/one/ran").read_text() == "xx"
    assert git(target.webui / "extensions/one", "rev-parse", "HEAD") == spec["commit"]


def test_without_a_python_the_role_is_named(target: Target) -> None:
    arguments = {**target.arguments, "python": str(target.base / "none/bin/python")}
    spec = target.extension("one", {"requirements.txt": "rich\n"})
    result = run_module("webui_extensions", extensions=[spec], **arguments)
    assert result["failed"] and "conda_env" in result["msg"]
    assert run_module("webui_extensions", extensions=[spec], check=True, **arguments)["changed"]
    json.dumps(result)
