"""The gateway's side of VLESS+REALITY: keys made once, the server's config, and what a client must know."""

from __future__ import annotations

import json
import secrets
import uuid
from pathlib import Path
from typing import Any

from ..xray.launcher import key_pair
from .build import write_atomic
from .hosts import WWW


def keys(file: Path) -> dict[str, str]:
    """{private_key, public_key, short_id, uuid} from ``file`` (0600), made if it is not there."""
    if not file.exists():
        private, public = key_pair()
        made = {
            "private_key": private,
            "public_key": public,
            "short_id": secrets.token_hex(8),
            "uuid": str(uuid.uuid4()),
        }
        write_atomic(file, json.dumps(made, indent=1).encode(), 0o600)
    result: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return result


def split(address: str) -> tuple[str, int]:
    """("host", port) of "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not of the form HOST:PORT.")
    return host, int(port)


def server_config(
    made: dict[str, str], listen: str, dest: str, redirect: str | None = None, access_log: str = ""
) -> dict[str, Any]:
    """The server's config. ``dest``: where strangers (and REALITY's handshake) are sent, a TLS 1.3 server.

    ``redirect``: all traffic goes to this HOST:PORT instead of where it was addressed to. ``access_log`` is a path as the
    gateway sees it, or "" for its output.
    """
    host, port = split(listen)
    # from 26.5.3 on the core does not let clients reach private addresses unless it is told to
    freedom: dict[str, Any] = {"finalRules": [{"action": "allow"}]}
    if redirect:
        split(redirect)
        freedom["redirect"] = redirect
    split(dest)
    return {
        "log": {"loglevel": "warning", "access": access_log},
        "inbounds": [
            {
                "tag": "reality",
                "listen": host,
                "port": port,
                "protocol": "vless",
                "settings": {
                    "clients": [{"id": made["uuid"], "flow": "xtls-rprx-vision", "email": "client@lab.test"}],
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
                    },
                },
            }
        ],
        "outbounds": [{"tag": "out", "protocol": "freedom", "settings": freedom}],
    }


def client_part(made: dict[str, str], listen: str) -> dict[str, Any]:
    """What a client has to know: {address, port, uuid, public_key, short_id, server_name}."""
    host, port = split(listen)
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


def write(
    work: Path, listen: str, dest: str, redirect: str | None, access_log: str | None, public: str | None = None
) -> dict[str, Any]:
    """work/gateway.json (keys) and work/gateway-config.json (for ``xray run -c``), both 0600; returns {"config", "client"}.

    ``public``: the HOST:PORT that clients use, when it is not ``listen`` (a container's name, for instance).
    """
    made = keys(work / "gateway.json")
    log = access_log if access_log is not None else str((work / "log" / "gateway-access.log").resolve())
    if access_log is None:
        (work / "log").mkdir(parents=True, exist_ok=True)
    config = work / "gateway-config.json"
    text = json.dumps(server_config(made, listen, dest, redirect, log), indent=1)
    write_atomic(config, text.encode(), 0o600)
    return {"config": str(config), "access_log": log, "client": client_part(made, public or listen)}
