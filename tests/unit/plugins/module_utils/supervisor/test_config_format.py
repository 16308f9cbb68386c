"""What Program writes, supervisor reads back unchanged. Oracle: supervisor's own parser, supervisor.options.ServerOptions."""

from __future__ import annotations

import random
import unicodedata

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import SupervisorError
from ansible_collections.sdops.webui.plugins.module_utils.supervisor.client import Program
from supervisor.options import ServerOptions

PIECES = [
    *"abAB01 ;#%'\"=,[]\\$(){}:~!&|<>?*^`-_./",
    "é",
    "图",
    "\u00a0",
    "%(here)s",
    "%%",
    "\n",
    "\t",
    "\r",
    "\x1b",
    "\x85",
    "\u2028",
    "\0",
]


def program(**more) -> Program:
    base = {
        "name": "one",
        "command": "sleep 1",
        "directory": "/",
        "environment": {},
        "user": None,
        "autorestart": "true",
        "startsecs": 0,
        "startretries": 1,
        "stopwaitsecs": 1,
        "stopsignal": "TERM",
        "stdout_logfile": "/dev/null",
        "log_maxbytes": "10MB",
        "log_backups": 1,
        "priority": 1,
        "restart_on": "",
    }
    return Program(**{**base, **more})


def read(tmp_path, section: str):
    path = tmp_path / "supervisord.conf"
    path.write_text("[supervisord]\n" + section, encoding="utf-8")
    options = ServerOptions()
    options.realize(["-c", str(path)], doc="x")
    return options.process_group_configs[0].process_configs[0]


def test_written_value_is_read_back_or_rejected(tmp_path):
    random.seed(11)
    accepted = rejected = 0
    for _ in range(3000):
        text = "".join(random.choice(PIECES) for _ in range(random.randint(1, 8)))
        for field in ("command", "directory", "environment"):
            given = {"environment": {"X": text}} if field == "environment" else {field: "/" + text}
            try:
                section = program(**given).render()
            except SupervisorError as exc:
                rejected += 1
                assert str(exc).isprintable()
                continue
            assert not any(unicodedata.category(c) == "Cc" for c in text)
            accepted += 1
            config = read(tmp_path, section)
            assert (config.name, config.redirect_stderr) == ("one", True)
            assert {"X": text} == config.environment if field == "environment" else getattr(config, field) == "/" + text
    assert accepted > 1000 and rejected > 1000


@pytest.mark.parametrize("control", [chr(n) for n in [*range(32), *range(127, 160)]])
def test_no_control_character_anywhere(control):
    for field in ("name", "command", "directory", "user", "stdout_logfile", "stopsignal", "log_maxbytes"):
        with pytest.raises(SupervisorError):
            program(**{field: f"/a{control}b"}).render()
    for environment in ({"X": f"a{control}b"}, {f"A{control}B": "x"}):
        with pytest.raises(SupervisorError):
            program(environment=environment).render()


@pytest.mark.parametrize("name", ["", "a:b", "a]", "../x", "a b", ".hidden", "a\n[program:b]"])
def test_the_name_is_one_plain_word(name):
    with pytest.raises(SupervisorError):
        program(name=name).render()
