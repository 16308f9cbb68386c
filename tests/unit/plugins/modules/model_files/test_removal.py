"""What an entry with state absent and a shorter list remove, and what they leave."""

from __future__ import annotations

import json
import os

import pytest

REPO = "hf://lab-fakes/tiny-sd15"
NAME = "v1-5-pruned-emaonly.safetensors"
CHECKPOINT = {"source": f"{REPO}/{NAME}@main", "kind": "checkpoint"}
VAE = {"source": "hf://lab-fakes/tiny-vae/vae-ft-mse-840000-ema-pruned.safetensors@main", "kind": "vae"}
LORA = {"source": "civitai://112969?type=Model&format=SafeTensor", "name": "film.safetensors"}
PLACES = {
    "checkpoint": f"models/Stable-diffusion/{NAME}",
    "vae": "models/VAE/vae-ft-mse-840000-ema-pruned.safetensors",
    "lora": "models/Lora/film.safetensors",
}
NOBODY = {"huggingface_endpoint": "http://127.0.0.1:9", "civitai_endpoint": "http://127.0.0.1:9", "retries": 0}


def absent(entry: dict, **more: str) -> dict:
    return {**entry, "state": "absent", **more}


def there(target) -> list[str]:
    return [kind for kind, place in PLACES.items() if target.path(place).exists()]


@pytest.fixture
def apply(target, run_module):
    """``apply(*entries)`` of the list "mine", successful unless ``fails``."""

    def run(*entries, fails: bool = False, **more) -> dict:
        arguments = {**target.arguments, "list_name": "mine", **more}
        found = run_module("model_files", **arguments, models=list(entries))
        assert found["failed"] is fails, found
        return found

    return run


def removed(result: dict) -> list[str]:
    return sorted(os.path.basename(m["path"]) for m in result["models"] if m["status"] == "removed")


# --- state: absent of an entry


def test_one_entry_goes_and_another_one_comes_in_one_call(target, apply, four_times):
    apply({**CHECKPOINT, "vae": VAE["source"]}, LORA)
    place = target.path(PLACES["checkpoint"])
    side = place.with_name("v1-5-pruned-emaonly.vae.safetensors")
    sizes = {path: path.stat().st_size for path in (place, side)}
    models = [absent(CHECKPOINT), LORA, VAE]
    planned, applied = four_times("model_files", **target.arguments, models=models)
    for found in (planned, applied):
        assert removed(found) == sorted(path.name for path in sizes)
        assert found["bytes_removed"] == sum(sizes.values())
        lines = [f"{path} ({size} bytes)" for path, size in sizes.items()]
        assert sorted(found["diff"]["before"].splitlines()) == sorted(lines)
        assert found["diff"]["after"] == f"{target.path(PLACES['vae'])}\n"
        assert {f"remove {line}" for line in lines} < set(found["actions"])
    assert there(target) == ["vae", "lora"] and not side.exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"source": f"{REPO}@main/{NAME}"},  # another spelling
        {"source": f"{REPO}/{NAME}@another", "kind": "checkpoint"},  # what would lie there
        {"source": "civitai://1", "kind": "checkpoint", "name": NAME},
    ],
    ids=["spelling", "revision", "name"],
)
def test_absent_needs_no_network_and_not_the_same_words(target, apply, entry):
    apply(CHECKPOINT)
    assert removed(apply(absent(entry), **NOBODY)) == [NAME]
    assert there(target) == []
    assert apply(absent(entry), **NOBODY)["changed"] is False


def test_what_another_entry_wants_stays(target, apply):
    old = {"source": f"{REPO}/{NAME}@another", "kind": "checkpoint"}
    assert removed(apply(CHECKPOINT, absent(old))) == []
    assert apply(CHECKPOINT, absent(old))["changed"] is False
    found = apply(CHECKPOINT, absent(CHECKPOINT), fails=True)
    assert "is listed twice, with state: absent and without" in found["msg"]
    assert there(target) == ["checkpoint"]


@pytest.mark.parametrize("changed", [False, True], ids=["foreign", "changed"])
def test_a_file_of_somebody_else_stays_with_a_message(target, apply, changed):
    place = target.path(PLACES["checkpoint"])
    if changed:
        apply(CHECKPOINT)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"mine")
    found = apply(absent(CHECKPOINT), LORA, fails=True)
    assert f"{place} was {'changed since it was placed' if changed else 'not placed by us'}" in found["msg"]
    assert "Remove it by hand" in found["msg"]
    assert place.read_bytes() == b"mine" and "lora" in there(target)


def test_what_another_list_wants_stays(target, apply):
    apply(VAE, list_name="theirs")
    apply(VAE)
    assert "is wanted by theirs too" in apply(absent(VAE), fails=True)["msg"]
    assert there(target) == ["vae"]


