"""``python -m lab.internet --config FILE``: run the lab's server (standard library only)."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path

from .server import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.internet")
    parser.add_argument("--config", required=True, help="{root, cert, key, log, listeners: [{address, port, default_host}]}")
    config = json.loads(Path(parser.parse_args().config).read_text())
    world = World(Path(config["root"]), config["cert"], config["key"], Path(config["log"]))
    for listener in config["listeners"]:
        world.listen(listener["address"], listener["port"], listener.get("default_host"))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    world.close()


main()
