"""Downloads side by side on loopback: this collection's engine, aria2c, curl and ansible.builtin.get_url.

    make bench            # or: python tests/bench/download [--gib 2] [--rounds 3] [--dir DIR] [plain tls throttled rerun]

Every contender ends with a verified SHA-256: ours and get_url verify themselves, aria2c and curl are followed by sha256sum.
Wall and CPU seconds and peak memory are those of the contender's processes, modules included whole (a Python process with
JSON arguments, as Ansible runs it on a target). nginx serves; ``throttled`` allows 20 MB/s for each connection (nginx counts
whole seconds, so each request begins with up to a second's worth at once: who sends many may beat the limit). ``rerun`` is
a second run over 20 recorded models of 1 GB (sparse): ours trusts its record, the others must hash to know. Medians of the
rounds; the last lines are one JSON object for each case. Nothing here is a test: no number fails it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COLLECTIONS = ROOT / ".work" / "collections"
RATE = 20_000_000  # bytes per second and connection when throttled
MANY = 16  # connections of aria2c, and of ours when throttled
NEEDED = {"nginx": "nginx-light", "aria2c": "aria2", "curl": "curl", "openssl": "openssl"}
NGINX = """
daemon off; master_process off; pid {d}/nginx.pid; error_log {d}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; etag on;
  client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;
  server {{ listen 127.0.0.1:{plain}; root {d}/www; }}
  server {{ listen 127.0.0.1:{throttled}; root {d}/www; limit_rate {rate}k; }}
  server {{ listen 127.0.0.1:{tls} ssl; root {d}/www; ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem; }}
}}
"""


class Used:
    """Wall and CPU seconds, peak memory in MB of some processes one after the other."""

    def __init__(self) -> None:
        self.wall = self.cpu = self.peak = 0.0

    def run(self, argv: list[str], text_in: str | None = None, env: dict[str, str] | None = None) -> str:
        with tempfile.TemporaryFile("w+") as out:
            started = time.monotonic()
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=out, env={**os.environ, **(env or {})}, text=True
            )
            assert process.stdin is not None
            process.stdin.write(text_in or "")
            process.stdin.close()
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.wall += time.monotonic() - started
            self.cpu += usage.ru_utime + usage.ru_stime
            self.peak = max(self.peak, usage.ru_maxrss / 1024)
            out.seek(0)
            output = out.read()
        if process.returncode:
            raise SystemExit(f"{argv[0]} failed ({process.returncode}): {output}")
        return output


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def model(size: int) -> bytes:
    """The header of a safetensors file of ``size`` bytes with one tensor."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}).encode()
    length = len(head) + 32
    head = json.dumps({"w": {"dtype": "U8", "shape": [size - 8 - length], "data_offsets": [0, size - 8 - length]}})
    return struct.pack("<Q", length) + head.encode().ljust(length)


def write_model(path: Path, size: int) -> str:
    """A model of noise; its SHA-256."""
    head = model(size)
    digest = hashlib.sha256(head)
    with path.open("wb") as handle:
        handle.write(head)
        left = size - len(head)
        while left:
            data = os.urandom(min(left, 1 << 20))
            handle.write(data)
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


