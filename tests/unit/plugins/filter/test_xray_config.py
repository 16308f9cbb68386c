"""The rendered Xray config means what the tutorial's client config means, key by key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule as AnsibleFilters
from ansible_collections.sdops.webui.plugins.filter.vless_link import FilterModule as VlessLink
from ansible_collections.sdops.webui.plugins.filter.xray_asset import FilterModule as XrayAsset
from ansible_collections.sdops.webui.plugins.filter.xray_config import FilterModule as XrayConfig
from ansible_collections.sdops.webui.plugins.module_utils.errors import ShareLinkError
from ansible_collections.sdops.webui.plugins.module_utils.xray.share_link import build_share_link
from helpers.paths import ROOT

TUTORIAL = json.loads((Path(__file__).parent / "data" / "tutorial-xray-client.json").read_text())
SERVER = {
    "xray_proxy_server": "203.0.113.7",
    "xray_proxy_port": 8443,
    "xray_proxy_uuid": "11111111-2222-3333-4444-555555555555",
    "xray_proxy_public_key": "k" * 43,
    "xray_proxy_server_name": 'quo"ted.example.com',
    "xray_proxy_short_id": "0123abcd",
}


ROLE = ROOT / "roles/xray_proxy"
EXPRESSION = re.compile(r"\{\{(.*)\}\}", re.DOTALL)


def environment() -> jinja2.Environment:
    made = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    # those that Jinja has stay its own: Ansible's know only the undefined values of its own templating
    made.filters = {**AnsibleFilters().filters(), **made.filters}
    for module in (VlessLink, XrayAsset, XrayConfig):
        made.filters.update({f"sdops.webui.{name}": function for name, function in module().filters().items()})
    return made


def variables(**given: object) -> dict:
    """The role's variables as Ansible resolves them: what is given, else the role's own, an expression keeping its type."""
    shared = {
        "sdops_proxy_http_port": 10809,
        "sdops_proxy_socks_port": 10808,
        "sdops_github": "",
        "sdops_artifacts_dir": "",
        "sdops_home": "/opt/sdops",
        "ansible_facts": {"machine": "x86_64"},
        "__sdops_host": {},
        "sdops_network": "xray",
    }
    own = {
        **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
        **yaml.safe_load((ROLE / "vars/main.yml").read_text()),
    }
    known = {**shared, **given}
    known["sdops_xray_configured"] = known["sdops_network"] == "xray"
    waiting = {name: value for name, value in own.items() if name not in known}
    while waiting:
        for name, value in list(waiting.items()):
            expression = EXPRESSION.fullmatch(value.strip()) if isinstance(value, str) else None
            if any(re.search(rf"\b{other}\b", str(value)) for other in waiting):
                continue
            if expression:
                value = environment().compile_expression(expression[1], undefined_to_none=False)(**known)
            known[name] = value
            del waiting[name]
    return known


def rendered(template: str, **given: object) -> str:
    return environment().from_string((ROLE / "templates" / template).read_text()).render(variables(**given))


def render(**given: object) -> dict:
    return json.loads(rendered("config.json.j2", **{**SERVER, **given}))


def by_tag(config: dict, part: str) -> dict:
    return {entry["tag"]: entry for entry in config[part]}


def test_same_as_the_tutorial_but_for_the_server():
    config = render()
    expected = json.loads(json.dumps(TUTORIAL))
    proxy = by_tag(expected, "outbounds")["proxy"]
    vnext = proxy["settings"]["vnext"][0]
    vnext["address"], vnext["port"] = SERVER["xray_proxy_server"], SERVER["xray_proxy_port"]
    vnext["users"][0]["id"] = SERVER["xray_proxy_uuid"]
    proxy["streamSettings"]["realitySettings"].update(
        publicKey=SERVER["xray_proxy_public_key"],
        serverName=SERVER["xray_proxy_server_name"],
        shortId=SERVER["xray_proxy_short_id"],
    )
    for part in ("inbounds", "outbounds"):
        assert by_tag(config, part) == by_tag(expected, part)
    for part in set(expected) - {"inbounds", "outbounds"}:
        assert config[part] == expected[part], part
    assert set(config) == set(expected)


def test_lists_of_networks_make_it_look_names_up():
    assert render()["routing"]["domainStrategy"] == TUTORIAL["routing"]["domainStrategy"]
    assert render(xray_proxy_direct_domains=["geosite:cn"])["routing"]["domainStrategy"] == "AsIs"
    assert render(xray_proxy_direct_cidrs=["geoip:cn"])["routing"]["domainStrategy"] == "IPIfNonMatch"
    both = variables(xray_proxy_direct_cidrs=["geoip:cn"], xray_proxy_direct_domains=["geosite:cn", "domain:geoip.cn"])
    assert both["__xray_proxy_lists"] == ["geosite", "geoip"]
    assert variables(xray_proxy_direct_domains=["domain:x.cn"])["__xray_proxy_lists"] == []


@pytest.mark.parametrize("cidrs", [[], ["10.0.0.0/8"]])
def test_direct_rules_come_before_the_others(cidrs):
    rules = render(xray_proxy_direct_domains=["domain:modelscope.cn"], xray_proxy_direct_cidrs=cidrs)["routing"][
        "rules"
    ]
    assert rules[0] == {"type": "field", "domain": ["domain:modelscope.cn"], "outboundTag": "direct"}
    assert rules[-1]["outboundTag"] == "proxy"
    assert len(rules) == 2 + len(cidrs)


FULL = {
    **SERVER,
    "xray_proxy_server_name": "www.example.com",
    # digits only: must stay text
    "xray_proxy_short_id": "1234",
    "xray_proxy_fingerprint": "firefox",
    "xray_proxy_spider_x": '/a?b=c&d#"e',
    "xray_proxy_flow": "xtls-rprx-vision-udp443",
    "xray_proxy_encryption": "mlkem768x25519plus.native.0rtt." + "e" * 43,
    "xray_proxy_mldsa65_verify": "v" * 2603,
}
SMALL = {name: FULL[f"xray_proxy_{name}"] for name in ("server", "uuid", "public_key", "server_name")}


def link(fields: dict) -> str:
    return build_share_link({name.removeprefix("xray_proxy_"): value for name, value in fields.items()})


@pytest.mark.parametrize(
    "fields",
    [FULL, {**{f"xray_proxy_{name}": value for name, value in SMALL.items()}, "xray_proxy_flow": "xtls-rprx-vision"}],
)
def test_fields_and_their_link_give_the_same_bytes(fields):
    by_link = rendered("config.json.j2", xray_proxy_link=link(fields))
    assert by_link == rendered("config.json.j2", **fields)
    for value in fields.values():
        assert json.dumps(value) in by_link


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_field_that_is_set_wins_over_the_link(name):
    other = {"xray_proxy_port": 1, "xray_proxy_mldsa65_verify": ""}.get(name, "other")
    by_link = rendered("config.json.j2", xray_proxy_link=link(FULL), **{name: other})
    assert by_link == rendered("config.json.j2", **{**FULL, name: other})


def test_a_link_without_a_flow_means_none():
    config = json.loads(rendered("config.json.j2", xray_proxy_link=build_share_link(SMALL)))
    assert by_tag(config, "outbounds")["proxy"]["settings"]["vnext"][0]["users"][0]["flow"] == ""


def test_a_link_is_read_only_where_it_is_used():
    bad = "vless://nothing"
    assert variables(xray_proxy_link=bad, sdops_network="direct")["xray_proxy_server"] == ""
    with pytest.raises(Exception, match="share link") as caught:
        variables(xray_proxy_link=bad)
    assert not isinstance(caught.value, ShareLinkError), "Ansible wants an error of its own"


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_a_whole_config_replaces_the_rendered_one(form):
    whole = {
        "inbounds": [{"listen": "127.0.0.1", "port": 10809, "protocol": "http"}],
        "outbounds": [{"protocol": "trojan", "tag": 'quo"ted ä'}],
    }
    assert json.loads(rendered("custom.json.j2", xray_proxy_config=form(whole))) == whole
    del whole["inbounds"]
    with pytest.raises(Exception, match="inbounds"):
        rendered("custom.json.j2", xray_proxy_config=form(whole))
