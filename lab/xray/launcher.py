#!/usr/bin/env python3
# LAB FAKE: not the xray program of XTLS/Xray-core, but a launcher around a real core.
# The core is the extension module of the PyPI wheel xray-core, in core/ next to this file. For the sdops.webui lab only.
#
# Copyright (c) 2026, the sdops.webui authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of xray that the collection and its lab use: version, run [-test] -c FILE, x25519 [-i KEY], uuid, api statsquery."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import uuid

UPSTREAM_VERSION = "26.10.10"
WHEEL_VERSION = "1.8.26.13"
HERE = os.path.dirname(os.path.realpath(__file__))
CORE = os.path.join(HERE, "core")
PYTHON = ".".join(map(str, sys.version_info[:2]))
TEST_SECONDS = 1.0
BAD_CONFIG = 23


def load_core():
    """The module with the real core. Under a Python it was not built for, the right one takes over, if it is there."""
    if os.path.isdir(CORE):
        sys.path.insert(0, CORE)
    # the original looks for geosite.dat and geoip.dat next to itself; here that would be next to Python. The core sees only the
    # environment that the process was started with.
    if "XRAY_LOCATION_ASSET" not in os.environ:
        os.environ["XRAY_LOCATION_ASSET"] = HERE
        os.execv(sys.executable, [sys.executable, os.path.realpath(__file__), *sys.argv[1:]])
    try:
        import xray
    except ImportError as exc:
        core_versions = sorted(
            part.split(".")[1][len("cpython-") :].split("-")[0]
            for _, _, names in os.walk(CORE)
            for part in names
            if part.startswith("xray.cpython-")
        )
        for version in core_versions:
            program = f"python{version[0]}.{version[1:]}"
            if version != PYTHON.replace(".", "") and not os.environ.get("LAB_XRAY_PYTHON"):
                try:
                    os.environ["LAB_XRAY_PYTHON"] = program
                    os.execvp(program, [program, os.path.realpath(__file__), *sys.argv[1:]])
                except OSError:
                    pass
        raise SystemExit(
            f"lab xray: no core for Python {PYTHON} ({exc}); there is one for: {', '.join(core_versions) or 'none'}"
        ) from exc
    return xray


def version_text():
    return (
        f"Xray {UPSTREAM_VERSION} (lab fake: a launcher around the real core of xray-core {WHEEL_VERSION}) "
        f"0000000 (python{PYTHON} {sys.platform}/{os.uname().machine})\n"
        "A unified platform for anti-censorship."
    )


def read_config(name):
    """(text, parsed) of a config; // and # comments and trailing text are left to the core, so parsed may be None."""
    if name in ("stdin:", "-"):
        text = sys.stdin.read()
    else:
        with open(name, encoding="utf-8") as handle:
            text = handle.read()
    try:
        return text, json.loads(text)
    except ValueError:
        parsed = json.loads(without_comments(text))
        return json.dumps(parsed), parsed


def without_comments(text):
    """JSON without // and /* */ comments outside of strings."""
    out, index, quoted = [], 0, False
    while index < len(text):
        pair = text[index : index + 2]
        if quoted:
            out.append(text[index])
            if pair[0] == "\\":
                out.append(text[index + 1 : index + 2])
                index += 1
            quoted = pair[0] != '"'
        elif pair == "//":
            end = text.find("\n", index)
            index = (len(text) if end < 0 else end) - 1
        elif pair == "/*":
            end = text.find("*/", index + 2)
            index = (len(text) if end < 0 else end + 2) - 1
        else:
            out.append(text[index])
            quoted = text[index] == '"'
        index += 1
    return "".join(out)


def free_port():
    """A TCP port that nothing has, of those that the kernel gives to no connection: one could take it before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    candidates = [port for port in range(10000, 65536) if not first <= port <= last] or range(10000, 65536)
    while True:
        port = random.choice(candidates)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def relocate_listeners(config):
    """The config with every listener on a free loopback port and no log files: it can run at the same time as the one in use."""
    config = json.loads(json.dumps(config))
    inbounds = config.get("inbounds")
    for inbound in inbounds if isinstance(inbounds, list) else []:
        if isinstance(inbound, dict):
            if not 0 < port_of(inbound.get("port")) < 65536:
                raise ValueError(
                    "infra/conf: invalid port in inbound %s" % (inbound.get("tag") or inbounds.index(inbound))
                )
            inbound["listen"], inbound["port"] = "127.0.0.1", free_port()
    for name in ("api", "metrics"):
        if isinstance(config.get(name), dict) and config[name].get("listen"):
            config[name]["listen"] = f"127.0.0.1:{free_port()}"
    log = dict(config.get("log") or {})
    log.update(access="none", error="")
    config["log"] = log
    return config


def port_of(value):
    """The first port of an inbound's port: a number, "443", "1000-2000" or "env:NAME"."""
    text = str(value)
    if text.startswith("env:"):
        text = os.environ.get(text[4:], "")
    try:
        return int(text.replace(",", "-").split("-")[0])
    except ValueError:
        return 0


def report_failure(reason):
    print(f"Failed to start: main: failed to load config files: {reason}")
    return BAD_CONFIG


