"""``python -m lab``: bring a lab up, use it, take it down."""

from __future__ import annotations

import argparse
import os
import sys

from . import common, engine
from .common import GPUS, Lab, LabError, say
from .containers import Containers
from .processes import Processes


def backend(lab: Lab, mode: str = "auto") -> Containers | Processes:
    """What runs this lab: as its state says, else what ``mode`` asks for and the machine can do."""
    state = lab.state
    mode = state.get("mode", mode)
    if mode == "processes":
        return Processes(lab)
    if state:
        found = engine.PrivateDaemon().start() if state["private"] else engine.Engine(state["host"], private=False)
        return Containers(lab, found)
    try:
        found = engine.find()
    except LabError as exc:
        if mode == "containers":
            raise
        say(str(exc))
        found = None
    if found:
        return Containers(lab, found)
    if mode == "containers":
        raise LabError("no container engine can be had here: neither a running Docker nor root to start one")
    say("no container engine can be had here (not root, no Docker): the lab runs as processes on 127.0.0.1")
    return Processes(lab)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text)
        sub.add_argument(
            "--name", default=os.environ.get("SDOPS_LAB", "demo"), help="several labs can stand side by side"
        )
        return sub

    up = command("up", "bring it up; what already runs is kept")
    up.add_argument("--mode", choices=["auto", "containers", "processes"], default=os.environ.get("LAB_MODE", "auto"))
    up.add_argument("--targets", type=int, default=1)
    command("down", "end and remove everything of it")
    command("status", "what runs")
    command("logs", "where its logs are")
    execute = command("exec", "run a command on a target")
    execute.add_argument("target")
    execute.add_argument("arguments", nargs="*", metavar="-- COMMAND")
    command("restart", "power a target off and on").add_argument("target")
    command("gateway", "stop or start the gateway").add_argument("action", choices=["stop", "start"])
    gpu = command("gpu", "choose the card that a target's nvidia-smi reports")
    gpu.add_argument("target")
    gpu.add_argument("card", choices=GPUS)
    return result


def work(options: argparse.Namespace) -> int:
    lab = Lab(options.name)
    if options.command == "up":
        backend(lab, options.mode).up(options.targets)
        say(f"the lab {lab.name!r} is up ({lab.state['mode']}): " + ", ".join(lab.state["hosts"]))
    elif options.command == "down":
        if lab.state:
            backend(lab).down()
            common.end_ssh_masters()
            say(f"the lab {lab.name!r} is gone")
        else:
            engine.PrivateDaemon().stop_if_last(lab.dir)  # an `up` that ended while the engine was starting
        lab.forget()
    else:
        lab.need_state()
        what = backend(lab)
        if options.command == "status":
            print(what.status())
        elif options.command == "logs":
            print(lab.dir / "log")
        elif options.command == "exec":
            return what.execute(options.target, options.arguments)
        elif options.command == "restart":
            what.restart(options.target)
        elif options.command == "gateway":
            what.gateway(options.action)
        elif options.command == "gpu":
            what.gpu(options.target, options.card)
    return 0


def main() -> None:
    argv = sys.argv[1:]
    cut = argv.index("--") if "--" in argv else len(argv)  # what follows is the target's, dashes and all
    options = parser().parse_args(argv[:cut])
    if options.command == "exec":
        options.arguments += argv[cut + 1 :]
    try:
        sys.exit(work(options))
    except LabError as exc:
        sys.exit(f"lab: {exc}")
