"""``python -m lab.servers serve|turbo|build|gateway-config|gateway``: see --help of each."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from . import gateway


def stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def serve(arguments: argparse.Namespace) -> int:
    from .server import LabServer

    stop = stop_on_signal()
    with LabServer.from_config(arguments.config) as lab_server:
        listening = [
            {"address": item.address, "port": item.port, "default_host": item.default_host}
            for item in lab_server.listeners
        ]
        print(json.dumps({"fake": "sdops.webui lab servers", "listening": listening}), flush=True)
        stop.wait()
    return 0


def turbo(arguments: argparse.Namespace) -> int:
    from .turbo import TurboProxy

    stop = stop_on_signal()
    with TurboProxy.from_config(arguments.config) as proxy:
        print(json.dumps({"fake": "sdops.webui lab turbo proxy", "listening": proxy.url}), flush=True)
        stop.wait()
    return 0


def build(arguments: argparse.Namespace) -> int:
    from .build import BuildError
    from .build.build_all import build_all

    try:
        summary = build_all(
            Path(arguments.work).resolve(),
            Path(arguments.python_root).resolve() if arguments.python_root else None,
            arguments.interpreter or sys.executable,
            arguments.launcher_shebang,
            arguments.launcher_python,
            Path(arguments.fakes) if arguments.fakes else None,
            arguments.tarball,
        )
    except BuildError as exc:
        print(f"lab.servers build: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(summary, indent=1))
    return 0


def gateway_config(arguments: argparse.Namespace) -> int:
    try:
        written = gateway.write_config(
            Path(arguments.work),
            arguments.listen,
            arguments.dest,
            arguments.redirect,
            arguments.access_log,
            arguments.public,
            arguments.api,
            arguments.condition,
            arguments.rate,
        )
    except ValueError as exc:
        print(f"lab.servers gateway-config: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(written, indent=1))
    return 0


def run_gateway(arguments: argparse.Namespace) -> int:
    from . import throttle

    return throttle.run(Path(arguments.work), arguments.program)


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.servers", description="The internet of the lab (all of it fake).")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="serve all hosts until SIGTERM (standard library and git only)")
    command.add_argument("--config", required=True, help="JSON: root, cert, key, log, faults, settings, listeners")
    command.set_defaults(run=serve)

    command = commands.add_parser("turbo", help="be the turbo proxy until SIGTERM (standard library only)")
    command.add_argument("--config", required=True, help="JSON: address, port, routes, log")
    command.set_defaults(run=turbo)

    command = commands.add_parser("build", help="make certificates and content, print a JSON summary")
    command.add_argument("--work", default=".work/lab")
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--python-root", help="package the Python of this unpacked root filesystem for the conda channel"
    )
    source.add_argument("--interpreter", help="package this interpreter (default: the one running)")
    command.add_argument("--launcher-shebang", default="#!/usr/bin/env python3")
    command.add_argument(
        "--launcher-python", default=".".join(map(str, sys.version_info[:2])), help="X.Y that the Xray core is for"
    )
    command.add_argument("--fakes", help="another tree in the place of lab/fakes")
    command.add_argument("--tarball", action="store_true", help="a Python for hosts without one too")
    command.set_defaults(run=build)

    command = commands.add_parser("gateway-config", help="make the REALITY server's keys and config")
    command.add_argument("--work", default=".work/lab")
    command.add_argument("--listen", required=True, metavar="ADDR:PORT")
    command.add_argument("--dest", required=True, metavar="HOST:PORT", help="the lab server's TLS port")
    command.add_argument("--redirect", metavar="HOST:PORT", help="send all traffic there, whatever name it is for")
    command.add_argument("--public", metavar="HOST:PORT", help="what clients connect to, when it is not --listen")
    command.add_argument("--access-log", help="path as the gateway sees it (default: WORK/log/gateway-access.log)")
    command.add_argument("--api", default=gateway.API, metavar="ADDR:PORT", help="address of the API with its counters")
    command.add_argument("--condition", choices=gateway.CONDITIONS, help="what is wrong with it (default: as it was)")
    command.add_argument("--rate", type=int, default=gateway.RATE, help="bytes per second when it is slow")
    command.set_defaults(run=gateway_config)

    command = commands.add_parser("gateway", help="run the gateway that gateway-config made (standard library only)")
    command.add_argument("--work", required=True)
    command.add_argument("--program", required=True, help="the lab's xray")
    command.set_defaults(run=run_gateway)

    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
