"""Labs side by side: what one of them does to the machine must not touch the other."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from lab import engine, lab_state


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[lab_state.Lab, lab_state.Lab]:
    monkeypatch.setattr(lab_state, "WORK", tmp_path)
    return lab_state.Lab("one"), lab_state.Lab("two")


def test_their_hosts_have_results_of_their_own(labs: tuple[lab_state.Lab, lab_state.Lab]) -> None:
    for lab in labs:
        lab.dir.mkdir()
        lab.save_vars({})
    reported = [json.loads((lab.dir / "vars.json").read_text())["sdops_artifacts_dir"] for lab in labs]
    assert reported[0] != reported[1]


def test_the_end_of_one_leaves_the_others_connections(
    labs: tuple[lab_state.Lab, lab_state.Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_state, "ssh_control_dir", lambda lab: lab.dir)
    sockets = []
    for lab in labs:
        lab.dir.mkdir()
        monkeypatch.chdir(lab.dir)  # pytest's own directories are too deep for a socket's path
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].bind("master")
    requested: list[str] = []
    monkeypatch.setattr(lab_state, "run", lambda *argv, **_options: requested.append(argv[argv.index("-S") + 1]))
    lab_state.close_ssh_connections(labs[0])
    assert requested == [str(labs[0].dir / "master")]
    for each in sockets:
        each.close()


def test_sockets_fit_into_their_paths(
    labs: tuple[lab_state.Lab, lab_state.Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_state, "WORK", Path("/home/me/sdops/.work"))
    places = [lab_state.ssh_control_dir(lab) for lab in labs]
    assert None not in places and places[0] != places[1]
    # Ansible's names have 10 characters, ssh adds 17
    assert all(len(f"{place}/") + 10 + 17 <= 107 for place in places)
    monkeypatch.setattr(lab_state, "WORK", Path("/home") / ("x" * 60) / ".work")
    assert lab_state.ssh_control_dir(labs[0]) is None


def test_the_engine_stays_for_a_lab_that_is_coming_up(
    labs: tuple[lab_state.Lab, lab_state.Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WORK", tmp_path)
    daemon = engine.PrivateDaemon()
    daemon.dir.mkdir()
    daemon.state_file.write_text(json.dumps({"pid": 0}))
    stopped = []
    monkeypatch.setattr(daemon, "stop", lambda: stopped.append(True))
    for lab in labs:
        lab.dir.mkdir()
    assert not daemon.stop_if_last(labs[0].dir) and not stopped
    labs[1].dir.rmdir()
    assert daemon.stop_if_last(labs[0].dir) and stopped
