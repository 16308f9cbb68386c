"""What is wrong with the roles' variables. Oracles: the kernel for the socket's length, Ansible's own argument specifications for
types, vless:// links and the real Xray for the fields of a server."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.sdops.webui.plugins.module_utils.errors import ShareLinkError
from ansible_collections.sdops.webui.plugins.module_utils.variables.checks import SOCKET_PATH, SPACE_PARTS
from ansible_collections.sdops.webui.plugins.module_utils.variables.rules import CHECKS, MINIMUMS
from ansible_collections.sdops.webui.plugins.module_utils.variables.validation import (
    stripped_values,
    unstripped_error,
    variable_errors,
)
from ansible_collections.sdops.webui.plugins.module_utils.variables.value_types import type_error
from ansible_collections.sdops.webui.plugins.module_utils.webui_versions import WEBUI_VERSIONS
from ansible_collections.sdops.webui.plugins.module_utils.xray.share_link import parse_share_link
from ansible_collections.sdops.webui.plugins.plugin_utils.role_validation import referenced_variables

from lab.ports import free_port
from lab.xray.launcher import key_pair

SPECS = {
    name: spec
    for path in Path("roles").glob("*/meta/argument_specs.yml")
    for name, spec in yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"].items()
}
OF_TYPE = {
    kind: [name for name, spec in SPECS.items() if spec["type"] == kind]
    for kind in ("list", "bool", "int", "float", "dict")
}
DIRECTORIES = [
    f"sdops_{name}" for name in ("home", "data_dir", "cache_dir", "env_prefix", "webui_dir", "webui_data_dir")
]
TEXTS = [name for name in SPECS if name.startswith("sdops_") and SPECS[name]["type"] in ("str", "path")]
KEY = "A" * 43
UUID = "11111111-2222-3333-4444-555555555555"


def errors(**values: object) -> list[str]:
    return variable_errors(values, SPECS)


def test_every_rule_is_for_a_variable():
    assert set(CHECKS) | set(MINIMUMS) <= set(SPECS)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("control", ["\n", "\r\n", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028"])
def test_no_control_character(name, control):
    (error,) = errors(**{name: f"/a{control}b"})
    assert error.startswith(f"{name} is ") and error.isprintable()


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("sign", list(" '\"`$;&|<>(){}[]*?!~#%\\:"))
def test_directories_hold_nothing_that_has_to_be_quoted(name, sign):
    assert errors(**{name: f"/a{sign}b"})
    assert errors(**{name: "/root/autodl-tmp/数据/v1.0_x@y+z,2"}) == []


@pytest.mark.parametrize("name", DIRECTORIES)
def test_directories_of_the_system_are_not_ours(name):
    ours = ("/root", "/opt/")  # only the data disk may be one that others use too
    for path in ("/", "//", "/.", "/etc", "//etc/", "/usr/./local", "/home", "/tmp", "/var/lib", *ours):
        if name == "sdops_data_dir" and path in ours:
            assert errors(**{name: path}) == []
            continue
        assert "must not be a directory of the system itself; choose" in errors(**{name: path})[0], path
    for path in ("/proc/x", "/sys", "/dev/shm/y", "//proc"):
        assert "the kernel's" in errors(**{name: path})[0], path
    for path in ("/root/../etc", "/data/..", "/.."):
        assert "holds .." in errors(**{name: path})[0], path
    for path in (
        "/opt/sdops",
        "/root/autodl-tmp",
        "/workspace",
        "/data",
        "/mnt",
        "/mnt/x",
        "/home/me",
        "/process",
        "/a..b",
    ):
        assert errors(**{name: path}) == [], path


@pytest.mark.parametrize("name", ["=", "https://a=b"])
def test_env_would_take_it_for_a_variable(name, tmp_path):
    """Oracle: env itself, behind which the boot hook starts supervisord."""
    program = tmp_path / name / "true"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    assert subprocess.run(["env", program, "x"], capture_output=True).returncode != 0
    assert errors(**{"sdops_home": str(program.parent)})


@pytest.mark.parametrize("name", ["sdops_huggingface_endpoint", "sdops_civitai_endpoint", "sdops_conda_channel"])
@pytest.mark.parametrize("login", ["me:hunter2", "hunter2", ":hunter2", "a@hunter2"])
def test_no_login_where_results_would_show_it(name, login):
    (error,) = errors(**{name: f"https://{login}@mirror.example:8443/x"})
    assert "holds a login" in error and "hunter2" not in error
    assert errors(**{name: "https://mirror.example:8443/x@y"}) == []


@pytest.mark.parametrize("name", OF_TYPE["list"])
@pytest.mark.parametrize("value", ["adetailer", "a,b", "a\nb\n", "", 5, {"a": 1}, None, True])
def test_a_text_is_no_list(name, value):
    (error,) = errors(**{name: value})
    assert error.startswith(name) and "must be a list" in error
    if value in ("a,b", "a\nb\n"):
        assert ('["a", "b"]' in error) == (name not in ("webui_service_extra_args", "model_fetch_models"))


@pytest.mark.parametrize("kind", ["bool", "int", "float", "dict"])
@pytest.mark.parametrize(
    "value", ["six", "", None, [], [1], "1 2", "0x10", "1e999", "nan", 1.5, "true\n", "7\n", {"a": 1}, -1, "yes", True]
)
def test_types_are_those_of_ansible(kind, value):
    """What Ansible's own check refuses is refused; what is refused beyond it would fail or mean something else later."""
    name = next(name for name in OF_TYPE[kind] if name not in MINIMUMS)
    theirs = ArgumentSpecValidator({name: {"type": kind}}).validate({name: value}).error_messages
    own = type_error(name, SPECS[name], value)
    assert own or not theirs
    beyond = [None, "nan", "1e999", True] if kind != "bool" else [None]
    assert bool(own) == bool(theirs) or value in beyond or (kind == "dict" and isinstance(value, str)), (own, theirs)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"webui_service_preset": "Safe"}, "webui_service_preset"),
        ({"sdops_device": "tpu"}, "sdops_device"),
        ({"sdops_device": ["cpu"]}, "sdops_device"),
        ({"webui_service_xformers": "maybe"}, "webui_service_xformers"),
        ({"conda_env_python": 3.1}, "conda_env_python"),
        ({"sd_webui_commit": "master"}, "sd_webui_commit"),
        ({"sd_webui_commit": "a" * 40 + "\n"}, "sd_webui_commit"),
        (
            {"sd_webui_repositories": [{"name": "x", "variable": "X", "repo": "u", "commit": "main"}]},
            "sd_webui_repositories",
        ),
        ({"sd_webui_repositories": [{"name": "x"}]}, "needs variable and repo and commit"),
        ({"sd_webui_version": "1.11.0"}, "known are 1.10.1, 1.5.2, dev"),
        (
            {"sd_webui_version": "dev", "sd_webui_commit": WEBUI_VERSIONS["1.10.1"].commit},
            'Take sd_webui_commit away, or set sd_webui_version: "1.10.1".',
        ),
        ({"model_fetch_huggingface_token": "“hf_abc”"}, "model_fetch_huggingface_token must be the token alone"),
        ({"model_fetch_models": ["", "civitai://x"]}, "civitai://x"),
        ({"model_fetch_models": [{"kind": "vae"}]}, "has no source"),
        ({"sdops_huggingface_endpoint": "hf-mirror.com"}, "sdops_huggingface_endpoint"),
        ({"extensions_list": ["adetailor"], "sdops_github": "https://github.com"}, "Did you mean adetailer"),
        ({"sdops_artifacts_dir": ""}, 'sdops_artifacts_dir is ""; it must be a directory of its own'),
        ({"sdops_artifacts_dir": "/"}, "take the variable away for the one beside the inventory"),
        (
            {"extensions_list": ["adetailer", "adetailer"], "sdops_github": "https://github.com"},
            "extensions_list: The extension adetailer is listed more than once. Keep one",
        ),
        (
            {"extensions_list": [{"name": "roop", "models": [{"kind": "vae"}, "nope"]}], "sdops_github": "https://x"},
            "extensions_list: The extension sd-webui-roop: Entry 1 of its models (with the fields kind) has no source",
        ),
        ({"extensions_roop_threshold": 0.9}, "extensions_roop_threshold"),
        ({"sdops_mirrors": {"pypi": "https://x"}}, "pypi must be a list"),
        ({"sdops_mirrors": {"pypi": [1]}}, "sdops_mirrors"),
        ({"sdops_mirrors": {"pipy": ["https://x"]}}, 'the unknown service "pipy"'),
        ({"sdops_mirrors": {"gitub": ["https://x"]}}, '"gitub" (did you mean github?); there are github,'),
        ({"sdops_network_routes": {"pypi": "foo"}}, "pypi must be one of direct, xray, turbo, mirror"),
        (
            {"sdops_mirrors": {"pypi": ["ftp://x"]}},
            'pypi has an entry that cannot be used: "ftp://x" must be a URL with',
        ),
        ({"sdops_github": "ssh://git@github.com"}, "must be a URL with https://, http:// or file://"),
        ({"sdops_no_proxy": ["http://x", "10.0.0.0/33", "a,b"]}, '"http://x" must be the host alone'),
        ({"sdops_no_proxy": ["http://x", "10.0.0.0/33", "a,b"]}, '"10.0.0.0/33" must be one host'),
        ({"sdops_no_proxy": ["http://x", "10.0.0.0/33", "a,b"]}, '"a,b" must be one host'),
        ({"webui_service_environment": {"A": [1], "B C": None}}, 'names that no variable can have: "B C"; use'),
        ({"webui_service_environment": {"A": [1], "B C": None}}, 'a number as value of "A", "B C".'),
        ({"webui_service_environment": {1: "x", "": "x", "D": True}}, 'no variable can have: 1, ""; use'),
        (
            {"sdops_pip_extra_index_urls": "https://a/simple https://b/simple"},
            '["https://a/simple", "https://b/simple"]',
        ),
        ({"webui_service_allowed_origins": ["https://a.example\n"]}, "webui_service_allowed_origins"),
        ({"webui_service_user": "a:b"}, "webui_service_user"),
        ({"webui_service_extra_args": ["--api-auth=x\n"]}, "webui_service_extra_args must not hold --api-auth"),
        ({"webui_service_smoke_test_width": 500}, "webui_service_smoke_test_width"),
        ({"webui_service_smoke_test_steps": 0}, "webui_service_smoke_test_steps"),
        ({"webui_service_idle_minutes": 5, "webui_service_idle_command": " "}, "webui_service_idle_command"),
        ({"conda_env_installer_url": "https://x/y.sh", "conda_env_installer_sha256": ""}, "conda_env_installer_sha256"),
        ({"xformers_build_commit": "a" * 40, "xformers_build_version": "auto"}, "xformers_build_version"),
        ({"xformers_build_sha256": {"0.0.23": "abc"}}, "xformers_build_sha256"),
        ({"xray_proxy_version": "latest"}, "xray_proxy_version"),
        ({"xray_proxy_verify_urls": []}, "xray_proxy_verify_urls"),
        ({"xray_proxy_short_id": 12345678}, "xray_proxy_short_id is not a text"),
        (
            {"xray_proxy_state": "present", "xray_proxy_link": "vless://x", "xray_proxy_config": {"a": 1}},
            "xray_proxy_link",
        ),
        ({"xray_proxy_state": "present", "xray_proxy_uuid": ""}, "xray_proxy_uuid is empty"),
        (
            {"xray_proxy_geo_files": [{"name": "../x.dat", "url": "https://x/", "sha256": "0" * 64}]},
            "xray_proxy_geo_files",
        ),
    ],
)
def test_what_types_cannot_say(values, named):
    assert named in " ".join(errors(**values))


