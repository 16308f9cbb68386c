#!/usr/bin/env python3
"""Crashes and restarts of the service, one after the other; each time it must be back. Runs on the target.

Crashes come four times as often as restarts on demand, for each of which supervisorctl waits five seconds.

events.py COUNT SEED: prints one line per event and fails at the first after which the WebUI does not come back, or not with its
credentials and settings. At the end it has to render, and the only WebUI has to be the one that supervisord runs.
"""

import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request

CTL = ["/opt/sdops/toolbox/bin/supervisorctl", "-c", "/opt/sdops/supervisor/supervisord.conf"]
DEADLINE = 60


def ctl(*words):
    done = subprocess.run([*CTL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.strip()


def pid_of(program):
    said = ctl("pid", program)
    return int(said) if said.isdigit() else 0


def ask(path, body=None, timeout=5):
    """The WebUI's answer to its user; None when there is none."""
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
    except (OSError, ValueError):
        return None


def answers():
    """Whether it takes the credentials and has the settings."""
    options = ask("/sdapi/v1/options")
    return bool(options) and options["CLIP_stop_at_last_layers"] == 2


def webuis():
    """Processes of the WebUI."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as handle:
                if handle.read().rstrip(b"\0").endswith(b"/launch_webui.py\0/opt/sdops/webui/launch.json"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def send(program, number):
    pid = pid_of(program)
    if pid:
        os.kill(pid, number)


CRASHES = {
    "webui killed": lambda: send("webui", signal.SIGKILL),
    "webui crashed": lambda: send("webui", signal.SIGSEGV),
    "webui ended": lambda: send("webui", signal.SIGTERM),
    "webui interrupted": lambda: send("webui", signal.SIGINT),
    "xray killed": lambda: send("xray", signal.SIGKILL),
    "webui killed while it starts": lambda: (
        send("webui", signal.SIGKILL),
        time.sleep(1.5),
        send("webui", signal.SIGKILL),
    ),
}
ORDERS = {
    "webui restarted": lambda: ctl("restart", "webui"),
    "webui stopped and started": lambda: (ctl("stop", "webui"), ctl("start", "webui")),
    "everything restarted": lambda: ctl("restart", "all"),
    "supervisord reloaded": lambda: ctl("reload"),
}


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    for number in range(count):
        name = chance.choice(sorted(CRASHES) * 4 + sorted(ORDERS))
        before = pid_of("webui")
        {**CRASHES, **ORDERS}[name]()
        started = time.monotonic()
        # a process that has been told to end may still answer
        while not (answers() and pid_of("xray") and (name == "xray killed" or pid_of("webui") not in (0, before))):
            if time.monotonic() - started > DEADLINE:
                sys.exit("event {}, {}: not back after {} s; {}".format(number + 1, name, DEADLINE, ctl("status")))
            time.sleep(0.2)
        print(f"{number + 1:2d} {name:<30} back after {time.monotonic() - started:.1f} s", flush=True)
    drawn = ask("/sdapi/v1/txt2img", {"prompt": "x", "steps": 1, "width": 64, "height": 64}, timeout=DEADLINE)
    if not drawn or not drawn["images"]:
        sys.exit("it renders nothing after {} events; {}".format(count, ctl("status")))
    if webuis() != [pid_of("webui")]:
        sys.exit("WebUIs {}, but supervisord runs {}".format(webuis(), pid_of("webui")))


main()
