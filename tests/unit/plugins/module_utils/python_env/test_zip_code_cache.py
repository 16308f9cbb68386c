"""What is imported out of a zip file stays compiled. Oracles: Python's own audit events of compile(), of each Python for targets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.python_env import zip_code_cache
from helpers.pythons import other_pythons

# prints the files that are compiled, what the package says, and where its code is from
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
compiled = []
sys.addaudithook(lambda event, args: compiled.append(args[1]) if event == "compile" else None)
import bundle.inner
try:
    bundle.inner.fail()
except ValueError as exc:
    frame = exc.__traceback__.tb_next.tb_frame
names = [str(name) for name in compiled if str(name).startswith(sys.argv[1])]
print(json.dumps([[n[len(sys.argv[1]) + 1:] for n in names], bundle.inner.said(), frame.f_code.co_filename, bundle.inner.__file__]))
"""
INNER = "def said():\n    return {!r}\ndef fail():\n    raise ValueError\nclass Kept:\n    def method(self): return [x for x in (1, 2)]\n"


def bundle(directory: Path, said: str) -> Path:
    """A zip file with a package of two files, somewhere else each time, as Ansible's are."""
    directory.mkdir()
    with zipfile.ZipFile(directory / "module.zip", "w") as archive:
        archive.writestr("bundle/__init__.py", "")
        archive.writestr("bundle/inner.py", INNER.format(said))
    return directory / "module.zip"


class Environment:
    def __init__(self, python: str, path: Path) -> None:
        subprocess.run([python, "-m", "venv", "--without-pip", path], check=True)
        self.python, self.cache = path / "bin/python", path / zip_code_cache.CODE_CACHE_DIRECTORY
        (packages,) = path.glob("lib/python3*/site-packages")
        zip_code_cache.install(str(packages), str(path), Path(zip_code_cache.__file__).read_text())

    def probe(self, archive: Path, *options: str) -> tuple[list[str], str]:
        """(files that were compiled, what the package says)"""
        done = subprocess.run(
            [self.python, *options, "-c", PROBE, archive], check=True, capture_output=True, text=True, env={}
        )
        assert done.stderr == ""
        compiled, said, *files = json.loads(done.stdout)
        assert files == [f"{archive}/bundle/inner.py"] * 2
        return compiled, said


@pytest.fixture(scope="module", params=[sys.executable, *other_pythons()])
def environment(request, tmp_path_factory):
    return Environment(request.param, tmp_path_factory.mktemp("environment") / "venv")


def test_each_file_is_compiled_once_until_it_changes(environment, tmp_path):
    files = ["bundle/__init__.py", "bundle/inner.py"]
    assert environment.probe(bundle(tmp_path / "1", "one")) == (files, "one")
    assert environment.probe(bundle(tmp_path / "2", "one")) == ([], "one")
    assert environment.probe(bundle(tmp_path / "3", "two")) == (["bundle/inner.py"], "two")
    assert environment.probe(bundle(tmp_path / "4", "two"), "-I") == ([], "two")
    # another code: without assertions
    assert environment.probe(bundle(tmp_path / "5", "two"), "-O") == (files, "two")
    assert sorted(path.name.partition(".cpython")[0] for path in environment.cache.iterdir()) == [
        "bundle.__init__.py",
        "bundle.__init__.py",
        "bundle.inner.py",
        "bundle.inner.py",
    ]
    assert environment.cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["zeros", "short", "empty", "a directory", "no directory"])
def test_what_a_power_cut_leaves_is_compiled_again(tmp_path, damage):
    environment = Environment(sys.executable, tmp_path / "venv")
    environment.probe(bundle(tmp_path / "1", "one"))
    (file,) = environment.cache.glob("bundle.inner.py*")
    size = file.stat().st_size
    if damage == "zeros":
        with file.open("r+b") as handle:
            handle.seek(size // 2)
            handle.write(b"\0" * (size - size // 2))
    elif damage == "a directory":
        file.unlink()
        file.mkdir()
    elif damage == "no directory":
        for each in environment.cache.iterdir():
            each.unlink()
        environment.cache.rmdir()
    else:
        os.truncate(file, {"short": size - 1, "empty": 0}[damage])
    compiled, said = environment.probe(bundle(tmp_path / "2", "one"))
    assert "bundle/inner.py" in compiled and said == "one"
    if damage in ("zeros", "short", "empty"):
        assert environment.probe(bundle(tmp_path / "3", "one")) == ([], "one")
    assert [path.name for path in environment.cache.glob("*.[0-9]*[0-9]")] == []
