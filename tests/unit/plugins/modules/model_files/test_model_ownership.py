"""Which file on the disk belongs to which wish: names, kinds, sidecars, files without a hash, kills at the last moment."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
from ansible_collections.sdops.webui.plugins.module_utils.transfer.download import Downloader

from lab.servers.build import models
from lab.servers.hosts.big import big_path, big_sha256

CHECKPOINT = "hf://lab-fakes/tiny-sd15/v1-5-pruned-emaonly.safetensors@main"
VAE = "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main"
LORA = "civitai://112969"
NAMED = {"source": CHECKPOINT, "kind": "checkpoint"}


def there(target) -> list[str]:
    found = (p.relative_to(target.webui) for p in target.webui.rglob("*") if p.is_file())
    return sorted(
        str(p).replace("models/", "").replace("Stable-diffusion/", "") for p in found if p.parts[0] != ".sdops"
    )


def apply(target, run_module, *specs, **more):
    found = run_module("model_files", **target.arguments, models=list(specs), **more)
    assert not found["failed"], found.get("msg")
    return found


def make_test_installer(target, **more):
    params = {name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}
    return make_installer({**params, **target.arguments, **more}, str(target.webui), False)


# --- sidecars and names


def test_every_checkpoint_has_its_sidecars_and_a_vae_of_its_own_stays(target, run_module, tmp_path):
    config = tmp_path / "any.yaml"
    config.write_text("model: {}\n")
    sides = {"vae": VAE, "config": f"file://{config}"}
    one, two = {**NAMED, "name": "a.safetensors", **sides}, {**NAMED, "name": "b.safetensors", **sides}
    alone = {"source": VAE, "kind": "vae"}
    apply(target, run_module, alone, one)
    apply(target, run_module, alone, one, two)
    everything = [
        "VAE/vae-ft-mse-840000-ema-pruned.safetensors",
        "a.safetensors", "a.vae.safetensors", "a.yaml",
        "b.safetensors", "b.vae.safetensors", "b.yaml",
    ]  # fmt: skip
    assert there(target) == everything
    assert apply(target, run_module, two, one, alone)["changed"] is False
    target.path("models/Stable-diffusion/b.vae.safetensors").unlink()
    assert apply(target, run_module, alone, one, two)["changed"] is True
    assert there(target) == everything

    planned = apply(target, run_module, one, state="absent", check=True)
    removed = apply(target, run_module, one, state="absent")
    names = ["a.vae.safetensors", "a.yaml", "a.safetensors"]
    for found in (planned, removed):
        assert sorted(m["name"] for m in found["models"] if m["status"] == "removed") == sorted(names)
    assert there(target) == [name for name in everything if not name.startswith("a.")]
    assert apply(target, run_module, alone, state="absent")["changed"] is True
    assert there(target) == ["b.safetensors", "b.vae.safetensors", "b.yaml"]


def test_a_new_name_has_sidecars_of_its_own(target, run_module):
    apply(target, run_module, {**NAMED, "name": "old.safetensors", "vae": VAE})
    apply(target, run_module, {**NAMED, "name": "new.safetensors", "vae": VAE})
    assert "new.vae.safetensors" in there(target)


def test_a_source_under_two_names_are_two_models(target, run_module):
    plain, named = NAMED, {**NAMED, "name": "b.safetensors"}
    apply(target, run_module, plain, named)
    target.path("models/Stable-diffusion/v1-5-pruned-emaonly.safetensors").unlink()
    assert [m["status"] for m in apply(target, run_module, plain, named)["models"]] == ["fetched", "ok"]
    apply(target, run_module, plain, state="absent")
    assert there(target) == ["b.safetensors"]
    apply(target, run_module, plain, named)
    apply(target, run_module, named, state="absent")
    assert there(target) == ["v1-5-pruned-emaonly.safetensors"]


def test_the_directory_of_the_additional_networks(target, four_times, run_module):
    place = "extensions/sd-webui-additional-networks/models/lora/FilmVelvia3.safetensors"
    specs = [{"source": LORA, "kind": "additional_networks_lora"}, LORA]
    _, applied = four_times("model_files", **target.arguments, models=specs)
    assert [m["path"] for m in applied["models"]] == [
        str(target.path(place)),
        str(target.path("models/Lora/FilmVelvia3.safetensors")),
    ]
    apply(target, run_module, LORA, state="absent")
    assert [p.name for p in target.path(place).parent.iterdir()] == ["FilmVelvia3.safetensors"]
    assert not target.path("models/Lora/FilmVelvia3.safetensors").exists()


def test_two_equal_requests_fail_together(target, lab_server, run_module):
    from lab.servers.faults import Fault

    lab_server.faults.add(Fault("wrong_bytes", host="cdn.*", after=1_000_000))
    found = run_module("model_files", **target.arguments, models=[NAMED, NAMED])
    assert found["failed"]
    assert [m["status"] for m in found["models"]] == ["failed", "failed"]


def test_two_hashes_for_one_path_are_an_error(target, lab_server, run_module):
    url = lab_server.url("big.lab.test") + big_path(2_000_000, "t")
    specs = [{"source": url, "kind": "checkpoint", "sha256": c * 64} for c in "ab"]
    found = run_module("model_files", check=True, **target.arguments, models=specs)
    assert "would overwrite" in found["msg"]


def test_absent_removes_leftovers_of_an_interrupted_run(target, four_times, run_module, lab_server):
    part = target.path("models/Stable-diffusion/.v1-5-pruned-emaonly.safetensors.part")
    part.parent.mkdir(parents=True)
    for path in (part, part.with_name(part.name + ".journal")):
        path.write_text("x")
    four_times("model_files", **target.arguments, models=[NAMED], state="absent")
    assert list(part.parent.iterdir()) == []
    apply(target, run_module, NAMED)
    part.write_text("x")
    apply(target, run_module, NAMED, state="absent")
    assert list(part.parent.iterdir()) == []


# --- files whose source reports no hash


def plain(lab_server, size: int = 3_000_000, seed: str = "p") -> dict:
    return {"source": lab_server.url("big.lab.test") + big_path(size, seed), "kind": "checkpoint"}


def place_of(target, size: int = 3_000_000, seed: str = "p") -> Path:
    return target.path("models/Stable-diffusion") / big_path(size, seed).lstrip("/")


def test_a_plain_url_survives_the_loss_of_the_record(target, lab_server, run_module):
    apply(target, run_module, plain(lab_server))
    (target.webui / ".sdops" / "models.json").unlink()
    lab_server.log.entries.clear()
    found = apply(target, run_module, plain(lab_server))
    assert [m["status"] for m in found["models"]] == ["adopted"]
    assert found["models"][0]["sha256"] == big_sha256(3_000_000, "p")
    assert apply(target, run_module, plain(lab_server))["changed"] is False


def discard(target):
    (target.webui / ".sdops" / "models.json").unlink()


@pytest.mark.parametrize(
    "theirs",
    [
        b"",
        b"<!DOCTYPE html><html>log in</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "truncated",
        "truncated early",
    ],
    ids=["empty", "page", "lfs", "truncated", "truncated early"],
)
def test_what_is_provably_nobodys_loss_is_replaced(target, lab_server, run_module, theirs):
    """Oracle: the bytes themselves."""
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    good = place.read_bytes()
    discard(target)
    truncations = {"truncated": good[:-1], "truncated early": good[:10]}
    place.write_bytes(truncations.get(theirs, theirs))
    assert [m["status"] for m in apply(target, run_module, plain(lab_server))["models"]] == ["fetched"]
    assert place.read_bytes() == good


@pytest.mark.parametrize(
    "theirs",
    [
        lambda good: b"\xff" * len(good),
        lambda good: good + b"more",
        lambda good: b"\x80\x02K\x01.",
        lambda good: b'{"mine": 1}',
        lambda good: good[:200_000] + b"\xff" * 1000,  # begins like it, and goes on otherwise
        lambda good: b"\x1f\x8b" + good[2:1000],
    ],
    ids=["same size", "longer", "pickle", "json", "begins like it", "gzip"],
)
def test_what_we_do_not_know_stays(target, lab_server, run_module, theirs):
    """Oracle: the bytes themselves. Not to be readable for us is not to be damaged."""
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    own = theirs(place.read_bytes())
    discard(target)
    place.write_bytes(own)
    for check in (True, False):
        found = run_module("model_files", check=check, **target.arguments, models=[plain(lab_server)])
        assert place.read_bytes() == own
    assert found["failed"] and "another file than the wanted one. It stays" in found["msg"]


@pytest.mark.parametrize("before", [None, b"", "truncated"], ids=["nothing", "empty", "truncated"])
def test_what_comes_while_the_download_runs_stays(target, lab_server, run_module, monkeypatch, before):
    """Oracle: the bytes themselves. Before the download there was nothing, or what may be replaced."""
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    good = place.read_bytes()
    discard(target)
    place.unlink()
    if before is not None:
        place.write_bytes(good[:-1] if before else before)
    real = Downloader.download
    monkeypatch.setattr(
        Downloader, "download", lambda *a, **k: (real(*a, **k), place.write_bytes(b"saved by the WebUI meanwhile"))[0]
    )
    (item,) = make_test_installer(target).install_all([parse_model_entry(plain(lab_server))], 1)
    assert place.read_bytes() == b"saved by the WebUI meanwhile"
    assert item.status.value == "failed" and "while the wanted file was on its way. It stays" in item.reason
    monkeypatch.setattr(Downloader, "download", lambda *a, **k: (real(*a, **k), place.write_bytes(good))[0])
    place.unlink()
    (item,) = make_test_installer(target).install_all([parse_model_entry(plain(lab_server))], 1)
    assert place.read_bytes() == good and item.status.value in ("fetched", "adopted"), item.reason


def test_a_file_of_another_size_stays(target, lab_server, run_module):
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    discard(target)
    apply(target, run_module, {**plain(lab_server, 2_000_000, "q"), "name": "other.safetensors"})
    other = place.with_name("other.safetensors").read_bytes()
    place.write_bytes(other)
    found = run_module("model_files", **target.arguments, models=[plain(lab_server)])
    assert "another file than the wanted one" in found["msg"]
    assert place.read_bytes() == other


def test_somebodys_pickle_stays_though_we_would_not_install_it(target, run_module):
    own = target.path("embeddings/bad_pictures.pt")
    own.parent.mkdir()
    own.write_bytes(models.malicious_bytes("theirs"))
    before = own.read_bytes()
    found = run_module("model_files", **target.arguments, models=["bad-pictures"], allow_pickle=True)
    assert "another file than the wanted one" in found["msg"]
    assert own.read_bytes() == before


def test_pickles_that_are_no_longer_allowed_fail_and_stay(target, run_module):
    """Whoever switches pickles off hears which ones the WebUI still loads."""
    allowed = run_module("model_files", **target.arguments, models=["bad-pictures"], allow_pickle=True)
    assert [m["status"] for m in allowed["models"]] == ["fetched"]
    found = run_module("model_files", **target.arguments, models=["bad-pictures"])
    assert (
        found["failed"] and "bad_pictures.pt is a pickle" in found["msg"] and "model_fetch_allow_pickle" in found["msg"]
    )
    assert target.path("embeddings/bad_pictures.pt").is_file()


def test_what_was_changed_in_place_is_known_by_the_recorded_hash(target, lab_server, run_module):
    """The size is the same: only the hash that we noted tells."""
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    good = place.read_bytes()
    os.utime(place, ns=(1, 1))
    assert [m["status"] for m in apply(target, run_module, plain(lab_server))["models"]] == ["adopted"]
    stat = place.stat()
    place.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = apply(target, run_module, plain(lab_server), verify="always")
    assert [m["status"] for m in found["models"]] == ["fetched"]
    assert place.read_bytes() == good


CHANGES = [
    lambda good: b"\xff" * len(good),
    lambda good: good + b"more",
    lambda good: b"\x80\x02K\x01.",
    lambda good: good[:200_000] + b"\xff" * 1000,
]
CHANGED = ["same size", "longer", "pickle", "begins like it"]


@pytest.mark.parametrize("verify", ["recorded", "always"])
@pytest.mark.parametrize("change", CHANGES, ids=CHANGED)
def test_what_the_user_changed_since_stays(target, lab_server, run_module, change, verify):
    """Oracle: the bytes themselves."""
    place = place_of(target)
    apply(target, run_module, plain(lab_server))
    good = place.read_bytes()
    own = change(good)
    place.write_bytes(own)
    for check in (True, False):
        found = run_module("model_files", check=check, **target.arguments, models=[plain(lab_server)], verify=verify)
        assert place.read_bytes() == own
    assert found["failed"] and "was changed since it was placed" in found["msg"]
    place.write_bytes(good[:-5])  # a cut copy is nobody's loss
    assert [m["status"] for m in apply(target, run_module, plain(lab_server), verify=verify)["models"]] == ["fetched"]
    assert place.read_bytes() == good


@pytest.mark.parametrize("touched", [False, True])
def test_a_managed_file_is_replaced_for_another_source(target, lab_server, run_module, touched):
    """A file that was only touched, as a restore from a backup does, is still the one that we placed."""
    apply(target, run_module, {**plain(lab_server), "name": "a.safetensors"})
    place = target.path("models/Stable-diffusion/a.safetensors")
    if touched:
        os.utime(place, ns=(1, 1))
    apply(target, run_module, {**plain(lab_server, 2_000_000, "q"), "name": "a.safetensors"})
    assert hashlib.sha256(place.read_bytes()).hexdigest() == big_sha256(2_000_000, "q")


def test_a_source_without_metadata_overwrites_nothing(target, lab_server, run_module):
    from lab.servers.faults import Fault

    apply(target, run_module, plain(lab_server))
    (target.webui / ".sdops" / "models.json").unlink()
    lab_server.faults.add(Fault("until_close", host="big.lab.test"))
    lab_server.faults.add(Fault("ignore_range", host="big.lab.test"))
    found = run_module("model_files", **target.arguments, models=[plain(lab_server)])
    assert "neither size nor hash" in found["msg"]
    known = {**plain(lab_server), "sha256": big_sha256(3_000_000, "p")}
    assert [m["status"] for m in apply(target, run_module, known)["models"]] == ["adopted"]


@pytest.mark.parametrize("version", [71011, 71013, 71014], ids=["none", "pending", "no-sha256"])
def test_one_file_of_civitai_without_its_hash_is_fetched_once(target, tmp_path, four_times, version):
    arguments = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    dest = tmp_path / "x.safetensors"
    _, applied = four_times("civitai_download", version_id=version, dest=str(dest), **arguments)
    assert applied["sha256"] == hashlib.sha256(dest.read_bytes()).hexdigest()


def test_the_short_hash_of_civitai_decides(target, lab_server, tmp_path, run_module):
    """Another file of nearly the same size is no match for the first ten digits."""
    arguments = {key: value for key, value in target.arguments.items() if key != "webui_dir"}
    dest = tmp_path / "x.safetensors"
    other = (lab_server.root / "civitai" / "files" / "71013001").read_bytes()
    dest.write_bytes(other)
    found = run_module("civitai_download", version_id=71014, dest=str(dest), **arguments)
    assert "another file than the wanted one. It stays" in found["msg"]
    assert dest.read_bytes() == other
    found = run_module("civitai_download", version_id=71014, dest=str(dest), force=True, **arguments)
    assert (found["failed"], found["changed"]) == (False, True), found
    assert dest.read_bytes() == (lab_server.root / "civitai" / "files" / "71014001").read_bytes()


# --- kills and leftovers


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_the_rename(target, lab_server, run_module, moment):
    """The record has the file before it has its name: whichever of the two a kill prevents, the next run is content."""
    entry = plain(lab_server)
    code = f"""