def test_absent_makes_space_for_what_comes(target, apply, monkeypatch):
    """In check mode too, where it is still there."""
    from ansible_collections.sdops.webui.plugins.module_utils.models.arguments import TRANSFER_ARGUMENTS, make_installer
    from ansible_collections.sdops.webui.plugins.module_utils.models.spec import parse_model_entry
    from ansible_collections.sdops.webui.plugins.module_utils.transfer import disk_space

    apply(CHECKPOINT)
    size = target.path(PLACES["checkpoint"]).stat().st_size
    specs = [parse_model_entry({**CHECKPOINT, "name": "new.safetensors"}), parse_model_entry(absent(CHECKPOINT))]
    params = {name: option.get("default") for name, option in TRANSFER_ARGUMENTS.items()}
    installer = make_installer({**params, **target.arguments}, str(target.webui), True)
    monkeypatch.setattr(disk_space, "free_bytes", lambda path: disk_space.DISK_RESERVE + size // 2)
    with pytest.raises(Exception, match="GiB free"):
        installer.install_all(specs[:1], 1)
    assert [file.status.value for file in installer.install_all(specs, 1)] == ["fetch", "removed"]


def test_a_state_that_there_is_not(apply):
    found = apply({**LORA, "state": "gone"}, fails=True)
    assert 'state must be present or absent, not "gone"' in found["msg"]


def test_absent_entries_are_not_prefetched(target, run_module):
    found = run_module("model_files", **target.arguments, models=[absent(CHECKPOINT)], state="prefetched")
    assert (found["changed"], found["actions"]) == (False, [])


# --- prune


def test_prune_removes_what_the_list_no_longer_wants(target, apply, four_times):
    apply({**CHECKPOINT, "vae": VAE["source"]}, LORA, VAE)
    side = target.path(PLACES["checkpoint"]).with_name("v1-5-pruned-emaonly.vae.safetensors")
    gone = [target.path(PLACES["lora"]), side]
    size = sum(path.stat().st_size for path in gone)
    lines = sorted(f"{path} ({path.stat().st_size} bytes)" for path in gone)
    request = {**target.arguments, "models": [CHECKPOINT, VAE], "list_name": "mine", "prune": True}
    planned, applied = four_times("model_files", **request)
    for found in (planned, applied):
        assert removed(found) == sorted(path.name for path in gone)
        assert sorted(found["diff"]["before"].splitlines()) == lines and found["diff"]["after"] == ""
        assert found["bytes_removed"] == size
    assert there(target) == ["checkpoint", "vae"] and not side.exists()
    # an empty list wants nothing
    assert sorted(removed(apply(prune=True))) == sorted(target.path(PLACES[k]).name for k in ("checkpoint", "vae"))
    assert there(target) == []


def test_without_prune_a_shorter_list_removes_nothing(target, apply):
    apply(LORA, VAE)
    assert apply(VAE)["changed"] is False
    assert there(target) == ["vae", "lora"]


def test_prune_leaves_what_is_not_of_this_list(target, apply, run_module):
    """A file of the user's, one of another list, one that both want, and one that was installed for no list."""
    own = target.path("models/Lora/own.safetensors")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    apply(VAE, CHECKPOINT)
    apply(VAE, list_name="theirs")
    run_module("model_files", **target.arguments, models=[LORA])
    assert removed(apply(prune=True)) == [NAME]
    assert there(target) == ["vae", "lora"] and own.exists()
    # what both wanted is theirs alone now
    assert removed(apply(prune=True, list_name="theirs")) == [target.path(PLACES["vae"]).name]
    assert apply(prune=True)["changed"] is False


def test_prune_leaves_what_was_adopted_or_changed(target, apply):
    apply(CHECKPOINT, VAE)
    content = target.path(PLACES["checkpoint"]).read_bytes()
    apply(prune=True)
    target.path(PLACES["checkpoint"]).write_bytes(content)
    assert [m["status"] for m in apply(CHECKPOINT, VAE)["models"]] == ["adopted", "fetched"]
    target.path(PLACES["vae"]).write_bytes(b"changed")
    found = apply(prune=True)
    assert found["changed"] is False and there(target) == ["checkpoint", "vae"]
    assert "lay there before it was listed" in str(found["warnings"])
    assert "was changed since it was placed; it stays" in str(found["warnings"])
    # who names it means it
    assert removed(apply(absent(CHECKPOINT))) == [NAME]


def test_what_was_installed_here_and_touched_is_still_pruned(target, apply):
    apply(CHECKPOINT)
    os.utime(target.path(PLACES["checkpoint"]))
    assert [m["status"] for m in apply(CHECKPOINT)["models"]] == ["adopted"]
    assert removed(apply(prune=True)) == [NAME]


@pytest.mark.parametrize(
    "broken",
    [
        {"source": "hf://lab-fakes/nothing/x.safetensors@main", "kind": "vae"},
        "no-such-model",
    ],
    ids=["source", "entry"],
)
def test_nothing_is_pruned_while_an_entry_fails(target, apply, broken):
    apply(CHECKPOINT, LORA)
    found = apply(CHECKPOINT, broken, fails=True, prune=True)
    assert there(target) == ["checkpoint", "lora"]
    assert "Nothing was pruned" in str(found["warnings"])


def test_a_record_of_before_knows_no_lists_and_loses_nothing(target, apply):
    apply(CHECKPOINT, LORA)
    record = target.webui / ".sdops" / "models.json"
    entries = json.loads(record.read_text())
    assert [entry.pop("lists") for entry in entries.values()] == [["mine"], ["mine"]]
    record.write_text(json.dumps(entries))
    assert apply(CHECKPOINT, prune=True)["changed"] is False
    assert there(target) == ["checkpoint", "lora"]
    # what is listed is known from now on
    assert removed(apply(prune=True)) == [NAME]


def test_prune_needs_the_name_of_the_list(target, run_module):
    found = run_module("model_files", **target.arguments, models=[], prune=True)
    assert found["failed"] and "list_name" in found["msg"]
