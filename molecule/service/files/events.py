#!/usr/bin/env python3
"""Crashes and restarts of the service, one after the other; each time it must be back. Runs on the target.

Crashes come four times as often as restarts on demand, for each of which supervisorctl waits five seconds.

events.py COUNT SEED: prints one line per event and fails at the first after which the WebUI does not come back.
"""

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


def answers():
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open("http://127.0.0.1:6006/internal/ping", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


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
                sys.exit("event %d, %s: not back after %d s; %s" % (number + 1, name, DEADLINE, ctl("status")))
            time.sleep(0.2)
        print("%2d %-30s back after %.1f s" % (number + 1, name, time.monotonic() - started), flush=True)


main()
