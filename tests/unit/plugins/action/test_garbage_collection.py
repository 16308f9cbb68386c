"""Workers, which end with their task, do not look for garbage; a task that watches for hours does. Oracle: Ansible's own loader, fork, gc."""

from __future__ import annotations

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ansible_collections.sdops.webui.plugins.plugin_utils.progress_action import ProgressActionBase
from helpers.ansible_site import ansible_environment

FORK = """
import gc, os
from ansible.plugins.loader import action_loader, init_plugin_loader
init_plugin_loader()
assert action_loader.get("sdops.webui.preflight", class_only=True)  # as the main process does, for every strategy
child = os.fork()
if not child:
    os._exit(10 + gc.isenabled())
print(gc.isenabled(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_worker_does_not_collect_and_the_main_process_does():
    done = subprocess.run([sys.executable, "-c", FORK], env=ansible_environment(), capture_output=True, text=True)
    assert done.stdout == "True 10\n", done.stderr


def test_a_task_that_watches_collects():
    def name(variables):
        raise KeyError  # far enough

    gc.disable()
    try:
        with pytest.raises(KeyError):
            ProgressActionBase._watch(SimpleNamespace(_name=name), None, {}, 1.0)
        assert gc.isenabled()
    finally:
        gc.enable()
