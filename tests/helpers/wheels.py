"""Tiny real wheels and source archives, virtual environments, and an index over TLS by a CA of its own."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import io
import os
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UV = Path(sys.executable).parent / "uv"


def wheel(directory: Path, name: str, version: str, *requires: str, extras: tuple[str, ...] = (), files=()) -> Path:
    module = name.replace("-", "_")
    info = f"{module}-{version.replace('-', '_')}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {e}" for e in extras] + [f"Requires-Dist: {r}" for r in requires]
    content = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **dict(files),
    }
    record = "".join(
        f"{k},sha256={base64.urlsafe_b64encode(hashlib.sha256(v.encode()).digest()).rstrip(b'=').decode()},{len(v.encode())}\n"
        for k, v in content.items()
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in {**content, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
            archive.writestr(key, value)
    return path


def venv(path: Path) -> Path:
    """An empty virtual environment; its interpreter."""
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, path], check=True)
    return path / "bin" / "python"


def install(python: Path, *arguments: object) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("UV_")}
    command = [UV, "pip", "install", "--quiet", "--offline", "--python", python, *arguments]
    subprocess.run([str(a) for a in command], check=True, env=env)


def certificates(directory: Path) -> tuple[Path, Path]:
    """A CA's certificate, and certificate with key of a server on localhost that it has signed."""

    def signed(subject: str, issuer: str, key, by, *extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(by, hashes.SHA256())

    usage = {"digital_signature": False, "key_cert_sign": True, "crl_sign": True, "content_commitment": False}
    usage |= dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = signed(
        "test CA", "test CA", ca_key, ca_key,
        (x509.BasicConstraints(True, None), True), (x509.KeyUsage(**usage), True),
        (x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False),
    )  # fmt: skip
    leaf = signed(
        "localhost", "test CA", key, ca_key,
        (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False), (x509.BasicConstraints(False, None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    (directory / "server.pem").write_bytes(leaf.public_bytes(pem) + private)
    return directory / "ca.pem", directory / "server.pem"


class FileServer:
    """Serves a directory; ``requests`` is what was asked for. With ``certificate`` over TLS on https://localhost:PORT.

    ``rate``: bytes per second of each answer; 0 for as fast as it goes.
    """

    def __init__(self, root: Path, certificate: Path | None = None, rate: int = 0) -> None:
        outer, self.requests = self, []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *unused: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                if self.path.startswith("http://"):  # we are asked as a proxy
                    self.path = "/" + self.path.split("/", 3)[3]
                super().do_GET()

            def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:
                while block := source.read(rate // 10 or 1 << 20):
                    outputfile.write(block)
                    time.sleep(0.1 if rate else 0)

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True)
        scheme = "https://localhost" if certificate else "http://127.0.0.1"
        self.url = f"{scheme}:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()


def simple_index(root: Path, *wheels: Path) -> None:
    for path in wheels:
        page = root / path.name.split("-")[0].replace("_", "-")
        page.mkdir(parents=True, exist_ok=True)
        (page / path.name).write_bytes(path.read_bytes())
        (page / "index.html").write_text("".join(f'<a href="{f.name}">{f.name}</a>' for f in page.glob("*.whl")))


def sdist(directory: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """A source archive of ``files``."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in {"PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n", **files}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path
