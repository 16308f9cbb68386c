"""The installed version of the WebUI is replaced only when a variable asks for that, wherever it is set."""

from __future__ import annotations

import json

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import WEBUI_VERSIONS

DEFAULT = next(iter(WEBUI_VERSIONS))
REFUSED = "On box the WebUI has version dev, which an earlier run asked for."
# plays that check the role's variables, and report what it would record
REPORT = "\n    - ansible.builtin.debug: {msg: 'recorded {{ __sd_webui_desired_sources.requested | to_json }}'}\n"
INCLUDE = """
- hosts: webui
  gather_facts: false
  vars: %s
  tasks:
    - ansible.builtin.include_role: {name: sdops.webui.sd_webui, tasks_from: preflight, public: true, apply: {tags: [base]}}
      tags: [base]
      vars: %s
"""


@pytest.fixture
def with_dev(site):
    """A host with version dev, which -e has asked for."""
    state = site.base / "home" / "webui"
    state.mkdir(parents=True)
    (state / "installed.json").write_text(json.dumps({"version": "dev", "commit": WEBUI_VERSIONS["dev"].commit}))
    (state / "sources.json").write_text(json.dumps({"requested": {"sd_webui_version": "dev"}}))
    site.variables.update(sdops_device="cpu", webui_service_smoke_test="false")
    return site


def include(site, *arguments: str, play: str = "{}", task: str = "{}"):
    playbook = site.base / "play.yml"
    playbook.write_text(INCLUDE % (play, task) + REPORT)
    return site.play(str(playbook), *arguments)


def test_site_does_not_go_back_unasked(with_dev):
    before = with_dev.files()
    result = with_dev.play()
    assert result.returncode == 2 and result.stdout.count("fatal: ") == 1 and "changed=0" in result.stdout
    message = " ".join(result.stdout.split())
    assert REFUSED in message and "write into the inventory: sd_webui_version: dev." in message
    assert f"run with -e sd_webui_version={DEFAULT}." in message
    assert with_dev.files() == before


def test_other_tags_install_no_version(with_dev):
    result = include(with_dev, "--tags", "base")
    assert result.returncode == 0 and "version dev" not in result.stdout, result.stdout
    assert "[sdops.webui.sd_webui : Check the variables and the host]" in result.stdout


@pytest.mark.parametrize("place", ["inventory", "play", "task"])
def test_variable_asks_wherever_it_is_set(with_dev, place):
    given = f'{{sd_webui_version: "{DEFAULT}"}}'
    if place == "inventory":
        (with_dev.base / "group_vars").mkdir()
        (with_dev.base / "group_vars" / "webui.yml").write_text(given)
    result = include(with_dev, **({place: given} if place != "inventory" else {}))
    assert result.returncode == 0, result.stdout
    assert f'recorded {{"sd_webui_version": "{DEFAULT}"}}' in result.stdout.replace('\\"', '"')


def test_include_without_a_version_is_refused(with_dev):
    result = include(with_dev)
    assert result.returncode == 2 and REFUSED in " ".join(result.stdout.split())


def test_same_version_stays_as_it_was_asked_for(with_dev):
    (with_dev.base / "home/webui/installed.json").write_text(
        json.dumps({"version": DEFAULT, "commit": WEBUI_VERSIONS[DEFAULT].commit})
    )
    result = include(with_dev)
    assert result.returncode == 0, result.stdout
    assert 'recorded {"sd_webui_version": "dev"}' in result.stdout.replace('\\"', '"')
