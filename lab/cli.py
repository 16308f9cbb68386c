"""``python -m lab``: create a lab, use it, remove it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from fnmatch import fnmatchcase

from . import engine, lab_state
from .containers import Containers
from .lab_state import GPUS, Lab, LabError, report
from .processes import Processes
from .servers import faults, gateway


def choose_backend(lab: Lab, mode: str = "auto") -> Containers | Processes:
    """The backend of this lab: the one in its state, else the one of ``mode`` that the machine supports."""
    state = lab.state
    mode = state.get("mode", mode)
    if mode == "processes":
        return Processes(lab)
    if state:
        found = engine.PrivateDaemon().start() if state["private"] else engine.Engine(state["host"], private=False)
        return Containers(lab, found)
    try:
        found = engine.find_engine()
    except LabError as exc:
        if mode == "containers":
            raise
        report(str(exc))
        found = None
    if found:
        return Containers(lab, found)
    if mode == "containers":
        raise LabError("no container engine is available: neither a running Docker nor root to start one")
    report("no container engine is available (not root, no Docker): the lab runs as processes on 127.0.0.1")
    return Processes(lab)


def make_image(lab: Lab, mode: str) -> None:
    """Make the image that :class:`Containers` starts its targets from, where ``up`` in ``mode`` would start containers."""
    found = None if lab.state.get("mode", mode) == "processes" else engine.find_engine()
    if found:
        with lab_state.exclusive_lock(lab_state.SHARED):
            engine.ensure_image(found)


def build_parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = result.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text)
        sub.add_argument(
            "--name",
            default=os.environ.get("SDOPS_LAB", "demo"),
            help="name of the lab; several can run at the same time (%(default)s)",
        )
        return sub

    up = command("up", "create the lab, or start what is missing of it")
    image = command("image", "make the image of the targets, which `up` makes too; nothing where that starts processes")
    for sub in (up, image):
        sub.add_argument(
            "--mode", choices=["auto", "containers", "processes"], default=os.environ.get("LAB_MODE", "auto")
        )
    up.add_argument("--targets", type=int, default=1)
    up.add_argument(
        "--target-python",
        default="",
        metavar="X.Y",
        help="the only Python of the targets, one that this machine has by PATH or pyenv (default: Debian's, or the lab's own)",
    )
    command("down", "stop the lab and remove all of its parts")
    command("status", "list what runs")
    command("logs", "print the directory of the logs")
    execute = command("exec", "run a command on a target")
    execute.add_argument("target")
    execute.add_argument("arguments", nargs="*", metavar="-- COMMAND")
    restart = command("restart", "cut the power of a target, and give it back")
    restart.add_argument("target")
    restart.add_argument("--when", metavar="COMMAND", help="not before this shell command succeeds on it (300 s)")
    restart.add_argument("--off", type=float, default=0, metavar="SECONDS", help="time without power (%(default)s)")
    command("recreate", "replace a target by a new one; what several share stays").add_argument("target")
    gateway_command = command("gateway", "stop or start the gateway, set its condition, or print its counters")
    gateway_command.add_argument("action", choices=["stop", "start", *gateway.CONDITIONS, "stats"])
    gateway_command.add_argument(
        "--rate", type=int, default=gateway.RATE, help="bytes per second when it is slow (%(default)s)"
    )
    gateway_command.add_argument("--reset", action="store_true", help="with stats: reset the counters")
    turbo = command("turbo", "switch the turbo proxy (stop, start) or the targets' file for it (off, on)")
    turbo.add_argument("action", choices=["stop", "start", "off", "on"])
    turbo.add_argument("target", nargs="?", help="for off and on; default: all")
    add_fault_options(command("fault", "add, list or clear faults of the services"))
    gpu = command("gpu", "choose the card that a target's nvidia-smi reports")
    gpu.add_argument("target")
    gpu.add_argument("card", choices=GPUS)
    return result


def add_fault_options(fault: argparse.ArgumentParser) -> None:
    """Options are the fields of lab.servers.faults.Fault; what is not given keeps its default there."""
    fault.add_argument("action", choices=["add", "list", "clear"])
    group = fault.add_argument_group("options of add", description="see lab/servers/faults.py for what each kind does")
    group.add_argument("--kind", choices=faults.KINDS)
    for name in ("host", "path", "method"):
        group.add_argument(f"--{name}", help="a glob; default: all")
    for name in ("skip", "times", "after", "rate", "count", "status"):
        group.add_argument(f"--{name}", type=int)
    group.add_argument("--seconds", type=float)
    group.add_argument("--body")
    group.add_argument("--header", action="append", metavar="NAME[:VALUE]", help="without a value: remove the header")
    group.add_argument("--ranged", action=argparse.BooleanOptionalAction)
    group.add_argument("--reset", action="store_true", default=None)


def run_fault_command(options: argparse.Namespace, backend: Containers | Processes) -> None:
    """Carry out ``fault ACTION``; prints the faults as JSON, each with the service that has it."""
    if options.action == "add":
        if not options.kind:
            raise LabError("a fault needs --kind")
        fields = {item.name: getattr(options, item.name, None) for item in dataclasses.fields(faults.Fault)}
        value = {name: item for name, item in fields.items() if item is not None}
        if options.header:
            split = (text.partition(":") for text in options.header)
            value["headers"] = {name.strip(): item.strip() if colon else None for name, colon, item in split}
        glob = options.host or "*"
        services = [name for name, hosts in backend.services.items() if any(fnmatchcase(host, glob) for host in hosts)]
        if not services:
            known = ", ".join(sorted(host for hosts in backend.services.values() for host in hosts))
            raise LabError(f"no service has a host {glob}; there are {known}")
        answers = [backend.control(service, "POST", value) for service in services]
        for answer in answers:
            if "error" in answer:
                raise LabError(answer["error"])
        result = [{"service": service, **answer} for service, answer in zip(services, answers, strict=True)]
    else:
        method = "DELETE" if options.action == "clear" else "GET"
        result = [{"service": name, **item} for name in backend.services for item in backend.control(name, method)]
    print(json.dumps(result, indent=1))


def run_command(options: argparse.Namespace) -> int:
    lab = Lab(options.name)
    if options.command in ("up", "image"):
        lab.dir.mkdir(parents=True, exist_ok=True)  # from now on `down` of another lab leaves the engine running
    if options.command == "image":
        with contextlib.suppress(LabError):  # `up` meets the same one and says it, or does without containers
            make_image(lab, options.mode)
    elif options.command == "up":
        choose_backend(lab, options.mode).up(options.targets, options.target_python)
        report(f"the lab {lab.name!r} is up ({lab.state['mode']}): " + ", ".join(lab.state["hosts"]))
    elif options.command == "down":
        if lab.state:
            choose_backend(lab).down()
            lab_state.close_ssh_connections(lab)
            lab.remove_files()
            report(f"the lab {lab.name!r} is gone")
        else:
            engine.PrivateDaemon().stop_if_last(lab.dir)  # an `up` that ended while the engine was starting
            lab.remove_files()
    else:
        lab.require_state()
        backend = choose_backend(lab)
        if options.command == "status":
            print(backend.status())
        elif options.command == "logs":
            print(lab.dir / "log")
        elif options.command == "exec":
            return backend.execute(options.target, options.arguments)
        elif options.command == "restart":
            if options.when:
                wait = ["timeout", "300", "bash", "-c", f"until {options.when}; do sleep 0.2; done"]
                if backend.execute(options.target, wait):
                    raise LabError(f"{options.when!r} did not succeed on {options.target}")
            backend.restart(options.target, options.off)
        elif options.command == "recreate":
            backend.recreate(options.target)
        elif options.command == "gateway" and options.action == "stats":
            print(json.dumps(backend.gateway_stats(options.reset)))
        elif options.command == "gateway":
            backend.gateway(options.action, options.rate)
        elif options.command == "turbo":
            backend.turbo(options.action, [options.target] if options.target else list(lab.state["hosts"]))
        elif options.command == "fault":
            run_fault_command(options, backend)
        elif options.command == "gpu":
            backend.gpu(options.target, options.card)
    return 0


def main() -> None:
    argv = sys.argv[1:]
    separator = argv.index("--") if "--" in argv else len(argv)  # the rest belongs to the target, dashes included
    options = build_parser().parse_args(argv[:separator])
    if options.command == "exec":
        options.arguments += argv[separator + 1 :]
    try:
        sys.exit(run_command(options))
    except LabError as exc:
        sys.exit(f"lab: {exc}")
