"""The gateway's side of VLESS+REALITY: keys made once, the server's config, and what a client must know.

What may be wrong with it, its condition:

normal      nothing
wrong-key   it has other keys and another short id than the client knows
old-client  it requires a newer client than there is
slow        all that goes through it shares ``rate`` bytes per second in each direction
"""

from __future__ import annotations

import json
import secrets
import uuid
from pathlib import Path
from typing import Any

from ..ports import free_port
from ..xray.launcher import key_pair
from .build import write_atomic
from .hosts import WWW

CONDITIONS = ("normal", "wrong-key", "old-client", "slow")
RATE = 20000
USER = "client@lab.test"
API = "127.0.0.1:10085"


def load_keys(file: Path) -> dict[str, str]:
    """{private_key, public_key, short_id, uuid} from ``file`` (0600), made if it is not there."""
    if not file.exists():
        made = {**new_keys(), "uuid": str(uuid.uuid4())}
        write_atomic(file, json.dumps(made, indent=1).encode(), 0o600)
    result: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return result


def new_keys() -> dict[str, str]:
    private, public = key_pair()
    return {"private_key": private, "public_key": public, "short_id": secrets.token_hex(8)}


def parse_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not of the form HOST:PORT.")
    return host, int(port)


def server_config(
    made: dict[str, str],
    listen: str,
    dest: str,
    redirect: str | None = None,
    access_log: str = "",
    api: str = "",
    min_client: str = "",
) -> dict[str, Any]:
    """The server's config. ``dest``: where unknown clients (and REALITY's handshake) are sent, a TLS 1.3 server.

    ``redirect``: all traffic goes to this HOST:PORT instead of where it was addressed to. ``access_log`` is a path as the
    gateway sees it, or "" for its output. ``api``: address of the API with its counters. ``min_client``: the oldest client
    version that it lets in, "" for the core's own choice.
    """
    host, port = parse_address(listen)
    # from 26.5.3 on the core does not let clients reach private addresses unless a rule says so
    freedom: dict[str, Any] = {"finalRules": [{"action": "allow"}]}
    if redirect:
        parse_address(redirect)
        freedom["redirect"] = redirect
    parse_address(dest)
    counters: dict[str, Any] = {}
    if api:
        parse_address(api)
        counters = {
            "stats": {},
            "policy": {"levels": {"0": {"statsUserUplink": True, "statsUserDownlink": True}}},
            "api": {"tag": "api", "listen": api, "services": ["StatsService"]},
        }
    return {
        **counters,
        "log": {"loglevel": "warning", "access": access_log},
        "inbounds": [
            {
                "tag": "reality",
                "listen": host,
                "port": port,
                "protocol": "vless",
                "settings": {
                    "clients": [{"id": made["uuid"], "flow": "xtls-rprx-vision", "email": USER}],
                    "decryption": "none",
                },
                "streamSettings": {
                    "network": "tcp",
                    "security": "reality",
                    "realitySettings": {
                        "dest": dest,
                        "xver": 0,
                        "serverNames": [WWW],
                        "privateKey": made["private_key"],
                        "shortIds": [made["short_id"]],
                        **({"minClientVer": min_client} if min_client else {}),
                    },
                },
            }
        ],
        "outbounds": [{"tag": "out", "protocol": "freedom", "settings": freedom}],
    }


def client_settings(made: dict[str, str], listen: str) -> dict[str, Any]:
    """What a client has to know: {address, port, uuid, public_key, short_id, server_name}."""
    host, port = parse_address(listen)
    return {
        "address": host,
        "port": port,
        "uuid": made["uuid"],
        "public_key": made["public_key"],
        "short_id": made["short_id"],
        "server_name": WWW,
    }


def client_config(client: dict[str, Any], http_port: int) -> dict[str, Any]:
    """A minimal client with an HTTP inbound on 127.0.0.1: for trying the gateway out."""
    user = {"id": client["uuid"], "encryption": "none", "flow": "xtls-rprx-vision"}
    reality = {
        "serverName": client["server_name"],
        "fingerprint": "chrome",
        "publicKey": client["public_key"],
        "shortId": client["short_id"],
        "spiderX": "/",
    }
    return {
        "log": {"loglevel": "warning"},
        "inbounds": [{"listen": "127.0.0.1", "port": http_port, "protocol": "http"}],
        "outbounds": [
            {
                "protocol": "vless",
                "settings": {"vnext": [{"address": client["address"], "port": client["port"], "users": [user]}]},
                "streamSettings": {"network": "tcp", "security": "reality", "realitySettings": reality},
            }
        ],
    }


def write_config(
    work: Path,
    listen: str,
    dest: str,
    redirect: str | None,
    access_log: str | None,
    public: str | None = None,
    api: str = API,
    condition: str | None = None,
    rate: int = RATE,
) -> dict[str, Any]:
    """Into ``work``: gateway.json (keys), gateway-config.json (for Xray) and gateway-run.json (for ``run``), all 0600.

    ``public``: the HOST:PORT that clients use, when it is not ``listen`` (a container's name, for instance). ``condition``:
    see above; None keeps it as it is. Returns {"config", "access_log", "client", "condition"}.
    """
    made = load_keys(work / "gateway.json")
    log = access_log if access_log is not None else str((work / "log" / "gateway-access.log").resolve())
    if access_log is None:
        (work / "log").mkdir(parents=True, exist_ok=True)
    run_file = work / "gateway-run.json"
    if condition is None:
        previous = json.loads(run_file.read_text(encoding="utf-8")) if run_file.exists() else {}
        condition, rate = previous.get("condition", "normal"), previous.get("rate", rate)
    if condition not in CONDITIONS:
        raise ValueError(f"The gateway can be {', '.join(CONDITIONS)}, not {condition!r}.")
    served = {**made, **new_keys()} if condition == "wrong-key" else made
    inner = f"127.0.0.1:{free_port()}" if condition == "slow" else listen
    newest = "99.0.0" if condition == "old-client" else ""
    config = work / "gateway-config.json"
    text = json.dumps(server_config(served, inner, dest, redirect, log, api, newest), indent=1)
    write_atomic(config, text.encode(), 0o600)
    run = {"condition": condition, "rate": rate, "listen": listen, "to": inner, "api": api}
    write_atomic(run_file, json.dumps(run, indent=1).encode(), 0o600)
    return {
        "config": str(config),
        "access_log": log,
        "client": client_settings(made, public or listen),
        "condition": condition,
    }
