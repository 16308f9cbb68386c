"""Paths that a user cannot write are told before the first change. Oracle: the kernel, as another user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "import sys, os; "
    "from ansible_collections.sdops.webui.plugins.module_utils.host_state import is_path_writable; os.setgid(65534); os.setuid(65534); "
    "print([is_path_writable(path) for path in sys.argv[1:]])"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="being somebody else needs root")
def test_what_another_user_cannot_write(tmp_path):
    for path in [tmp_path, *tmp_path.parents]:
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o011)
    (tmp_path / "theirs").mkdir(mode=0o755)
    os.chown(tmp_path / "theirs", 65534, 65534)
    (tmp_path / "roots").mkdir(mode=0o755)
    (tmp_path / "roots/file").write_text("")
    paths = ["theirs", "theirs/a/b", "roots", "roots/a/b", "roots/file"]
    done = subprocess.run(
        [sys.executable, "-c", "import ansible.module_utils.basic\n" + CODE, *(str(tmp_path / path) for path in paths)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.strip() == "[True, True, False, False, False]", done.stderr
