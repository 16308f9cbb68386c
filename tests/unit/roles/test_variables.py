"""What types cannot say about the shared variables. Oracle for the socket's length: the kernel, by bind()."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import unicodedata

import pytest
import yaml
from ansible_collections.sdops.webui.plugins.module_utils.variables import RULES, SOCKET, variable_errors

LISTS = [name for name in RULES if name in ("sdops_pip_extra_index_urls", "sdops_no_proxy", "sdops_gpu_capabilities")]
PORTS = ["sdops_proxy_http_port", "sdops_proxy_socks_port"]
TEXTS = [name for name in RULES if name not in LISTS + PORTS]
DIRECTORIES = [
    name
    for name in TEXTS
    if name
    in (
        "sdops_home",
        "sdops_data_dir",
        "sdops_cache_dir",
        "sdops_env_prefix",
        "sdops_webui_dir",
        "sdops_webui_data_dir",
    )
]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("control", ["\n", "\r\n", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028"])
def test_no_control_character(name, control):
    for value in (f"/a{control}", f"/a{control}b"):
        (error,) = variable_errors({name: value})
        assert error.startswith(f"{name} is ") and error.isprintable()


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("sign", list(" '\"`$;&|<>(){}[]*?!~#%\\:"))
def test_directories_hold_nothing_that_has_to_be_quoted(name, sign):
    assert variable_errors({name: f"/a{sign}b"})
    assert variable_errors({name: "/root/autodl-tmp/数据/v1.0_x@y+z,2"}) == []


@pytest.mark.parametrize("name", ["=", "https://a=b"])
def test_env_would_take_it_for_a_variable(name, tmp_path):
    """Oracle: env itself, behind which the boot hook starts supervisord."""
    program = tmp_path / name / "true"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    assert subprocess.run(["env", program, "x"], capture_output=True).returncode != 0
    assert variable_errors({"sdops_home": str(program.parent)})


@pytest.mark.parametrize("name", ["sdops_huggingface_endpoint", "sdops_civitai_endpoint", "sdops_conda_channel"])
@pytest.mark.parametrize("login", ["me:hunter2", "hunter2", ":hunter2", "a@hunter2"])
def test_no_login_where_results_would_show_it(name, login):
    (error,) = variable_errors({name: f"https://{login}@mirror.example:8443/x"})
    assert "holds a login" in error and "hunter2" not in error
    assert variable_errors({name: "https://mirror.example:8443/x@y"}) == []


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", ["8.6", "a,b", 5, {"a": 1}, None])
def test_a_text_is_no_list(name, value):
    (error,) = variable_errors({name: value})
    assert "must be a list" in error


def test_all_mistakes_at_once():
    values = {"sdops_home": "x", "sdops_no_proxy": "a", "sdops_proxy_http_port": "70000", "sdops_github": "https://a/ "}
    assert [error.split()[0] for error in variable_errors(values)] == [
        "sdops_home",
        "sdops_github",
        "sdops_proxy_http_port",
        "sdops_no_proxy",
    ]
    assert variable_errors({"sdops_proxy_http_port": 1080, "sdops_proxy_socks_port": "1080"})
    assert "hunter2" not in str(variable_errors({"sdops_github": "https://me:hunter2@host/ x"}))


def test_the_socket_of_the_longest_home_can_be_bound(tmp_path):
    base = str(tmp_path)
    length = next(n for n in range(1, 120) if variable_errors({"sdops_home": "/" + "h" * n})) - 1
    home = base + "/" + "h" * max(1, length - len(base))
    os.makedirs(home + "/supervisor")
    assert variable_errors({"sdops_home": home}) == [] or len(base) >= length
    with socket.socket(socket.AF_UNIX) as server:
        if len(base) < length:
            server.bind(home + SOCKET + ".4194304")  # the name that supervisord binds first
    with socket.socket(socket.AF_UNIX) as server, pytest.raises(OSError):
        server.bind("/" + "h" * 9 + home + SOCKET + ".4194304")


def test_no_input_ends_in_a_traceback():
    random.seed(3)
    pieces = ["", "/", "a", " ", "\n", "\udcff", "é", "{{ x }}", "://u:p@h", "%"]
    for _ in range(20_000):
        text = "".join(random.choice(pieces) for _ in range(random.randint(0, 5)))
        value = random.choice([text, [text], {text: 1}, 5, 5.5, None, True, [None], [[text]]])
        for error in variable_errors({name: value for name in random.sample(sorted(RULES), 5)}):
            assert not any(unicodedata.category(c) == "Cc" for c in error)
            assert error.startswith("sdops_") and " is " in error and "; it " in error


def test_the_defaults_are_good():
    defaults = yaml.safe_load(open("roles/sdops/defaults/main.yml", encoding="utf-8"))
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert variable_errors(plain) == []
