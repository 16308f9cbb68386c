"""A detached module on a "target" that is this machine: Ansible's real async_wrapper, real shells, real signals."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.errors import DetachedModuleError, NotStartedError
from ansible_collections.sdops.webui.plugins.plugin_utils.detached_module import DetachedModule
from helpers.processes import kill_all, words_of_processes

# its arguments changed in ansible-core 2.21
WRAPPER = Path(importlib.util.find_spec("ansible.modules.async_wrapper").origin).read_text()


class Target:
    """What Background needs of an action plugin, on this machine. ``program`` is the module: Python with ``args`` at hand."""

    def __init__(self, base: Path, shell: str, program: str) -> None:
        self.base = base
        self.shell = shell
        self.program = program
        self.jobs = base / "a job's dir"
        self.commands: list[str] = []
        self.become = False
        self._cleanup_remote_tmp = True
        self._task = SimpleNamespace(args={}, async_val=0, environment=[])
        self._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None, SHELL_FAMILY="sh"), become=None)

    # --- what ActionBase offers ---

    def _make_tmp_path(self) -> None:
        path = self.base / "its tmp" / f"ansible-tmp-{time.time()}-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir(parents=True, mode=0o700)
        self._connection._shell.tmpdir = f"{path}/"

    def _is_become_unprivileged(self) -> bool:
        return self.become

    def _remote_expand_user(self, path: str) -> str:
        return path

    def _low_level_execute_command(self, cmd: str, sudoable: bool = True) -> dict:
        self.commands.append(cmd)
        done = subprocess.run([self.shell, "-c", cmd], capture_output=True, text=True, env=self.environment, timeout=60)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, wrap_async=False) -> dict:
        if module_name == "ansible.legacy.async_status":
            data = json.loads((Path(module_args["_async_dir"]) / module_args["jid"]).read_text())
            if "started" not in data:
                data.update(finished=True, ansible_job_id=module_args["jid"])
            return data
        assert wrap_async and self._task.async_val > 0
        script = Path(self._connection._shell.tmpdir) / "AnsiballZ_fake.py"
        script.write_text(f"#!{sys.executable}\nargs = {module_args!r}\n{textwrap.dedent(self.program)}")
        script.chmod(0o700)
        # the wrapper splits its arguments at spaces, as Ansible's own do not have any
        link = self.base / "tmp"
        link.symlink_to(self.tmpdir.parent)
        path = str(link / self.tmpdir.name / script.name)
        preserve = not self._cleanup_remote_tmp
        if "<preserve_tmp> <module_path>" in WRAPPER:
            module = [str(preserve).lower(), path, sys.executable, path]
        else:
            module = [path, "_", *(["-preserve_tmp"] if preserve else [])]
        done = subprocess.run(
            [sys.executable, "-m", "ansible.modules.async_wrapper", "j1", str(self._task.async_val), *module],
            env={**self.environment, "ANSIBLE_ASYNC_DIR": str(self.jobs)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self._connection._shell.tmpdir = None
        return json.loads(done.stdout)

    # --- for the tests ---

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.base)}

    @property
    def tmpdir(self) -> Path:
        return next((self.base / "its tmp").glob("ansible-tmp-*"))

    def leftovers(self) -> list[str]:
        found = [*self.jobs.glob("*"), *(self.base / "its tmp").glob("*"), *self.base.glob("sdops-progress-*")]
        return sorted(str(path) for path in found)


REPORT_SCRIPT = """
import json, os, sys, time
def tell(**more):
    path = args["progress_file"]
    with open(path + ".new", "w") as stream:
        json.dump({"pid": os.getpid(), "files": [], **more}, stream)
    os.replace(path + ".new", path)
def end(**result):
    print(json.dumps({"changed": True, "invocation": {"module_args": args}, **result}))
