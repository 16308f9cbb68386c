"""ansible-playbook on several hosts at once: what is to be seen while models come, and what is left afterwards."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.ansible_site import ansible_environment
from helpers.git_server import Repo, git_server
from helpers.paths import BIN
from helpers.processes import kill_all, words_of_processes
from helpers.wheels import UV, FileServer, venv, wheel

from lab.servers.faults import Fault

__all__ = ["git_server"]

HUB = ("huggingface.lab.test", "cdn.huggingface.lab.test")
TOKEN = "hf_lab_granted"
NAME = "v1-5-pruned-emaonly.safetensors"
PLACE = f"models/Stable-diffusion/{NAME}"
CHECKPOINT = {"source": f"hf://lab-fakes/tiny-sd15/{NAME}@main", "kind": "checkpoint"}
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
PERCENT = re.compile(r"^\[(\w+)\] (\S+) +(\d+)%, .* of .*$")


class Run:
    """An ansible-playbook under way."""

    def __init__(self, process: subprocess.Popen, base: Path) -> None:
        self.process = process
        self.base = base
        self.lines: list[tuple[float, str]] = []

    def until(self, pattern: str) -> str:
        """Read up to a line that ``pattern`` is found in."""
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip("\n")))
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no {pattern!r} in:\n{self.output}")

    def end(self) -> int:
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip("\n")))
        return self.process.wait(timeout=60)

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def progress(self) -> list[str]:
        return [line for _, line in self.lines if re.match(r"\[\w+\] ", line)]

    def all_end(self) -> None:
        """Ansible's own watcher looks only every few seconds whether the module has ended."""
        deadline = time.monotonic() + 20
        while self.processes():
            assert time.monotonic() < deadline, self.processes()
            time.sleep(0.2)

    def processes(self) -> dict[int, str]:
        """Pid and command line of what still runs on the "targets"."""
        found = {}
        for pid, words in words_of_processes("cmdline"):
            command = b" ".join(words).decode(errors="replace")
            if f"{self.base}/rtmp/ansible-tmp-" in command and "ssh" not in command.split()[0]:
                found[pid] = command
        return found

    def leftovers(self) -> list[str]:
        """Files that stay. Ansible's own watcher removes what the user's async task had, a few seconds after its end."""
        folders = (self.base / "async", self.base / "rtmp", self.base / "tmp")
        deadline = time.monotonic() + 20
        while True:
            found = [str(path) for folder in folders for path in folder.rglob("*")]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