# (field, value, the same in a link or None where a link has no place for it)
FIELDS = [
    ("server", "x.example.com"),
    ("server", "203.0.113.7"),
    ("server", "bücher.example"),
    ("server", "https://x.example.com"),
    ("server", "x.example.com,y.example.com"),
    ("server", "x.example.com:443"),
    ("server", "x example"),
    ("server", "-x.example.com"),
    ("server", "1.2.3"),
    ("server_name", "www.example.com"),
    ("server_name", "www.x:443"),
    ("server_name", "a.example,b.example"),
    ("server_name", "https://www.example.com/"),
    ("server_name", "www.example.com/"),
    ("server_name", "*.example.com"),
    ("uuid", UUID),
    ("uuid", UUID.replace("-", "")),
    ("uuid", "just-a-name"),
    ("uuid", "x" * 30),
    ("uuid", "x" * 31),
    ("uuid", UUID + "0"),
    ("public_key", KEY),
    ("public_key", KEY + "="),
    ("public_key", "+/" + KEY[2:]),
    ("public_key", KEY + "A"),
    ("public_key", KEY[:-1] + "\n"),
    ("short_id", "0123abcd"),
    ("short_id", "abc"),
    ("short_id", "0" * 18),
    ("spider_x", "/a"),
    ("spider_x", "a"),
    ("server", "[2001:db8::1]"),
    ("fingerprint", "firefox"),
    ("fingerprint", ""),
    ("encryption", ""),
    ("fingerprint", "unsafe"),
    ("fingerprint", "a b"),
    ("encryption", "none"),
    ("encryption", "auto"),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_fields_are_validated_as_those_of_a_link(field, value):
    good = {"server": "x.example.com", "uuid": UUID, "public_key": KEY, "server_name": "www.example.com"}
    given = {**good, field: value}
    names = {
        "public_key": "pbk",
        "server_name": "sni",
        "short_id": "sid",
        "spider_x": "spx",
        "fingerprint": "fp",
        "encryption": "encryption",
    }
    query = "&".join(f"{names[key]}={quote(text, safe='')}" for key, text in given.items() if key in names)
    try:
        parse_share_link(
            f"vless://{quote(given['uuid'])}@{quote(given['server'], safe=':/,[]')}?security=reality&{query}"
        )
        link_good = True
    except ShareLinkError:
        link_good = False
    # a link carries its port behind the server
    if (field, value) == ("server", "x.example.com:443"):
        link_good = False
    found = errors(**{f"xray_proxy_{field}": value})
    assert (found == []) == link_good, found
    assert value not in " ".join(found) or len(value) < 4 or field in ("fingerprint", "server", "server_name")


@pytest.mark.parametrize("value", [value for field, value in FIELDS if field == "uuid"])
def test_a_user_id_is_good_when_xray_takes_it(value):
    user = {"id": value, "encryption": "none", "flow": "xtls-rprx-vision"}
    reality = {"serverName": "www.example.com", "publicKey": key_pair()[1], "shortId": "", "fingerprint": "chrome"}
    config = {
        "log": {"loglevel": "warning"},
        "inbounds": [{"listen": "127.0.0.1", "port": free_port(), "protocol": "http"}],
        "outbounds": [
            {
                "protocol": "vless",
                "settings": {"vnext": [{"address": "x.example.com", "port": 443, "users": [user]}]},
                "streamSettings": {"network": "tcp", "security": "reality", "realitySettings": reality},
            }
        ],
    }
    core = "import sys, xray; xray.startFromJSON(sys.stdin.read())"
    with subprocess.Popen(
        [sys.executable, "-c", core], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        process.stdin.write(json.dumps(config))
        process.stdin.close()
        # it ends by itself when it refuses the config
        started = any("started" in line for line in process.stdout)
        process.kill()
    assert (errors(xray_proxy_uuid=value) == []) == started


@pytest.mark.parametrize(
    "values",
    [
        {
            "sdops_no_proxy": [
                "a.example",
                ".b.example",
                "*.c",
                "x:80",
                "[::1]",
                "::1",
                "10.0.0.0/8",
                "fd00::/8",
                "*",
                "bücher.example",
            ]
        },
        {"webui_service_environment": {"A": "", "_B1": 1, "http_proxy": 1.5, "C": "a\nb"}},
        {"sdops_github": "file:///srv/git", "sdops_mirrors": {"pypi": ["HTTP://x", "https://[::1]:8/x"]}},
    ],
)
def test_what_can_be_used_is_taken(values):
    assert errors(**values) == []


def test_all_mistakes_at_once():
    values = {
        "sdops_home": "x",
        "sdops_no_proxy": "a",
        "sdops_proxy_http_port": "70000",
        "sdops_github": "https://a/ b",
        "extensions_list": "adetailer",
        "webui_service_port": "six",
        "xray_proxy_uuid": "x" * 40,
    }
    assert {error.split()[0] for error in errors(**values)} == set(values)
    assert errors(sdops_proxy_http_port=1080, sdops_proxy_socks_port="1080")
    assert "hunter2" not in str(errors(sdops_github="https://me:hunter2@host/ x"))


def test_space_that_is_required():
    (error,) = errors(base_required_space={"enviroment": "900 TB", "webui": "lots", "toolbox": -1, "models": 1})
    assert error.startswith("base_required_space is ")
    for part in (
        'unknown key "enviroment" (did you mean environment?)',
        'unknown key "models" (there are toolbox, environment, webui)',
        'sizes that cannot be used: webui "lots", toolbox -1; write a number of bytes',
    ):
        assert part in error
    assert errors(base_required_space={"environment": 0, "webui": "6 GiB", "toolbox": 1.5}) == []
    assert errors(base_required_space={"webui": True}) and errors(base_required_space={"webui": None})
    defaults = yaml.safe_load(Path("roles/base/defaults/main.yml").read_text())
    assert set(defaults["base_required_space"]) == set(SPACE_PARTS)


def test_each_port_is_opened_once():
    names = ("webui_service_port", "sdops_proxy_http_port", "sdops_proxy_socks_port")
    pairs = {tuple(error.split()[:3:2]) for error in errors(**dict.fromkeys(names, 1080), xray_proxy_state="present")}
    assert pairs == {names[:2], names[::2], names[1:]}
    (error,) = errors(webui_service_port="10809", sdops_proxy_http_port=10809, xray_proxy_state="present")
    assert error == "webui_service_port and sdops_proxy_http_port are both 10809; each needs a port of its own."
    # what is not started opens none
    assert errors(**dict.fromkeys(names, 1080), xray_proxy_state="absent") == []
    assert errors(webui_service_port=10809, sdops_proxy_http_port=10809) == []


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}", "\t{} ", "\ufeff{}", "{}\u200b\n", "{}\xa0"])
def test_spaces_around_values_do_not_count(around):
    values = {
        "sdops_home": "/opt/sdops",
        "sdops_cache_dir": "/root/autodl-fs/cache",
        "sdops_pip_index_url": "https://me:secret@host/simple",
        "model_fetch_civitai_token": "0123abcd",
        "xray_proxy_uuid": UUID,
        "webui_service_port": "6006",
        "sdops_device": "cpu",
    }
    given = {name: around.format(value) for name, value in values.items()}
    assert stripped_values(given, SPECS) == values
    assert stripped_values({"sdops_no_proxy": [around.format("a.example")]}, SPECS) == {"sdops_no_proxy": ["a.example"]}
    assert stripped_values(values, SPECS) == {}
    prompts = {"webui_service_smoke_test_prompt": around.format("a"), "webui_service_options": {"a": " b"}}
    assert stripped_values(prompts, SPECS) == {} and errors(**prompts) == []
    assert [name for name in values if unstripped_error(name)] == [
        "sdops_home",
        "sdops_cache_dir",
        "webui_service_port",
        "sdops_device",
    ]


def test_what_is_made_of_a_wrong_value_is_found():
    raw = {"a": "/x", "b": "{{ a }}/y", "__c": {"k": "{{ b }}"}, "d": "{{ __c.k }}", "e": "a b", "f": ["{{ e }}"]}
    assert referenced_variables("d", raw) == {"__c", "b", "a"}
    assert referenced_variables("e", raw) == set() and referenced_variables("f", raw) == {"e"}


def test_the_socket_of_the_longest_home_can_be_bound(tmp_path):
    base = str(tmp_path)
    length = next(n for n in range(1, 120) if errors(sdops_home="/" + "h" * n)) - 1
    home = base + "/" + "h" * max(1, length - len(base))
    os.makedirs(home + "/supervisor")
    assert errors(sdops_home=home) == [] or len(base) >= length
    with socket.socket(socket.AF_UNIX) as server:
        if len(base) < length:
            server.bind(home + SOCKET_PATH + ".4194304")  # the name that supervisord binds first
    with socket.socket(socket.AF_UNIX) as server, pytest.raises(OSError):
        server.bind("/" + "h" * 9 + home + SOCKET_PATH + ".4194304")


def test_no_input_ends_in_a_traceback():
    random.seed(3)
    pieces = ["", "/", "a", " ", "\n", "\udcff", "é", "{{ x }}", "://u:p@h", "%", "5", "vless://", "\u2028", "“"]
    for _ in range(20_000):
        text = "".join(random.choice(pieces) for _ in range(random.randint(0, 5)))
        value = random.choice(
            [text, [text], {text: 1}, 5, 5.5, None, True, [None], [[text]], [{"name": text}], float("nan"), 10**400]
        )
        values = {name: value for name in random.sample(sorted(SPECS), 5)}
        for error in variable_errors({**values, **stripped_values(values, SPECS)}, SPECS):
            assert not any(unicodedata.category(c) == "Cc" for c in error)
            assert error.startswith(tuple(SPECS)) and error.endswith(".")


def test_the_defaults_are_good():
    for path in Path("roles").glob("*/defaults/main.yml"):
        plain = {name: value for name, value in yaml.safe_load(path.read_text()).items() if "{{" not in str(value)}
        assert variable_errors(plain, SPECS) == [] and stripped_values(plain, SPECS) == {}, path
