#!/usr/bin/env python3
"""Crashes and restarts of the service, one after the other; after each the WebUI must be back. Runs on the target, with the toolbox's Python.

Crashes come four times as often as restarts on demand, for each of which supervisorctl waits five seconds.

events.py COUNT SEED: prints one line per event and fails at the first after which the WebUI does not come back with its
credentials and settings. At the end the WebUI has to render, and the only WebUI has to be the one that supervisord runs.
"""

import base64
import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
import xmlrpc.client

from supervisor.xmlrpc import SupervisorTransport

SUPERVISORCTL = ["/opt/sdops/toolbox/bin/supervisorctl", "-c", "/opt/sdops/supervisor/supervisord.conf"]
DEADLINE = 60


def supervisorctl(*words):
    done = subprocess.run(
        [*SUPERVISORCTL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout.strip()


def pid_of(program):
    """Asked many times a second, so not by a supervisorctl of its own each time."""
    transport = SupervisorTransport(None, None, "unix:///opt/sdops/supervisor/supervisor.sock")
    try:
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor.getProcessInfo(program)["pid"]
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return 0


def query(path, body=None, timeout=5):
    """The WebUI's JSON answer to a request with the credentials; None without an answer."""
    with open("/opt/sdops/secrets/webui-credentials", encoding="utf-8") as handle:
        secret = base64.b64encode(handle.readline().strip().encode()).decode()
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": "Basic " + secret, "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(
            urllib.request.Request("http://127.0.0.1:6006" + path, data, headers), timeout=timeout
        ) as answer:
            return json.load(answer)
    # it may end in the middle of an answer
    except (OSError, ValueError, http.client.HTTPException):
        return None


def is_ready():
    """Whether the WebUI accepts the credentials and has the settings."""
    options = query("/sdapi/v1/options")
    return bool(options) and options["CLIP_stop_at_last_layers"] == 2


def webui_pids():
    """PIDs of all WebUI processes."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as handle:
                if handle.read().rstrip(b"\0").endswith(b"/launch_webui.py\0/opt/sdops/webui/launch.json"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def send_signal(program, number):
    pid = pid_of(program)
    if pid:
        # supervisord may not have noticed yet that it has ended
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


CRASHES = {
    "webui killed": lambda: send_signal("webui", signal.SIGKILL),
    "webui crashed": lambda: send_signal("webui", signal.SIGSEGV),
    "webui ended": lambda: send_signal("webui", signal.SIGTERM),
    "webui interrupted": lambda: send_signal("webui", signal.SIGINT),
    "xray killed": lambda: send_signal("xray", signal.SIGKILL),
    "webui killed while it starts": lambda: (
        send_signal("webui", signal.SIGKILL),
        time.sleep(1.5),
        send_signal("webui", signal.SIGKILL),
    ),
}
RESTARTS = {
    "webui restarted": lambda: supervisorctl("restart", "webui"),
    "webui stopped and started": lambda: (supervisorctl("stop", "webui"), supervisorctl("start", "webui")),
    "everything restarted": lambda: supervisorctl("restart", "all"),
    "supervisord reloaded": lambda: supervisorctl("reload"),
}


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    for number in range(count):
        name = chance.choice(sorted(CRASHES) * 4 + sorted(RESTARTS))
        ends = "xray" if name == "xray killed" else "webui"
        before = pid_of(ends)
        {**CRASHES, **RESTARTS}[name]()
        started = time.monotonic()
        # a process that is about to end may still answer, and one that has ended may still be listed
        while not (pid_of(ends) not in (0, before) and pid_of("xray") and is_ready()):
            if time.monotonic() - started > DEADLINE:
                sys.exit(f"event {number + 1}, {name}: not back after {DEADLINE} s; {supervisorctl('status')}")
            time.sleep(0.2)
        print(f"{number + 1:2d} {name:<30} back after {time.monotonic() - started:.1f} s", flush=True)
    rendered = query("/sdapi/v1/txt2img", {"prompt": "x", "steps": 1, "width": 64, "height": 64}, timeout=DEADLINE)
    if not rendered or not rendered["images"]:
        sys.exit(f"the WebUI renders nothing after {count} events; {supervisorctl('status')}")
    if webui_pids() != [pid_of("webui")]:
        sys.exit(f"WebUIs {webui_pids()}, but supervisord runs {pid_of('webui')}")


main()
