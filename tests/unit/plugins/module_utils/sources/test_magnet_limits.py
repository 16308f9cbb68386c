"""A torrent larger than the disk."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.sources import magnet
from ansible_collections.sdops.webui.plugins.module_utils.transfer import disk_space


def test_a_torrent_stops_at_the_reserve_of_the_disk_and_leaves_nothing(tmp_path, monkeypatch):
    """A fake of aria2 that writes without end, on a disk that seems to be small."""
    program = tmp_path / "bin" / "aria2c"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile :; do head -c 1000000 /dev/zero; sleep 0.01; done >"$2/t.bin"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    work = tmp_path / "magnet" / "x"

    def free(path):
        return disk_space.DISK_RESERVE + 5_000_000 - magnet.count_downloaded_bytes(str(work))

    monkeypatch.setattr(disk_space, "free_bytes", free)
    torrent = tmp_path / "t.torrent"
    torrent.write_bytes(b"d4:infod6:lengthi9e4:name5:t.binee")
    remote = magnet.RemoteFile("magnet:?xt=urn:btih:00&tr=secret", "t.bin")
    with pytest.raises(magnet.MagnetError, match=f"The disk of {work.parent} .*removed. Free space"):
        magnet.download_torrent_file(remote, str(torrent), (None, "t.bin"), str(work), lambda count: None)
    assert list(work.parent.iterdir()) == []
