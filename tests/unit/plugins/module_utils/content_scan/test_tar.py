"""tarfile is the oracle: whatever it opens as torch's old loader does (``r:``), or with any compression, is no model of ours."""

from __future__ import annotations

import io
import random
import struct
import tarfile

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.content_scan.torch_files import is_tar

from .conftest import hostile
from .test_torch_files import tar_and_pickle


def opens(raw: bytes, mode: str = "r:") -> bool:
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode=mode) as bundle:
            return bundle.firstmember is not None
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False


def checksum(raw: bytes) -> int:
    return sum(raw[:148]) + 8 * 32 + sum(raw[156:512])


WRITTEN = {
    "with a sign": lambda n: b"+%o" % n,
    "with a prefix": lambda n: b"0o%o" % n,
    "with an underscore": lambda n: (b"%o" % n)[:1] + b"_" + (b"%o" % n)[1:],
    "with space before": lambda n: b"  %o" % n,
    "with tabs": lambda n: b"\t\n%o" % n,
    "base 256": lambda n: b"\x80" + n.to_bytes(7, "big"),
    "base 256, negative": lambda n: b"\xff" + (n - 256**7 if n > 256**7 else n).to_bytes(7, "big", signed=True),
    "full width": lambda n: b"%08o" % n,
}


@pytest.mark.parametrize("form", sorted(WRITTEN))
def test_a_checksum_in_any_form_that_tarfile_reads(form, tmp_path, scan_error):
    raw = bytearray(tar_and_pickle(tmp_path / "mark"))
    raw[148:156] = WRITTEN[form](checksum(raw))[:8].ljust(8, b"\0")
    assert is_tar(bytes(raw[:512])) is opens(bytes(raw))
    if form != "base 256, negative":
        assert opens(bytes(raw)), "tarfile does not read this: the test proves nothing"
        for name in ("x.ckpt", "x", "x.dat"):
            assert "tar" in scan_error(bytes(raw), name), name


def test_signed_checksums(tmp_path, scan_error):
    raw = bytearray(tar_and_pickle(tmp_path / "mark"))
    raw[400:410] = b"\xf0" * 10
    raw[148:156] = b"%06o\0 " % (checksum(raw) - 256 * sum(byte > 127 for byte in raw[:148] + raw[156:512]))
    assert opens(bytes(raw))
    assert "tar" in scan_error(bytes(raw))


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    raw = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        place = chance.choice((chance.randrange(512), chance.randrange(100, 160), 156, chance.randrange(257, 265)))
        raw[place : place + 1] = bytes(
            [chance.choice((0, 32, 43, 45, 48, 55, 56, 95, 111, 128, 255, chance.randrange(256)))]
        )
    if chance.random() < 0.8:
        total = checksum(raw) - (256 * sum(byte > 127 for byte in raw[:148] + raw[156:512])) * chance.randrange(2)
        form = chance.choice(sorted(WRITTEN))
        if total >= 0:
            raw[148:156] = WRITTEN[form](total)[:8].ljust(8, chance.choice((b"\0", b" ")))
    return bytes(raw)


def test_whatever_tarfile_opens_is_rejected(tmp_path, scan_error):
    chance = random.Random(5)
    seeds = [tar_and_pickle(tmp_path / "mark")]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as bundle:
            member = tarfile.TarInfo("ü" * 40)
            bundle.addfile(member)
        seeds.append(out.getvalue())
    opened = 0
    for number in range(6000):
        raw = mutated(chance, seeds)
        if opens(raw):
            opened += 1
            assert is_tar(raw[:512]), raw[:512]
            if number % 20 == 0:
                assert scan_error(raw)
    assert opened > 2000


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars(mode, scan_error):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as bundle:
        member = tarfile.TarInfo("pickle")
        member.size = len(hostile())
        bundle.addfile(member, io.BytesIO(hostile()))
    assert opens(out.getvalue(), "r:*")
    for name in ("x.ckpt", "x.pt", "x.bin", "x.pkl"):
        assert scan_error(out.getvalue(), name)


def test_an_empty_block_first(scan_error):
    assert scan_error(bytes(512) + tar_and_pickle("mark"))
    assert not is_tar(struct.pack("<512x"))