class Bench:
    def __init__(self, directory: Path, gib: float, rounds: int) -> None:
        self.dir = directory
        self.rounds = rounds
        self.out = directory / "out"
        self.ports = {name: free_port() for name in ("plain", "tls", "throttled")}
        (directory / "www").mkdir()
        self.size = int(gib * (1 << 30))
        self.sha256 = write_model(directory / "www" / "m.safetensors", self.size)
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
        subprocess.run(["openssl", "req", "-x509", *key, *files, *subject], check=True, stderr=subprocess.DEVNULL)
        conf = directory / "nginx.conf"
        conf.write_text(NGINX.format(d=directory, rate=RATE // 1024, **self.ports))
        self.nginx = subprocess.Popen(["nginx", "-c", str(conf)], stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.ports["plain"])) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("nginx does not listen")

    def close(self) -> None:
        self.nginx.send_signal(signal.SIGTERM)
        self.nginx.wait()

    def url(self, case: str, name: str = "m.safetensors") -> str:
        return f"http{'s' if case == 'tls' else ''}://127.0.0.1:{self.ports[case]}/{name}"

    # --- the contenders

    def module(self, used: Used, name: str, arguments: dict) -> dict:
        output = used.run(
            [sys.executable, "-m", name],
            json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            {"PYTHONPATH": str(COLLECTIONS), "SSL_CERT_FILE": str(self.dir / "cert.pem")},
        )
        result = json.loads(output)
        if result.get("failed"):
            raise SystemExit(f"{name}: {result['msg']}")
        return result

    def ours(self, used: Used, case: str) -> str:
        spec = {"source": self.url(case), "kind": "checkpoint", "sha256": self.sha256}
        arguments = {"webui_dir": str(self.out), "models": [spec], "ca_path": str(self.dir / "cert.pem")}
        if case == "throttled":
            arguments["connections"] = MANY
        result = self.module(used, "ansible_collections.sdops.webui.plugins.modules.model_files", arguments)
        return result["models"][0]["path"]

    def aria2(self, used: Used, case: str) -> str:
        path = self.out / "m.safetensors"
        options = [f"-x{MANY}", f"-s{MANY}", "-k1M", "-q", "--no-conf", "--file-allocation=none"]
        ca = f"--ca-certificate={self.dir}/cert.pem"
        used.run(["aria2c", *options, ca, "-d", str(self.out), "-o", path.name, self.url(case)])
        used.run(["sha256sum", str(path)])
        return str(path)

    def curl(self, used: Used, case: str) -> str:
        path = str(self.out / "m.safetensors")
        used.run(["curl", "-sSf", "--cacert", str(self.dir / "cert.pem"), "-o", path, self.url(case)])
        used.run(["sha256sum", path])
        return path

    def get_url(self, used: Used, case: str) -> str:
        path = str(self.out / "m.safetensors")
        arguments = {"url": self.url(case), "dest": path, "checksum": f"sha256:{self.sha256}", "timeout": 60}
        arguments.update(tmp_dest=str(self.out), use_proxy=False)
        self.module(used, "ansible.modules.get_url", arguments)
        return path

    # --- the cases

    def download(self, case: str) -> dict:
        rounds = 1 if case == "throttled" else self.rounds
        found: dict[str, list[Used]] = {name: [] for name in ("ours", "aria2", "curl", "get_url")}
        verified = True
        for _ in range(rounds):
            for name, seen in found.items():  # in turns: what disturbs the machine disturbs all
                shutil.rmtree(self.out, ignore_errors=True)
                self.out.mkdir()
                used = Used()
                path = getattr(self, name)(used, case)
                with open(path, "rb") as handle:
                    verified &= hashlib.file_digest(handle, "sha256").hexdigest() == self.sha256
                seen.append(used)
                print(f"  {case:9} {name:8} {used.wall:7.2f} s  cpu {used.cpu:6.2f} s  {used.peak:4.0f} MB", flush=True)
        shutil.rmtree(self.out, ignore_errors=True)
        extra = {"limit_s": round(self.size / (RATE // 1024 * 1024 * MANY), 2)} if case == "throttled" else {}
        return self.summary(case, found, verified, extra)

    def rerun(self) -> dict:
        """20 models lie there by hand and are adopted (hashed once); then everything is asked for again."""
        folder = self.out / "models" / "Stable-diffusion"
        folder.mkdir(parents=True)
        size = 1_000_000_000
        first = folder / "m00.safetensors"
        first.write_bytes(model(size))
        os.truncate(first, size)
        with first.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        specs = []
        for number in range(20):
            name = f"m{number:02}.safetensors"
            if number:
                (folder / name).write_bytes(model(size))
                os.truncate(folder / name, size)
            os.link(folder / name, self.dir / "www" / name)
            source = self.url("plain", name)
            specs.append({"source": source, "kind": "checkpoint", "sha256": digest})
        arguments = {"webui_dir": str(self.out), "models": specs}
        module = "ansible_collections.sdops.webui.plugins.modules.model_files"
        adopted = self.module(Used(), module, arguments)
        assert {m["status"] for m in adopted["models"]} == {"adopted"}
        found: dict[str, list[Used]] = {name: [] for name in ("ours", "aria2", "curl", "get_url")}
        verified = True
        used = Used()
        result = self.module(used, module, arguments)
        verified &= not result["changed"] and {m["sha256"] for m in result["models"]} == {digest}
        found["ours"].append(used)
        hashing = Used()
        hashing.run(["sha256sum", *(str(p) for p in sorted(folder.iterdir()))])
        found["aria2"].append(hashing)
        found["curl"].append(hashing)
        used = Used()
        for spec in specs:
            dest = str(folder / spec["source"].rsplit("/", 1)[1])
            got = {"url": spec["source"], "dest": dest, "checksum": f"sha256:{digest}", "use_proxy": False}
            self.module(used, "ansible.modules.get_url", got)
        found["get_url"].append(used)
        for name, (used,) in found.items():
            print(f"  rerun     {name:8} {used.wall:7.2f} s  cpu {used.cpu:6.2f} s  {used.peak:4.0f} MB", flush=True)
        shutil.rmtree(self.out)
        return self.summary("rerun", found, verified, {})

    @staticmethod
    def summary(case: str, found: dict[str, list[Used]], verified: bool, extra: dict) -> dict:
        wall = {name: statistics.median(used.wall for used in seen) for name, seen in found.items()}
        cpu = {name: statistics.median(used.cpu for used in seen) for name, seen in found.items()}
        peak = {name: max(used.peak for used in seen) for name, seen in found.items()}
        for what, of in (("wall", wall), ("cpu", cpu), ("peak memory", peak)):
            ratios = ", ".join(f"{of[name] / of['ours']:.2f}x {name}" for name in of if name != "ours")
            limit = f"; limit {extra['limit_s']} s" if extra and what == "wall" else ""
            print(f"  {case:9} {what}, the others' by ours: {ratios}{limit}", flush=True)
        return {
            "case": case,
            **{f"{name}_s": round(seconds, 2) for name, seconds in wall.items()},
            "ours_cpu_s": round(cpu["ours"], 2),
            "ours_peak_mb": round(peak["ours"]),
            "verified": verified,
            **extra,
        }


def main() -> None:
    cases = ("plain", "tls", "throttled", "rerun")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2, help="size of the file (2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of plain and tls (3)")
    parser.add_argument(
        "--dir", help="where to work; memory (/dev/shm) when it has the room, else the temporary directory"
    )
    parser.add_argument("cases", nargs="*", help="plain, tls, throttled, rerun (all)")
    options = parser.parse_args()
    missing = [package for program, package in NEEDED.items() if not shutil.which(program)]
    if missing:
        raise SystemExit(f"Programs are missing: apt-get install {' '.join(missing)}")
    place = options.dir
    shm = Path("/dev/shm")
    if place is None and shm.is_dir() and shutil.disk_usage(shm).free > (3 * options.gib + 1) * (1 << 30):
        place = str(shm)
    print(
        f"{os.cpu_count()} cores, {options.gib:g} GiB, in {'memory' if place == str(shm) else place or 'the disk'}; nginx serves"
    )
    with tempfile.TemporaryDirectory(prefix="sdops-bench-", dir=place) as directory:
        os.chmod(directory, 0o755)
        bench = Bench(Path(directory), options.gib, options.rounds)
        try:
            results = [bench.rerun() if case == "rerun" else bench.download(case) for case in options.cases or cases]
        finally:
            bench.close()
    for result in results:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
