"""At the end of a run that failed stands the cause, once: real runs with commands that fail."""

from __future__ import annotations

import re
import sys

import yaml

PROGRAM = """
import sys
sys.exit("Traceback (most recent call last):\\nRuntimeError: Couldn't install clip.\\nError code: 1\\n"
         "stderr: x\\nERROR: No matching distribution found for clip\\n[notice] a new pip")
"""


def messages(output: str) -> list[str]:
    """What the failed tasks said, in order, each on one line."""
    return [
        " ".join(text.split()) for text in re.findall(r"\[ERROR\]: Task failed: (.*?)(?=\nOrigin:|\n\n)", output, re.S)
    ]


def test_the_cause_of_a_command_is_reported_once_at_the_end(site):
    """As sd_webui in site.yml: a rescue that looks for other routes, inside one that goes back, inside that of the play."""
    reroute = {
        "ansible.builtin.include_role": {
            "name": "sdops.webui.sdops",
            "tasks_from": "select_other_route",
            "public": True,
        }
    }
    rescue = {
        "ansible.builtin.include_role": {
            "name": "sdops.webui.webui_rollback",
            "tasks_from": "rollback_and_fail",
            "public": True,
        },
    }
    command = {"name": "Install clip", "ansible.builtin.command": {"argv": [sys.executable, "-c", PROGRAM]}}
    play = {
        "hosts": "webui",
        "gather_facts": False,
        "vars": {"__sdops_defer_report": True},
        "roles": [{"role": "sdops.webui.sdops"}],
        "tasks": [
            {
                "block": [
                    {
                        "block": [{"block": [command], "rescue": [reroute]}],
                        "rescue": [rescue],
                    }
                ],
                "rescue": [{**rescue, "vars": {"__sdops_defer_report": False}}],
            }
        ],
    }
    (site.base / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    result = site.play(str(site.base / "play.yml"), sdops_device="cpu")
    assert result.returncode == 2, result.stdout + result.stderr
    reported = messages(result.stdout + result.stderr)
    cause = "Couldn't install clip. No matching distribution found for clip."
    assert [cause in each for each in reported] == [False, False, False, True], reported
    assert reported[-1].endswith('All that it said is above, at "Install clip".') and "ended with 1" in reported[-1]
    assert "non-zero" not in " ".join(reported[1:]) and "installed, as before" not in result.stdout


def test_the_play_reports_what_a_role_could_not_do(site):
    (site.base / "home").write_text("a file where the directory belongs")
    result = site.play("--tags", "base")
    assert result.returncode == 2
    reported = messages(result.stdout + result.stderr)
    assert "home" in reported[-1] and "installed, as before" not in reported[-1], reported
