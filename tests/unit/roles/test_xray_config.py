"""The rendered Xray config means what the tutorial's client config means, key by key."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TUTORIAL = json.loads((Path(__file__).parent / "data" / "tutorial-xray-client.json").read_text())
SERVER = {
    "xray_proxy_server": "203.0.113.7",
    "xray_proxy_port": 8443,
    "xray_proxy_uuid": "11111111-2222-3333-4444-555555555555",
    "xray_proxy_public_key": "k" * 43,
    "xray_proxy_server_name": 'quo"ted.example.com',
    "xray_proxy_short_id": "0123abcd",
}


def render(**variables: object) -> dict:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["to_json"] = json.dumps
    defaults = yaml.safe_load((ROOT / "roles/xray_proxy/defaults/main.yml").read_text())
    shared = {"sdops_proxy_http_port": 10809, "sdops_proxy_socks_port": 10808}
    template = environment.from_string((ROOT / "roles/xray_proxy/templates/config.json.j2").read_text())
    return json.loads(template.render({**defaults, **shared, **SERVER, **variables}))


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


@pytest.mark.parametrize("cidrs", [[], ["10.0.0.0/8"]])
def test_direct_rules_come_before_the_others(cidrs):
    rules = render(xray_proxy_direct_domains=["domain:modelscope.cn"], xray_proxy_direct_cidrs=cidrs)["routing"][
        "rules"
    ]
    assert rules[0] == {"type": "field", "domain": ["domain:modelscope.cn"], "outboundTag": "direct"}
    assert rules[-1]["outboundTag"] == "proxy"
    assert len(rules) == 2 + len(cidrs)