def run(arguments):
    """``run -c FILE`` becomes the core; ``run -test -c FILE`` starts it for a moment on other ports."""
    name, test, rest = None, False, list(arguments)
    while rest:
        option = rest.pop(0)
        flag, equals, value = option.partition("=")
        flag = "-" + flag.lstrip("-")
        if flag in ("-c", "-config"):
            if not equals and not rest:
                return usage(f"{option} needs a file")
            name = value if equals else rest.pop(0)
        elif flag == "-test":
            test = True
        elif flag == "-format":
            value or rest.pop(0)
        else:
            return usage(f"this lab launcher does not know {option}")
    name = name or os.path.join(HERE, "config.json")
    core = load_core()
    print(version_text())
    print("{} Using config from {}".format(time.strftime("%Y/%m/%d %H:%M:%S"), name), flush=True)
    try:
        text, config = read_config(name)
        if not isinstance(config, dict):
            raise ValueError("the config is no JSON object")
        if test:
            return test_config(relocate_listeners(config))
        if not config.get("inbounds"):
            raise ValueError("the config has no inbounds")
    except OSError as exc:
        return report_failure(f"[{name}] > open {name}: {(exc.strerror or str(exc)).lower()}")
    except ValueError as exc:
        return report_failure(f"[{name}] > {exc}")
    core.startFromJSON(text)  # until a signal; the core ends the process itself, with 23 for a config it refuses
    return 0


def test_config(config):
    """Start the core with ``config`` in a child: alive after a second is a good config."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path[:0] = sys.argv[1:]; import xray; xray.startFromJSON(sys.stdin.read())",
            CORE,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        child.stdin.write(json.dumps(config).encode())
        child.stdin.close()
        wait_loaded(child)
        child.wait(TEST_SECONDS)
    except subprocess.TimeoutExpired:
        print("Configuration OK.")
        return 0
    except BrokenPipeError:
        child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    output = child.stdout.read().decode("utf-8", "replace").strip().splitlines()
    return report_failure(
        output[-1] if output else f"the core refused the config and gave no reason (exit {child.returncode})"
    )


def wait_loaded(child):
    """Until the child has the core in memory (40 MB, slow on a cold disk), has ended, or half a minute has gone."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/maps", encoding="utf-8", errors="replace") as maps:
                if "xray.cpython" in maps.read():
                    return
        except OSError:
            return
        time.sleep(0.05)


# --- keys (RFC 7748, in plain Python: there is no cryptography library where this runs)
PRIME = 2**255 - 19


def x25519(private, point=b"\x09" + bytes(31)):
    """The X25519 function: 32 bytes scalar, 32 bytes u coordinate."""
    scalar = int.from_bytes(private, "little") & ~7 & ((1 << 255) - 1) | (1 << 254)
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for bit in range(254, -1, -1):
        now = scalar >> bit & 1
        if swap ^ now:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = now
        a, b, c, d = (x2 + z2) % PRIME, (x2 - z2) % PRIME, (x3 + z3) % PRIME, (x3 - z3) % PRIME
        da, cb, aa, bb = d * a % PRIME, c * b % PRIME, a * a % PRIME, b * b % PRIME
        x3, z3 = pow(da + cb, 2, PRIME), x1 * pow(da - cb, 2, PRIME) % PRIME
        e = (aa - bb) % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def clamp(private):
    number = int.from_bytes(private, "little") & ~7 & ((1 << 255) - 1) | (1 << 254)
    return number.to_bytes(32, "little")


def encode_base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_pair(private=None):
    """(private, public) in base64url without padding, as REALITY expects them."""
    private = clamp(private or secrets.token_bytes(32))
    return encode_base64url(private), encode_base64url(x25519(private))


def keys(arguments):
    private = None
    if arguments[:1] == ["-i"] and len(arguments) == 2:
        try:
            private = base64.urlsafe_b64decode(arguments[1] + "=" * (-len(arguments[1]) % 4))
        except ValueError:
            private = b""
        if len(private) != 32:
            print("Invalid length of X25519 private key.")
            return 1
    secret, public = key_pair(private)
    print(f"PrivateKey: {secret}\nPassword (PublicKey): {public}")
    return 0


def api(arguments):
    """``api statsquery``: the counters of a running core with an API inbound, as JSON."""
    if arguments[:1] != ["statsquery"]:
        return usage("of api there is statsquery only")
    options, rest = {"server": "127.0.0.1:8080", "pattern": "", "timeout": "3", "reset": "false"}, arguments[1:]
    short = {"s": "server", "t": "timeout"}
    while rest:
        option = rest.pop(0)
        name, equals, value = option.lstrip("-").partition("=")
        name = short.get(name, name)
        if name not in options or not option.startswith("-"):
            return usage(f"api statsquery does not know {option}")
        if not equals:
            if name != "reset" and not rest:
                return usage(f"{option} needs a value")
            value = "true" if name == "reset" else rest.pop(0)
        options[name] = value
    answer = load_core().queryStats(
        options["server"], int(options["timeout"]), options["pattern"], options["reset"] == "true"
    )
    try:
        json.loads(answer)
    except ValueError:
        print("{}: {}".format(answer.strip() or "no answer", options["server"]), file=sys.stderr)
        return 1
    print(answer.strip())
    return 0


def usage(problem=None):
    if problem:
        print(f"lab xray: {problem}", file=sys.stderr)
    print(
        "usage: xray version | run [-test] -c FILE | x25519 [-i KEY] | uuid | "
        "api statsquery [--server=ADDR] [--pattern=TEXT] [-reset] (lab fake around a real core)",
        file=sys.stderr,
    )
    return 2


def main(arguments):
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "version" or command in ("-version", "--version"):
        load_core()
        print(version_text())
        return 0
    if command == "run":
        return run(rest)
    if command == "x25519":
        return keys(rest)
    if command == "uuid":
        print(uuid.uuid4())
        return 0
    if command == "api":
        return api(rest)
    return usage(None if command in ("", "help", "-h", "--help") else f"no command {command}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
