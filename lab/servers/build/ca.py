"""The lab's certificate authority and the one certificate that all lab hosts share."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import Builder, fingerprint, write_atomic

DNS_NAMES = (
    "lab.test", "*.lab.test", "*.huggingface.lab.test", "*.civitai.lab.test", "localhost",
)  # fmt: skip
YEARS = 10


def build(builder: Builder) -> dict[str, Any]:
    """work/ca/{ca.pem,ca.key,server.pem,server.key}; keys are 0600. Made once: targets trust it for as long as they live."""
    folder = builder.work / "ca"
    paths = {name: folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key")}

    def make() -> dict[str, Any]:
        _make(paths)
        return {
            "ca": str(paths["ca.pem"]),
            "cert": str(paths["server.pem"]),
            "key": str(paths["server.key"]),
            "names": [*DNS_NAMES, "127.0.0.1"],
        }

    return builder.part("ca", fingerprint(DNS_NAMES, str(folder)), paths.values(), make)


def _make(paths: dict[str, Path]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    start = datetime.now(UTC) - timedelta(days=1)
    end = start + timedelta(days=365 * YEARS)

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sdops.webui lab (fake)"),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    def usage(**on: bool) -> x509.KeyUsage:
        kinds = (
            "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
            "encipher_only decipher_only"
        )
        return x509.KeyUsage(**{kind: on.get(kind, False) for kind in kinds.split()})

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder()
        .subject_name(name("sdops.webui lab CA"))
        .issuer_name(name("sdops.webui lab CA"))
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName(item) for item in DNS_NAMES]
    server = (
        x509.CertificateBuilder()
        .subject_name(name("lab.test"))
        .issuer_name(ca.subject)
        .public_key(server_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(server_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    paths["ca.pem"].parent.mkdir(parents=True, exist_ok=True)
    os.chmod(paths["ca.pem"].parent, 0o755)
    public = serialization.Encoding.PEM
    write_atomic(paths["ca.key"], pem(ca_key), 0o600)
    write_atomic(paths["server.key"], pem(server_key), 0o600)
    write_atomic(paths["server.pem"], server.public_bytes(public) + ca.public_bytes(public))
    write_atomic(paths["ca.pem"], ca.public_bytes(public))
