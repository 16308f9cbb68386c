"""The role xray_proxy where Xray cannot be had, and what others see of it then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from helpers.paths import BIN, ROOT

from .test_variables import GOOD_PROXY, LINK

NO_CORE = {
    "xray_proxy_release_base": "http://127.0.0.1:9/releases",
    "xray_proxy_via_controller": "never",
    "sdops_network_timeout": 0.5,
    "sdops_mirrors": {service: ["http://127.0.0.1:9"] for service in ("github", "huggingface", "pypi", "conda")},
}
GIT = "[user]\n\tname = me\n"
BLOCK = "# BEGIN sdops.webui proxy\n[http]\n  proxy = http://127.0.0.1:10809\n# END sdops.webui proxy\n"


def playbook(site, **play: object) -> str:
    path = site.base.parent / f"{site.base.name}.yml"
    path.write_text(yaml.safe_dump([{"hosts": "webui", "gather_facts": False, **play}]))
    return str(path)


def output(result) -> str:
    """What a run said, without the line breaks that it was given for people."""
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture
def logins(site) -> tuple[Path, Path]:
    """What an earlier run has set for logins and git."""
    profile, settings = site.base / "profile.d" / "sdops-proxy.sh", site.base / "user" / ".gitconfig"
    for path, text in ((profile, "export https_proxy=http://127.0.0.1:10809\n"), (settings, GIT + BLOCK)):
        path.parent.mkdir()
        path.write_text(text)
    settings.chmod(0o600)
    return profile, settings


def test_in_auto_the_run_goes_on_and_logins_do_without(site, logins):
    # the link is a variable of the play: the host has Xray as one of its routes then, too
    play = playbook(site, roles=["sdops.webui.xray_proxy"], vars={"xray_proxy_link": LINK, "sdops_network": "auto"})
    result = site.play(play, **NO_CORE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "could not be fetched" in output(result) and "The other routes are tried." in output(result)
    profile, settings = logins
    assert not profile.exists()
    assert (settings.read_text(), settings.stat().st_mode & 0o777) == (GIT, 0o600)
    assert GOOD_PROXY["xray_proxy_uuid"] not in result.stdout


def test_logins_and_git_bypass_a_proxy_that_dies_half_way(site, logins):
    task = {
        "block": [
            {"ansible.builtin.include_role": {"name": "sdops.webui.sdops"}},
            {"ansible.builtin.fail": {"msg": "cut off"}},
        ],
        "rescue": [{"ansible.builtin.include_role": {"name": "sdops.webui.sdops", "tasks_from": "select_other_route"}}],
    }
    play = playbook(site, tasks=[task], vars={"xray_proxy_link": LINK, "sdops_network": "auto"})
    result = site.play(play, **NO_CORE)
    profile, settings = logins
    assert not profile.exists() and settings.read_text() == GIT, output(result)
    assert "cut off" in output(result)


def test_where_it_is_the_only_route_the_reason_is_reported(site, logins):
    result = site.play(playbook(site, roles=["sdops.webui.xray_proxy"]), **{**NO_CORE, **GOOD_PROXY})
    assert result.returncode != 0
    assert "could not be fetched" in output(result) and "xray_proxy_release_base" in output(result)


@pytest.mark.parametrize("network", ["xray", "auto"])
def test_a_client_to_be_removed_is_no_route(site, network):
    displayed = [
        {"ansible.builtin.include_role": {"name": "sdops.webui.sdops", "public": True}},
        {
            "ansible.builtin.debug": {
                "msg": "proxy=<{{ sdops_http_proxy }}> env=<{{ sdops_environment.https_proxy | default('') }}>"
            }
        },
    ]
    given = {**NO_CORE, **GOOD_PROXY, "sdops_network": network}
    result = site.play(playbook(site, tasks=displayed), **given, xray_proxy_state="absent")
    assert "proxy=<> env=<>" in result.stdout, result.stdout
    assert (network == "xray") == ("everything is reached directly" in output(result))
    result = site.play(playbook(site, tasks=displayed), **given)
    assert "proxy=<http://127.0.0.1:10809>" in result.stdout, result.stdout


def test_a_mirror_gets_no_token(site):
    """The expressions of the role that hands tokens out, for each route."""
    options = yaml.safe_load((ROOT / "roles/model_fetch/vars/main.yml").read_text())["__model_fetch_options"]
    task = (ROOT / "roles/model_fetch/tasks/fetch.yml").read_text()
    for name in ("huggingface_token", "civitai_token"):
        assert f'{name}: "{{{{ __model_fetch_options.{name} | default(omit) }}}}"' in task
    displayed = {
        service: options[f"{service}_token"].replace("or omit", "or 'none'") for service in ("huggingface", "civitai")
    }
    for route, expected in (("mirror", "none"), ("direct", "secret")):
        play = playbook(
            site,
            tasks=[{"ansible.builtin.debug": {"msg": f"{service}=<{text}>"}} for service, text in displayed.items()],
            vars={"sdops_routes": {service: {"kind": route} for service in displayed}},
        )
        result = site.play(play, model_fetch_huggingface_token="secret", model_fetch_civitai_token="secret")
        for service in displayed:
            assert f"{service}=<{expected}>" in result.stdout, result.stdout


def test_what_goes_around_a_proxy(site):
    displayed = [
        {"ansible.builtin.include_role": {"name": "sdops.webui.sdops", "tasks_from": "preflight", "public": True}},
        {"ansible.builtin.debug": {"msg": "{{ sdops_no_proxy_all | to_json }}"}},
    ]
    # a bridge of a container engine comes and goes; one that has the host's own address stays
    facts = {
        "hostname": "box",
        "fqdn": "box.example.com",
        "all_ipv4_addresses": ["172.18.0.1", "192.0.2.7"],
        "default_ipv4": {"address": "192.0.2.7"},
        "interfaces": ["lo", "br-1a2b", "br0"],
        "br_1a2b": {"type": "bridge", "ipv4": {"address": "172.18.0.1"}},
        "br0": {"type": "bridge", "ipv4": {"address": "192.0.2.7"}},
    }
    play = playbook(site, tasks=[{"ansible.builtin.set_fact": {"ansible_facts": facts}}, *displayed])
    result = site.play(play, sdops_no_proxy=["near.example.com"])
    expected = [
        "localhost",
        "127.0.0.1",
        "::1",
        "169.254.0.0/16",
        "box",
        "box.example.com",
        "192.0.2.7",
        "near.example.com",
    ]
    assert json.dumps(expected) in output(result), output(result)


def test_check_mode_on_a_host_with_the_toolbox_and_no_xray_reports_the_plan(site):
    (site.base / "home" / "toolbox" / "bin").mkdir(parents=True)
    (site.base / "home" / "toolbox" / "bin" / "python").symlink_to(BIN / "python")
    given = {
        **GOOD_PROXY,
        "xray_proxy_direct_domains": ["geosite:cn"],
        "xray_proxy_geo_files": [{"name": "geosite.dat", "url": "http://127.0.0.1:9/geosite.dat", "sha256": "a" * 64}],
    }
    for route in ("auto", "always"):
        result = site.play(
            playbook(site, roles=["sdops.webui.xray_proxy"]),
            "--check",
            "--diff",
            **given,
            xray_proxy_via_controller=route,
        )
        assert result.returncode == 0, output(result)
        assert "changed=0" not in result.stdout
        assert not (site.base / "home" / "xray").exists()
