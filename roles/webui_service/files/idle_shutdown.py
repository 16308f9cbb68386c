# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a rented box that nobody uses: ``idle_shutdown.py CONFIG.json``. It is billed until it is shut down.

In use is a box whose WebUI generates or has generated since the last query, and one that a playbook works on. Somebody who
only has the page open does not use it.
"""

import base64
import contextlib
import http.client
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.parse
import xmlrpc.client

from procfs import belongs_to_program, describe_untrusted_peer, runs_only_as


class Unanswered(Exception):
    """supervisord does not answer."""


def log(text):
    print("{} {}".format(time.strftime("%Y-%m-%d %H:%M:%S"), text), flush=True)


def trusted_processes(config):
    """A test of process ids: who may have the credentials. The program under supervisor, or without one who owns their file."""
    if not config.get("program"):
        users = {0, os.stat(config["credentials_file"]).st_uid}
        return lambda pid: runs_only_as(pid, users)

    def query_pids():
        from supervisor.xmlrpc import SupervisorTransport

        socket = os.path.join(config["supervisor_dir"], "supervisor.sock")
        transport = SupervisorTransport(None, None, "unix://" + socket)
        try:
            supervisor = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor
            return supervisor.getProcessInfo(config["program"])["pid"] or -1, supervisor.getPID()
        except xmlrpc.client.Fault:
            return -1, -1  # it has no such program
        except (OSError, http.client.HTTPException) as exc:
            raise Unanswered(str(exc)) from exc
        finally:
            transport.close()

    return lambda pid: belongs_to_program(pid, query_pids)


def query_progress(config):
    """The WebUI's answer to /sdapi/v1/progress; {} where another process has its port. Raises what http.client raises."""
    url = urllib.parse.urlsplit(config["url"])
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        objection = describe_untrusted_peer(connection.sock, trusted_processes(config), 10)
        if objection:
            log(
                "the credentials are not sent to {}: the other end of the connection {}".format(
                    config["url"], objection
                )
            )
            return {}
        with open(config["credentials_file"], encoding="utf-8") as handle:
            basic = base64.b64encode(handle.readline().strip().encode()).decode()
        place = "/sdapi/v1/progress?skip_current_image=true"
        connection.request("GET", place, headers={"Authorization": "Basic " + basic})
        answer = connection.getresponse()
        return json.loads(answer.read(1 << 20)) if answer.status == 200 else {}


def generation(config):
    """(running, name of the last job) as the WebUI reports it; (False, None) where it does not answer.

    Where supervisord does not answer, its programs may go on without it: then the box counts as in use.
    """
    try:
        progress = query_progress(config)
        state = progress.get("state") or {}
        return bool(progress.get("progress") or state.get("job_count")), state.get("job_timestamp")
    except Unanswered as exc:
        log(f"supervisord does not answer, so nobody knows whether the WebUI is in use: {exc}")
        return True, None
    except (
        OSError,
        ValueError,
        AttributeError,
        RecursionError,
        http.client.HTTPException,
    ):  # also one that is cut off in its answer
        return False, None


def read(path):
    try:
        with open(path, "rb") as handle:
            return handle.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def is_playbook_running(proc):
    """Whether a playbook works here: one of its modules runs, or a command of an SSH session without a terminal."""
    commands, parents = {}, {}
    for name in os.listdir(proc):
        if name.isdigit():
            commands[name] = read(os.path.join(proc, name, "cmdline"))
            rest = read(os.path.join(proc, name, "stat")).rpartition(")")[2].split()
            parents[name] = rest[1] if len(rest) > 1 else ""
    sessions = {pid for pid, command in commands.items() if command.startswith("sshd") and "@notty" in command}
    return any("AnsiballZ_" in command for command in commands.values()) or any(
        parent in sessions and pid not in sessions for pid, parent in parents.items()
    )


def main():
    with open(sys.argv[1], encoding="utf-8") as handle:
        config = json.load(handle)
    limit, interval = config["minutes"] * 60, config.get("interval", 20)
    log(
        "the box ends after {:g} minutes without a generation{}".format(
            config["minutes"], " (dry run)" if config["dry_run"] else ""
        )
    )
    used, last = time.monotonic(), generation(config)[1]
    while True:
        time.sleep(interval)
        running, job = generation(config)
        if running or (job is not None and job != last) or is_playbook_running(config.get("proc", "/proc")):
            used = time.monotonic()
        last = job if job is not None else last
        if time.monotonic() - used < limit:
            continue
        log(
            "idle for {:g} minutes: {} {}".format(
                config["minutes"], "would run" if config["dry_run"] else "running", config["command"]
            )
        )
        used = time.monotonic()
        if config["dry_run"]:
            continue
        try:
            done = subprocess.run(shlex.split(config["command"]), stdin=subprocess.DEVNULL, check=False)
            log(f"it ended with {done.returncode}")
        except OSError as exc:
            log(f"it cannot be run: {exc}")


main()
