"""A whole client config from the user: used as it is, or refused with what is missing."""

from __future__ import annotations

import copy
import json

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sdops.webui.plugins.filter.xray_config import FilterModule
from ansible_collections.sdops.webui.plugins.module_utils.errors import ClientConfigError
from ansible_collections.sdops.webui.plugins.module_utils.xray.client_config import validate_client_config

SECRET = "correct-horse-battery"
GOOD = {
    "inbounds": [
        {"listen": "127.0.0.1", "port": 1080, "protocol": "socks"},
        {"listen": "127.0.0.1", "port": 10809, "protocol": "http"},
    ],
    "outbounds": [{"protocol": "trojan", "settings": {"servers": [{"address": "a.example.com", "password": SECRET}]}}],
}


def changed(**inbound):
    config = copy.deepcopy(GOOD)
    config["inbounds"][1].update(inbound)
    return config


@pytest.mark.parametrize(
    "config", [GOOD, changed(protocol="mixed"), changed(port="10809"), changed(settings={"userLevel": 8})]
)
def test_valid_config_is_used_unchanged(config):
    assert validate_client_config(config, 10809) == config
    assert validate_client_config(json.dumps(config), 10809) == config


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (changed(port=10808), ["no HTTP inbound on 127.0.0.1:10809", "sdops_proxy_http_port"]),
        (changed(protocol="socks"), ["no HTTP inbound"]),
        (changed(listen="0.0.0.0"), ["listen", "127.0.0.1"]),
        (changed(listen=None), ["listen", "127.0.0.1"]),
        (changed(settings={"accounts": [{"user": "u", "pass": SECRET}]}), ["password"]),
        ({**GOOD, "inbounds": []}, ["inbounds"]),
        ({**GOOD, "inbounds": "x"}, ["inbounds"]),
        ({**GOOD, "outbounds": [5]}, ["outbounds"]),
        ({"inbounds": GOOD["inbounds"]}, ["outbounds"]),
        ([GOOD], ["mapping"]),
        (json.dumps([GOOD]), ["mapping"]),
        (5, ["mapping"]),
        ("// mine\n" + json.dumps(GOOD), ["JSON", "line 1", "comments"]),
        (json.dumps(GOOD)[:-1], ["JSON"]),
        ("[" * 100000, ["JSON"]),
        (SECRET, ["JSON"]),
    ],
)
def test_what_is_wrong_is_named_and_nothing_else(config, words):
    with pytest.raises(ClientConfigError) as caught:
        validate_client_config(config, 10809)
    for word in words:
        assert word in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(AnsibleFilterError, match=words[0]):
        FilterModule().filters()["xray_config"](config, 10809)
