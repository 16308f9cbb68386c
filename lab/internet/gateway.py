"""The REALITY gateway: keys, the server's config, and what a client must know of it."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

SERVER_NAME = "www.lab.test"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def keys(path: Path) -> dict[str, str]:
    """Keys of this lab, made once and kept 0600 in ``path``."""
    if not path.exists():
        private = X25519PrivateKey.generate()
        made = {
            "private_key": _encode(private.private_bytes_raw()),
            "public_key": _encode(private.public_key().public_bytes_raw()),
            "short_id": secrets.token_hex(8),
            "uuid": str(uuid.uuid4()),
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(made))
    result: dict[str, str] = json.loads(path.read_text())
    return result


def server(made: dict[str, str], address: str, port: int, dest: str, redirect: str | None, log: str) -> dict[str, Any]:
    """Config of the gateway. ``dest`` is where strangers are sent; ``redirect`` sends all traffic to one host:port."""
    freedom: dict[str, Any] = {"finalRules": [{"action": "allow"}]}
    if redirect:
        freedom["redirect"] = redirect
    return {
        "log": {"loglevel": "warning", "access": log},
        "inbounds": [
            {
                "listen": address,
                "port": port,
                "protocol": "vless",
                "settings": {"clients": [{"id": made["uuid"], "flow": "xtls-rprx-vision"}], "decryption": "none"},
                "streamSettings": {
                    "network": "tcp",
                    "security": "reality",
                    "realitySettings": {
                        "dest": dest,
                        "xver": 0,
                        "serverNames": [SERVER_NAME],
                        "privateKey": made["private_key"],
                        "shortIds": [made["short_id"]],
                    },
                },
            }
        ],
        "outbounds": [{"protocol": "freedom", "settings": freedom}],
    }


def client(made: dict[str, str], address: str, port: int) -> dict[str, Any]:
    """The role's variables for this gateway."""
    return {
        "xray_proxy_server": address,
        "xray_proxy_port": port,
        "xray_proxy_uuid": made["uuid"],
        "xray_proxy_public_key": made["public_key"],
        "xray_proxy_short_id": made["short_id"],
        "xray_proxy_server_name": SERVER_NAME,
    }