@pytest.fixture
def play(lab_server, tmp_path, short_path):
    """Start a play with one task on ``hosts`` local hosts, of model_files or as ``module`` says; ``keywords`` are the task's."""
    runs: list[Run] = []
    (tmp_path / "tmp").mkdir()

    def start(
        hosts: int = 1, *arguments: str, shell=None, spec=(CHECKPOINT,), options=None, module=None, **keywords
    ) -> Run:
        names = ["anna", "bert", "carl"][:hosts]
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
        inventory = {
            name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable} for name in names
        }
        models = {
            "sdops.webui.model_files": {
                "webui_dir": f"{tmp_path}/{{{{ inventory_hostname }}}}",
                "models": list(spec),
                "huggingface_endpoint": lab_server.url(HUB[0]),
                "huggingface_token": TOKEN,
                "retries": 2,
                "connections": 1,  # the rate of a slow server is one of each connection
                "timeout": 5,
                **(options or {}),
            }
        }
        task = {"name": "Bring", **(module or models), "register": "out", **keywords}
        keep = {
            "name": "Keep",
            "ansible.builtin.copy": {
                "content": "{{ out | to_json }}",
                "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json",
                "mode": "0600",
            },
            "check_mode": False,
            "diff": False,
        }
        handled = [{"block": [task], "always": [keep]}]
        (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": handled}]))
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": inventory}}))
        process = subprocess.Popen(
            [str(BIN / "ansible-playbook"), "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), *arguments],
            env={
                **ansible_environment(),
                # core 2.22 opens a socket below it, whose path may have 107 bytes
                "ANSIBLE_HOME": str(short_path),
                "ANSIBLE_ASYNC_DIR": str(tmp_path / "async"),
                "ANSIBLE_REMOTE_TMP": str(tmp_path / "rtmp"),
                "TMPDIR": str(tmp_path / "tmp"),
                **(shell or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        runs.append(Run(process, tmp_path))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()
        kill_all(run.processes())


def result(tmp_path: Path, host: str = "anna") -> dict:
    return json.loads((tmp_path / f"{host}.json").read_text())


def slow(lab_server, rate: int) -> None:
    lab_server.faults.add(Fault("slow", host="cdn.*", rate=rate))


def test_every_host_reports_progress_while_the_task_runs(lab_server, play, tmp_path):
    slow(lab_server, 4_000_000)
    run = play(3, "-f", "3", "-e", "sdops_progress_interval=1")
    assert run.end() == 0, run.output
    first = {}
    for host in ("anna", "bert", "carl"):
        seen = [(at, PERCENT.match(line)) for at, line in run.lines if PERCENT.match(line)]
        shares = [int(match[3]) for _, match in seen if match[1] == host]
        assert len(shares) >= 3, run.output
        assert shares == sorted(shares)
        assert 0 < shares[len(shares) // 2] < 100
        first[host] = next(at for at, match in seen if match[1] == host)
        assert f"[{host}] {NAME}  done, 24.0 MiB" in run.output
        assert (tmp_path / host / PLACE).is_file()
    changed = next(at for at, line in run.lines if line.startswith("changed:"))
    assert all(at < changed - 2 for at in first.values()), "the lines came late"
    assert run.leftovers() == []
    run.all_end()


def test_several_files_have_a_line_for_all(lab_server, play):
    slow(lab_server, 4_000_000)
    run = play(1, "-e", "sdops_progress_interval=1", spec=(CHECKPOINT, {**CHECKPOINT, "name": "other.safetensors"}))
    assert run.end() == 0, run.output
    assert re.search(r"^\[anna\] 0 of 2 files +\d+%, .* of 48.0 MiB", run.output, re.M), run.output


def test_the_result_is_the_modules_own(lab_server, play, tmp_path):
    """The same batch with and without progress: the same keys and values, but for the time it took."""

    def diff_of(*arguments: str) -> dict:
        run = play(1, "--diff", *arguments, spec=(CHECKPOINT, VAE))
        assert run.end() == 0, run.output
        found = result(tmp_path)
        for entry in found["models"]:
            (tmp_path / "anna" / entry["path"]).unlink(missing_ok=True)
            entry.pop("seconds")
        found.pop("disk_free")
        return found

    plainly = diff_of("-e", "sdops_progress_interval=0")
    watched = diff_of("-e", "sdops_progress_interval=1")
    assert plainly["changed"] and plainly["models"][0]["status"] == "fetched"
    assert watched == plainly


def test_a_failure_is_the_modules_own(play, tmp_path):
    gated = {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "vae"}
    found = {}
    for interval in (0, 1):
        run = play(1, "-e", f"sdops_progress_interval={interval}", spec=(gated,))
        assert run.end() != 0
        found[interval] = result(tmp_path)
        found[interval].pop("disk_free")
        for entry in found[interval]["models"]:
            entry.pop("seconds")
        assert run.leftovers() == []
    assert found[1]["failed"] and "does not exist" in found[1]["msg"]
    assert found[1] == found[0]


@pytest.mark.parametrize("case", ["zero", "check", "async", "absent"])
def test_quiet(lab_server, play, tmp_path, case):
    slow(lab_server, 10_000_000)
    arguments = {
        "zero": (["-e", "sdops_progress_interval=0"], {}),
        "check": (["--check"], {}),
        "async": ([], {"async": 60, "poll": 1}),
        "absent": ([], {"options": {"state": "absent"}}),
    }[case]
    run = play(1, *arguments[0], **arguments[1])
    assert run.end() == 0, run.output
    assert [line for line in run.progress() if NAME in line] == []
    assert not result(tmp_path).get("failed")
    assert run.leftovers() == []


def test_no_log_shows_a_percentage_and_no_name(lab_server, play):
    slow(lab_server, 4_000_000)
    run = play(1, "-e", "sdops_progress_interval=1", no_log=True)
    assert run.end() == 0, run.output
    displayed = run.progress()
    assert len(displayed) >= 2
    assert all(re.fullmatch(r"\[anna\] \d+%", line) for line in displayed), displayed
    assert NAME not in run.output


def test_ctrl_c_stops_the_module_and_the_next_run_resumes(lab_server, play, tmp_path):
    slow(lab_server, 2_000_000)
    run = play(2, "-f", "2", "-e", "sdops_progress_interval=1")
    run.until(r"\[anna\] \S+ +1?[0-9]%.* of ")
    assert run.processes()
    run.process.send_signal(signal.SIGINT)
    assert run.end() != 0
    run.all_end()
    assert run.leftovers() == []
    assert not (tmp_path / "anna" / PLACE).exists()
    lab_server.faults.clear()
    lab_server.log.entries.clear()
    repeated = play(2, "-f", "2")
    assert repeated.end() == 0, repeated.output
    ranges = [entry["range"] for entry in lab_server.log.entries if entry["host"] == HUB[1]]
    assert any(expected and not expected.startswith("bytes=0-") for expected in ranges), ranges


def test_the_end_of_ansible_playbook_ends_the_module_too(lab_server, play):
    """kill -9 of the main process: nothing can tell the worker, it sees that its parent is gone."""
    slow(lab_server, 500_000)
    run = play(1, "-e", "sdops_progress_interval=1")
    run.until(r"\[anna\] .* of ")
    run.process.kill()
    run.all_end()


def test_the_tasks_own_time_limit_stops_the_module(lab_server, play, tmp_path):
    slow(lab_server, 500_000)
    run = play(1, "-e", "sdops_progress_interval=1", timeout=8)
    assert run.end() != 0
    assert "imed out" in result(tmp_path)["msg"]
    run.all_end()
    assert run.leftovers() == []


@pytest.mark.parametrize("victims", ["the module", "everything"])
def test_a_killed_module_is_a_clear_failure_within_seconds(lab_server, play, tmp_path, victims):
    slow(lab_server, 500_000)
    run = play(1, "-e", "sdops_progress_interval=1")
    run.until(r"\[anna\] .* of ")
    killed = time.monotonic()
    running = run.processes().items()
    kill_all(pid for pid, command in running if victims == "everything" or "async_wrapper" not in command)
    assert run.end() != 0
    assert time.monotonic() - killed < 15
    found = result(tmp_path)
    assert found["failed"]
    assert "killed" in found["msg"] and "resumes" in found["msg"]
    assert run.leftovers() == []


def test_no_token_in_a_command_line_or_the_loudest_output(lab_server, play, tmp_path):
    slow(lab_server, 4_000_000)
    run = play(1, "-vvvv", "-e", "sdops_progress_interval=1")
    run.until(r"\[anna\] .* of ")
    for command in run.processes().values():
        assert TOKEN not in command
    for path in (tmp_path / "rtmp").rglob("*"):
        assert (path.parent.stat().st_mode & 0o077) == 0, path
    for path in (tmp_path / "async").rglob("*"):
        assert TOKEN not in path.read_text()
    assert run.end() == 0
    assert TOKEN not in run.output
    assert run.leftovers() == []


def test_without_pipelining_and_with_a_wrong_interval(lab_server, play, tmp_path):
    slow(lab_server, 400_000)  # longer than the interval that is taken instead, on a busy machine too
    run = play(
        1,
        "-e",
        "sdops_progress_interval=often",
        shell={"ANSIBLE_PIPELINING": "false"},
        environment="{{ {'SDOPS_TEST': inventory_hostname} }}",
    )
    assert run.end() == 0, run.output
    assert NAME in "".join(run.progress())
    assert "sdops_progress_interval" in run.output
    assert result(tmp_path)["models"][0]["status"] == "fetched"
    assert run.leftovers() == []


WRITTEN = re.compile(r"^\[anna\] (?P<name>.+?)  (still )?at work, (?P<amount>[0-9.]+ \w+) written", re.M)


@pytest.fixture
def slow_wheel(tmp_path):
    """Task that installs a wheel of 6 MB, which its server sends within about 6 seconds."""
    text = base64.b64encode(random.Random(1).randbytes(4_500_000)).decode()
    made = wheel(tmp_path / "wheels", "heavy", "1.0", files=[("heavy/data.txt", text)])
    server = FileServer(tmp_path / "wheels", rate=1_000_000)
    yield {
        "sdops.webui.python_packages": {
            "python": str(venv(tmp_path / "env")),
            "packages": [f"heavy @ {server.url}/{made.name}"],
            "uv": str(UV),
            "cache_dir": str(tmp_path / "cache"),
        }
    }
    server.stop()


@pytest.fixture
def slow_repository(git_server, tmp_path):
    """Task that clones a repository whose server sends it within about 6 seconds."""
    repo = Repo(tmp_path, "heavy")
    commit = repo.commit({"data.txt": base64.b64encode(random.Random(1).randbytes(4_500_000)).decode()})
    git_server.rate = 1_000_000
    spec = {
        "repo": f"{git_server.url}/heavy.git",
        "commit": commit,
        "dest": str(tmp_path / "checkout"),
        "name": "heavy",
    }
    return {"sdops.webui.git_pins": {"repos": [spec], "filter": ""}}


@pytest.mark.parametrize("kind", ["slow_wheel", "slow_repository"])
def test_packages_and_repositories_show_what_is_written(play, tmp_path, request, kind):
    module = request.getfixturevalue(kind)
    run = play(1, "-e", "sdops_progress_interval=1", module=module)
    assert run.end() == 0, run.output
    amounts = [float(found["amount"].split()[0]) for found in WRITTEN.finditer(run.output) if "MiB" in found["amount"]]
    assert len(amounts) >= 3, run.output
    assert amounts == sorted(amounts), run.output
    assert re.search(r"^\[anna\] heavy.*  done, \d+\.\d MiB in 0:\d\d$", run.output, re.M), run.output
    assert result(tmp_path)["changed"]
    assert run.leftovers() == []
    repeated = play(1, "-e", "sdops_progress_interval=1", module=module)
    assert repeated.end() == 0 and not repeated.progress(), repeated.output
    assert not result(tmp_path)["changed"]


@pytest.mark.parametrize("kind", ["slow_wheel", "slow_repository"])
def test_ctrl_c_ends_the_programs_of_a_module_too(play, tmp_path, request, kind):
    module = request.getfixturevalue(kind)
    run = play(1, "-e", "sdops_progress_interval=1", module=module)
    run.until(WRITTEN.pattern)

    def programs() -> list[list[bytes]]:
        """The uv and git that work for this test."""
        found = [words for _pid, words in words_of_processes("cmdline") if str(tmp_path).encode() in b" ".join(words)]
        return [words for words in found if os.path.basename(words[0]) in (b"uv", b"git")]

    assert programs()
    run.process.send_signal(signal.SIGINT)
    assert run.end() != 0
    run.all_end()
    deadline = time.monotonic() + 10
    while programs() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert programs() == []
    assert run.leftovers() == []
    repeated = play(1, module=module)
    assert repeated.end() == 0, repeated.output
    assert result(tmp_path)["changed"]


def test_a_plan_has_sizes_that_only_the_controller_can_ask_for(lab_server, play, tmp_path):
    run = play(1, "--check", spec=(CHECKPOINT, VAE), options={"huggingface_proxy": "http://127.0.0.1:9", "retries": 0})
    assert run.end() == 0, run.output
    models = result(tmp_path)["models"]
    sizes = [(model["status"], round(model["bytes"] / (1 << 20))) for model in models]
    assert sizes == [("unresolved", 24), ("unresolved", 3)]
    lab_server.faults.add(Fault("status", host=HUB[0], status=503))
    assert play(1, "--check", options={"huggingface_proxy": "http://127.0.0.1:9", "retries": 0}).end() == 0
    assert result(tmp_path)["models"][0]["bytes"] is None