"""
FOREVER = REPORT_SCRIPT + "tell()\nwhile True: time.sleep(0.1)\n"


@pytest.fixture(params=["dash", "bash"])
def make(tmp_path, request):
    made = []

    def target(program: str, **args: object) -> tuple[Target, DetachedModule]:
        made.append(Target(tmp_path, request.param, program))
        made[-1]._task.args = args
        return made[-1], DetachedModule(made[-1], {})

    yield target
    for each in made:
        kill_all(alive(each))


def alive(target: Target) -> list[int]:
    return [
        pid
        for pid, words in words_of_processes("cmdline")
        if any(b"/ansible-tmp-" in word and str(target.base).encode() in word for word in words[:8])
    ]


def until(job: DetachedModule, check, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    while not check(poll := job.poll(0.2)):
        assert time.monotonic() < deadline, poll
    return poll


def test_a_run_is_watched_and_leaves_nothing_but_its_result(make, tmp_path):
    program = "tell(done=1)\nwhile not os.path.exists(args['seen']): time.sleep(0.05)\ntell(done=2)\nend(models=['m'])"
    seen = str(tmp_path / "seen")
    target, job = make(REPORT_SCRIPT + program, models=["m"], seen=seen)
    job.start()
    assert (target._task.async_val, target._task.environment) == (0, [])
    poll = until(job, lambda poll: poll.snapshot)
    assert (poll.state, poll.snapshot["done"]) == ("running", 1)
    assert poll.snapshot["pid"] in poll.pids
    Path(seen).touch()
    poll = until(job, lambda poll: poll.state != "running")
    assert (poll.state, poll.snapshot["done"]) == ("ended", 2)
    assert job.result() == {
        "changed": True,
        "models": ["m"],
        "invocation": {"module_args": {"models": ["m"], "seen": seen, "progress_file": None}},
    }
    job.clean()
    assert target.leftovers() == []


def test_the_last_snapshot_is_there_when_all_processes_have_ended(make):
    """Ansible's watcher looks every five seconds, and would remove the directory then."""
    target, job = make(REPORT_SCRIPT + "tell(done=2)\nend()")
    job.start()
    until(job, lambda _: not alive(target))
    poll = job.poll(0.2)
    assert (poll.state, poll.snapshot["done"]) == ("ended", 2)
    job.clean()
    assert target.leftovers() == []


def test_the_end_is_noticed_while_a_poll_waits(make):
    _, job = make(REPORT_SCRIPT + "time.sleep(1)\nend()")
    job.start()
    started = time.monotonic()
    assert job.poll(30).state == "ended"
    assert time.monotonic() - started < 5


def test_the_arguments_do_not_stay_on_the_disk_while_the_module_runs(make):
    target, job = make(FOREVER, huggingface_token="hf_secret")
    job.start()
    assert "hf_secret" in (target.tmpdir / "AnsiballZ_fake.py").read_text()
    assert (target.tmpdir.stat().st_mode & 0o777) == 0o700
    until(job, lambda poll: poll.snapshot)
    job.poll(0.2)
    assert not (target.tmpdir / "AnsiballZ_fake.py").exists()
    assert not any("hf_secret" in command for command in target.commands)
    job.stop()


def test_out_of_memory_kill_is_detected_within_seconds(make):
    target, job = make(FOREVER)
    job.start()
    pids = until(job, lambda poll: poll.snapshot).pids
    kill_all(pids)
    started = time.monotonic()
    assert until(job, lambda poll: poll.state != "running").state == "lost"
    assert time.monotonic() - started < 5
    job.clean()
    assert target.leftovers() == []


def test_the_module_alone_killed_has_no_result(make):
    _, job = make(FOREVER)
    job.start()
    poll = until(job, lambda poll: poll.snapshot)
    os.kill(poll.snapshot["pid"], signal.SIGKILL)
    assert until(job, lambda poll: poll.state != "running").state == "ended"
    assert job.result() is None


def test_a_crash_reports_the_output(make):
    _, job = make("import sys, os\nsys.stderr.write('out of luck')\nsys.stderr.flush()\nos._exit(3)")
    job.start()
    until(job, lambda poll: poll.state == "ended")
    result = job.result()
    assert result["failed"]
    assert result["module_stderr"] == "out of luck"


def test_what_the_module_says_on_stderr_is_not_in_its_result(make):
    _, job = make(REPORT_SCRIPT + "sys.stderr.write('chatter')\nend()")
    job.start()
    until(job, lambda poll: poll.state == "ended")
    assert "stderr" not in job.result()


