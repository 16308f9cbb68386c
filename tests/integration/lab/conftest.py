"""One lab in containers for all tests here; the last one in test_lab.py takes it away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.lab_command import NAME, LabCommand, engine_can_be_had, eventually, traces


@pytest.fixture(scope="session")
def before() -> dict[str, Any]:
    LabCommand(NAME, "containers")("down")  # what an interrupted run left is not the state to go back to
    return traces()


@pytest.fixture(scope="session")
def lab(before: dict[str, Any]) -> Iterator[LabCommand]:
    if not engine_can_be_had():
        pytest.skip("neither root nor a container engine: the lab's containers cannot be had here")
    command = LabCommand(NAME, "containers")
    try:
        command("image", "--mode", "containers")
        up = command("up", "--mode", "containers", "--targets", "2").stdout
        assert "making the image" not in up
        yield command
    finally:
        command("down")


@pytest.fixture(scope="session")
def client(lab: LabCommand) -> str:
    """An Xray client on target1, from the lab's release mirror; returns its proxy address."""
    values = lab.variables
    user = {"id": values["xray_proxy_uuid"], "encryption": "none", "flow": "xtls-rprx-vision"}
    server = {"address": values["xray_proxy_server"], "port": values["xray_proxy_port"], "users": [user]}
    reality = {
        "serverName": values["xray_proxy_server_name"],
        "publicKey": values["xray_proxy_public_key"],
        "shortId": values["xray_proxy_short_id"],
        "fingerprint": "chrome",
    }
    config = {
        "inbounds": [{"listen": "127.0.0.1", "port": 18080, "protocol": "http"}],
        "outbounds": [
            {
                "protocol": "vless",
                "settings": {"vnext": [server]},
                "streamSettings": {"network": "tcp", "security": "reality", "realitySettings": reality},
            }
        ],
    }
    archive = f"{values['xray_proxy_release_base']}/v{values['xray_proxy_version']}/Xray-linux-64.zip"
    lab.on(
        "target1",
        f"set -e; mkdir -p /opt/client; cd /opt/client; curl -sSf -o xray.zip {archive}; python3 -m zipfile -e xray.zip .;"
        f" chmod +x xray; echo '{json.dumps(config)}' > client.json;"
        " setsid ./xray run -c client.json > client.log 2>&1 < /dev/null & sleep 0",
    )
    listens = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 18080), 1)'"
    assert eventually(lambda: lab.on("target1", listens, check=False).returncode == 0), lab.on(
        "target1", "cat /opt/client/client.log"
    ).stdout
    return "http://127.0.0.1:18080"
