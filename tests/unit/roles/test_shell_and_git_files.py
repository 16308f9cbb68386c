"""What the roles write for shells and git, with the real ansible-playbook. Oracles: bash, dash and git read it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from helpers.paths import BIN, ROOT

ROLES = ROOT / "roles"
FILES = "sdops.webui.files"
SHELLS = ("bash", "dash")
# signs of which each means something to a shell, to Jinja or to a config file
ODD = [
    "a b",
    "$(touch canary)",
    "`touch canary`",
    "'",
    '"',
    ";touch canary",
    "\\",
    "\\'",
    "!x",
    "*",
    "~",
    "#",
    "é图",
    "%h",
    "{{'x'}}",
    "-n",
]
# of which paths may consist: letters, digits and these
PLAIN = "@+,.-_"


def steps(role: str, tasks: str) -> list[dict]:
    """The tasks of a file that need no whole host."""
    found: list[dict] = yaml.safe_load((ROLES / role / "tasks" / f"{tasks}.yml").read_text())
    return [task for task in found if FILES in task] if tasks == "main" else found


def play(tmp_path: Path, *plays: tuple[str, str, dict]) -> None:
    """Run files of tasks on this machine, each as (role, its file, the variables that it gets besides the role's vars)."""
    book = []
    for number, (role, tasks, variables) in enumerate(plays):
        given = tmp_path / f"given-{number}.json"
        given.write_text(
            json.dumps({"role_path": str(ROLES / role), **{name: unsafe(value) for name, value in variables.items()}})
        )
        files = [str(ROLES / role / "vars/main.yml"), str(given)]
        common = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        book.append({**common, "vars_files": files, "tasks": steps(role, tasks)})
    (tmp_path / "book.yml").write_text(yaml.safe_dump(book))
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            "-i",
            "localhost,",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            "book.yml",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".work/collections")},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def unsafe(value: object) -> object:
    """As text from a vault or a lookup: its braces are not templates."""
    if isinstance(value, list):
        return [unsafe(each) for each in value]
    return {"__ansible_unsafe": value} if isinstance(value, str) and "{{" in value else value


def after_sourcing(shell: str, file: Path, tmp_path: Path, pid: str = "", **environment: str) -> dict[str, str]:
    """The environment that a shell has after reading ``file``; with ``pid``, of a shell that takes itself for that process."""
    text = file.read_text()
    read = file
    if pid:
        read = tmp_path / "as-other-process.sh"
        read.write_text(text.replace("$$", pid))
    done = subprocess.run(
        [
            shell,
            "-euc",
            f". {shlex.quote(str(read))}; exec {shlex.quote(sys.executable)} -c 'import os, json; print(json.dumps(dict(os.environ)))'",
        ],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert not (tmp_path / "canary").exists()
    return json.loads(done.stdout)


def git_values(config: Path) -> list[str]:
    done = subprocess.run(
        ["git", "config", "--file", config, "--null", "--list"], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split("\0"))


def test_the_proxy_of_shells_and_of_git(tmp_path: Path) -> None:
    profile, config = tmp_path / "sdops-proxy.sh", tmp_path / "gitconfig"
    config.write_text(
        '[user]\n\tname = "a # b" \\\n c\n[core]\n\tpager = "x; y"\n[http "https://a.example"]\n\tproxy ='
    )
    config.chmod(0o600)
    before = git_values(config)
    paths = {"sdops_profile_dir": str(tmp_path), "sdops_gitconfig": str(config)}
    around = ["localhost", *ODD]
    play(
        tmp_path,
        ("xray_proxy", "set_proxy", {**paths, "sdops_proxy_http_port": 10809, "sdops_no_proxy_all": around}),
    )
    for shell in SHELLS:
        found = after_sourcing(shell, profile, tmp_path, "4242", all_proxy="socks5://127.0.0.1:9", ALL_PROXY="x")
        assert found["https_proxy"] == found["http_proxy"] == "http://127.0.0.1:10809"
        assert found["no_proxy"] == ",".join(around)
        assert not [name for name in found if name.lower() == "all_proxy"]
        # what a rented box starts by its first process must not depend on a proxy that is not up yet
        assert "http_proxy" not in after_sourcing(shell, profile, tmp_path, "1")
    assert git_values(config) == sorted([*before, "http.proxy\nhttp://127.0.0.1:10809"])
    assert config.stat().st_mode & 0o777 == 0o600
    play(tmp_path, ("xray_proxy", "unset_proxy", paths))
    assert git_values(config) == before and not profile.exists()


def test_the_environment_of_login_shells(tmp_path: Path) -> None:
    prefix = tmp_path / ("env " + " ".join(ODD))
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python").symlink_to(sys.executable)
    given = {"sdops_profile_dir": str(tmp_path), "conda_env_prefix": str(prefix), "conda_env_login": True}
    play(tmp_path, ("conda_env", "main", given))
    for shell in SHELLS:
        found = after_sourcing(shell, tmp_path / "sdops-env.sh", tmp_path)
        assert found["PATH"] == f"{prefix}/bin:/usr/bin:/bin"
        assert (found["CONDA_PREFIX"], found["CONDA_DEFAULT_ENV"]) == (str(prefix), prefix.name)
        assert after_sourcing(shell, tmp_path / "sdops-env.sh", tmp_path, PATH=found["PATH"])["PATH"] == found["PATH"]


HOOKS = [None, "", "#!/bin/bash -e # (a|b)[c]* $x\\\ntrue\nexit 0\n", "exit 0", "true\nexit 3", "#!/bin/sh"]


def test_the_hook_starts_supervisord_and_keeps_what_was_there(tmp_path: Path) -> None:
    home = tmp_path / f"h{PLAIN}"
    program = home / "toolbox/bin/supervisord"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.arguments"\nenv > "$0.environment"\n')
    program.chmod(0o755)
    given = {"base_systemd": False, "sdops_home": str(home), "sdops_data_dir": str(home), "sdops_cache_dir": ""}
    given |= {f"sdops_{name}_dir": f"{home}/{name}" for name in ("log", "state", "secrets", "supervisor")}
    given["sdops_toolbox"] = f"{home}/toolbox"
    hooks = [tmp_path / f"hook{number}{PLAIN}.sh" for number in range(len(HOOKS))]
    for hook, before in zip(hooks, HOOKS):
        if before is not None:
            hook.write_text(before)
            hook.chmod(0o700)
    # a second time nothing is added
    play(tmp_path, *(("base", "files", {**given, "sdops_boot_hook": str(hook)}) for hook in [*hooks, *hooks]))
    for hook, before in zip(hooks, HOOKS):
        for shell in SHELLS:
            program.with_name("supervisord.arguments").unlink(missing_ok=True)
            done = subprocess.run([shell, hook], env={"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:1"})
            assert done.returncode == (3 if "exit 3" in (before or "") else 0)
            arguments = program.with_name("supervisord.arguments").read_text().splitlines()
            assert arguments == ["-c", f"{home}/supervisor/supervisord.conf"]
            assert "proxy" not in program.with_name("supervisord.environment").read_text()
        after = hook.read_text().splitlines()
        assert sum("supervisord -c" in line for line in after) == 1
        if before is not None:
            assert hook.stat().st_mode & 0o777 == 0o700
            # what was there is still there, in its order, a first line with #! still first
            saved = [line for line in after if line in before.splitlines()]
            assert saved == before.splitlines()
            assert not before.startswith("#!") or after[0] == saved[0]