CHILD = (
    REPORT_SCRIPT
    + """
import subprocess
child = subprocess.Popen(["sleep", "300"])
tell(child=child.pid)
while True: time.sleep(0.1)
"""
)


def missing(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


# as if the wrapper had been slow to give the module a group of its own
IN_THE_WRAPPERS_GROUP = "import os\nos.setpgid(0, os.getsid(0))\n"


@pytest.mark.parametrize("before", ["", IN_THE_WRAPPERS_GROUP])
def test_stop_ends_the_module_and_what_it_started(make, before):
    target, job = make(before + CHILD)
    job.start()
    poll = until(job, lambda poll: poll.snapshot)
    job.stop()
    assert alive(target) == []
    assert missing(poll.snapshot["pid"]) and missing(poll.snapshot["child"])
    assert target.leftovers() == []


def test_stop_lets_the_module_finish_its_writing_and_does_not_wait_for_ever(make, tmp_path):
    saved = tmp_path / "saved"
    deaf = f"""
import signal
def save(*_): open({str(saved)!r}, "w").close()
signal.signal(signal.SIGTERM, save)
tell()
while True: time.sleep(0.1)
"""
    target, job = make(REPORT_SCRIPT + deaf)
    job.start()
    until(job, lambda poll: poll.snapshot)
    started = time.monotonic()
    job.stop(2)
    assert time.monotonic() - started < 8
    assert saved.exists()
    assert alive(target) == []


def test_a_given_progress_file_stays_and_an_old_one_is_not_believed(make, tmp_path):
    given = tmp_path / "mine.json"
    given.write_text(json.dumps({"pid": 1, "done": 99}))
    _, job = make(REPORT_SCRIPT + "time.sleep(1.5)\ntell(done=1)\ntime.sleep(1)\nend()", progress_file=str(given))
    job.start()
    assert job.poll(0.2).snapshot is None
    assert until(job, lambda poll: poll.snapshot).snapshot["done"] == 1
    until(job, lambda poll: poll.state == "ended")
    assert job.result()["invocation"]["module_args"]["progress_file"] == str(given)
    job.clean()
    assert json.loads(given.read_text())["done"] == 1


def test_a_user_who_may_not_write_there_gets_a_private_directory(make):
    target, job = make(FOREVER)
    target.become = True
    job.start()
    until(job, lambda poll: poll.snapshot)
    (own,) = target.base.glob("sdops-progress-*")
    assert (own.stat().st_mode & 0o777) == 0o700
    assert (own / "progress.json").exists()
    job.stop()
    assert target.leftovers() == []


def test_a_terminals_line_ends_are_understood(make):
    target, job = make(REPORT_SCRIPT + "tell(done=1)\ntime.sleep(60)")
    job.start()
    shell = target._low_level_execute_command

    def terminal(cmd, sudoable=True):
        found = shell(cmd, sudoable)
        return {**found, "stdout": found["stdout"].replace("\n", "\r\n")}

    target._low_level_execute_command = terminal
    assert until(job, lambda poll: poll.snapshot).pids
    job.stop()


def test_half_a_snapshot_is_none(make):
    _, job = make(REPORT_SCRIPT + "open(args['progress_file'], 'w').write('{\"files')\ntime.sleep(60)")
    job.start()
    assert job.poll(1).snapshot is None
    job.stop()


def test_no_answer_is_an_error_and_not_the_end(make):
    target, job = make(FOREVER)
    job.start()
    shell = target._low_level_execute_command
    for answer in ({"rc": 1, "stdout": "", "stderr": "fork: no memory"}, {"rc": 0, "stdout": "Welcome!", "stderr": ""}):
        target._low_level_execute_command = lambda cmd, sudoable=True, answer=answer: answer
        with pytest.raises(DetachedModuleError):
            job.poll(0.2)
    target._low_level_execute_command = shell
    assert job.poll(0.2).state == "running"
    job.stop()


def test_a_strange_temporary_directory_is_left_alone(make, tmp_path):
    target, job = make(FOREVER)
    (tmp_path / "precious").mkdir()
    target._connection._shell.tmpdir = str(tmp_path / "precious")
    with pytest.raises(NotStartedError):
        job.start()
    job.clean()
    job.stop()
    assert target.commands == []
    assert (tmp_path / "precious").is_dir()
