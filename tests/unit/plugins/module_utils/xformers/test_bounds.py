"""Wheels of a cache that others may fill."""

from __future__ import annotations

import tracemalloc
import zipfile

from ansible_collections.sdops.webui.plugins.module_utils.wheel_cache import identity


def test_metadata_of_256_mib_is_not_read_whole(tmp_path):
    """A deflated description is a thousandth of its size; tracemalloc is the oracle for what is held of it."""
    wheel = tmp_path / "x.whl"
    bundle = zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED)
    with bundle, bundle.open("x-1.dist-info/METADATA", "w") as out:
        out.write(b"Metadata-Version: 2.1\nName: X_formers\nVersion: 1.0\n\n")
        for _ in range(256):
            out.write(bytes(1 << 20))
    assert wheel.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        assert identity(str(wheel)) == ("x-formers", "1.0")
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
