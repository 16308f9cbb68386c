"""plugins/ on the Pythons of targets: ansible-core 2.19 supports them from 3.8 on, later ones from a later one."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import ansible
import pytest
from helpers.paths import ROOT
from helpers.pythons import other_pythons

PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
# what runs on the controller only needs the controller's Python
TARGET = [path for path in PLUGINS if path.relative_to(ROOT / "plugins").parts[0] in ("modules", "module_utils")]
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print("imported", len(sys.argv) - 1)
"""


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_syntax_of_38(path):
    ast.parse(path.read_text(), feature_version=(3, 8))


def test_import_with_other_pythons(tmp_path):
    """Also without requests and all else that a bare target lacks: a module must come so far as to say what is missing."""
    pythons = other_pythons()
    if not pythons:
        pytest.skip("No other Python is here: only the syntax of 3.8 was checked, the import was not.")
    package = tmp_path / "ansible"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module_utils").symlink_to(Path(ansible.__file__).parent / "module_utils")
    names = [
        "ansible_collections.sdops.webui."
        + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in TARGET
    ]
    path = os.pathsep.join([str(tmp_path), str(ROOT / ".work" / "collections")])
    for python in pythons:
        done = subprocess.run(
            [python, "-c", IMPORT, *names],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(tmp_path / "pyc")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == f"imported {len(names)}", f"{python}: {done.stderr}"
