"""Runs the gateway: Xray alone, or behind a proxy that lets only so many bytes pass in a second (Xray has no limit of its own)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from .gateway import parse_address


class RateLimiter:
    """One direction's bytes per second, for all connections together."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.chunk_size = max(512, min(1 << 16, rate // 10))
        self._free_at = 0.0

    async def wait_for(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + count / self.rate
        await asyncio.sleep(self._free_at - now)


class ThrottlingProxy:
    """Connections to ``to`` with a rate limit in each direction."""

    def __init__(self, to: str, rate: int) -> None:
        self._to = parse_address(to)
        self._up, self._down = RateLimiter(rate), RateLimiter(rate)

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upstream, upstream_writer = await asyncio.open_connection(*self._to)
            try:
                await asyncio.gather(_copy(reader, upstream_writer, self._up), _copy(upstream, writer, self._down))
            finally:
                upstream_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limiter: RateLimiter) -> None:
    while data := await reader.read(limiter.chunk_size):
        await limiter.wait_for(len(data))
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def run(work: Path, program: str) -> int:
    """Until SIGTERM, or until Xray ends; its exit status. In all conditions but slow this process becomes Xray."""
    config = json.loads((work / "gateway-run.json").read_text(encoding="utf-8"))
    argv = [program, "run", "-c", str(work / "gateway-config.json")]
    if config["condition"] != "slow":
        os.execv(program, argv)
    return asyncio.run(_run_throttled(argv, config))


async def _run_throttled(argv: list[str], config: dict) -> int:
    loop = asyncio.get_running_loop()
    host, port = parse_address(config["listen"])
    with subprocess.Popen(argv) as core:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, core.terminate)
        try:
            server = await asyncio.start_server(ThrottlingProxy(config["to"], config["rate"]).client, host, port)
            async with server:
                while core.poll() is None:
                    await asyncio.sleep(0.1)
        finally:
            core.terminate()
        return core.wait()