import json, os, signal, sys
sys.path[:0] = {[p for p in sys.path if p.endswith("collections")]!r}
from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
params = {{name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}}
params.update(json.loads(sys.argv[1]))
real = os.replace
def replace(source, dest):
    if dest.endswith(".safetensors"):
        if {moment == "after"}:
            real(source, dest)
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, dest)
os.replace = replace
make_installer(params, params["webui_dir"], False).install_all([parse_model_entry(json.loads(sys.argv[2]))], 1)
"""
    import subprocess

    argv = [sys.executable, "-c", code, json.dumps(target.arguments), json.dumps(entry)]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    assert place_of(target).exists() is (moment == "after")
    lab_server.log.wait_until_written()
    lab_server.log.entries.clear()
    found = apply(target, run_module, entry)
    assert [m["status"] for m in found["models"]] == ["ok" if moment == "after" else "fetched"]
    assert found["bytes_fetched"] == 0
    assert place_of(target).read_bytes()
    assert there(target)[-1] == place_of(target).name
    assert apply(target, run_module, entry, state="absent")["changed"] is True


def test_a_copy_that_was_killed_is_written_over(target, tmp_path, run_module, lab_server):
    apply(target, run_module, plain(lab_server))
    source = tmp_path / "mine.safetensors"
    source.write_bytes(place_of(target).read_bytes())
    left = target.path("models/Stable-diffusion/.mine.safetensors.new")
    left.write_bytes(b"half of it")
    apply(target, run_module, {"source": f"file://{source}", "kind": "checkpoint"})
    assert sorted(p.name for p in left.parent.iterdir()) == sorted([place_of(target).name, "mine.safetensors"])


def test_without_locks_each_process_has_names_of_its_own(target, lab_server, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils import filesystem
    from ansible_collections.sdops.webui.plugins.module_utils.transfer import temp_names

    def no_locks(*_):
        raise OSError(filesystem.errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(filesystem.fcntl, "flock", no_locks)
    seen = []
    real = Downloader.download
    monkeypatch.setattr(Downloader, "download", lambda self, r, d, t: seen.append(d) or real(self, r, d, t))
    # of a process of this host that is no more, and of one that lives
    place = place_of(target)
    place.parent.mkdir(parents=True)
    dead = temp_names.temp_base(str(place), False).replace(f"-{os.getpid()}", "-999999999")
    alive = temp_names.temp_base(str(place), False).replace(f"-{os.getpid()}", "-1")
    for name in (dead, alive):
        for end in (".part", ".part.journal"):
            path = Path(name)
            path.with_name("." + path.name + end).write_text("x")
    (item,) = make_test_installer(target).install_all([parse_model_entry(plain(lab_server))], 1)
    assert item.status.value == "fetched", item.reason
    assert seen == [temp_names.temp_base(str(place), False)]
    assert f"-{os.getpid()}" in seen[0]
    left = Path(alive).name
    assert sorted(p.name for p in place.parent.iterdir()) == sorted(
        [place.name, f".{left}.part", f".{left}.part.journal"]
    )


def test_without_locks_a_partial_file_of_a_dead_process_is_resumed(target, lab_server, monkeypatch):
    from ansible_collections.sdops.webui.plugins.module_utils import filesystem
    from ansible_collections.sdops.webui.plugins.module_utils.transfer import temp_names

    from lab.servers.faults import Fault

    def no_locks(*_):
        raise OSError(filesystem.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filesystem.fcntl, "flock", no_locks)
    entry = {**plain(lab_server, 40_000_000), "sha256": big_sha256(40_000_000, "p")}
    truncated = lab_server.faults.add(Fault("disconnect", host="big.lab.test", after=10_000_000))
    reject = lab_server.faults.add(Fault("status", host="big.lab.test", status=403, body="not now", skip=2))
    assert (
        make_test_installer(target, connections=1).install_all([parse_model_entry(entry)], 1)[0].status.value
        == "failed"
    )
    assert truncated.hits and reject.hits
    lab_server.faults.clear()
    place = place_of(target, 40_000_000)
    own = Path(temp_names.temp_base(str(place), False)).name
    for end in (".part", ".part.journal"):
        mine = place.with_name(f".{own}{end}")
        mine.rename(place.with_name(mine.name.replace(f"-{os.getpid()}.", "-999999999.")))
    (item,) = make_test_installer(target).install_all([parse_model_entry(entry)], 1)
    assert item.status.value == "fetched", item.reason
    assert 0 < item.received < 40_000_000
    assert [p.name for p in place.parent.iterdir()] == [place.name]
