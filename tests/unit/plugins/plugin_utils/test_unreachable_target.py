"""How long the action plugin goes on when the target does not answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.sdops.webui.plugins.action import model_files
from ansible_collections.sdops.webui.plugins.module_utils.errors import DetachedModuleError
from ansible_collections.sdops.webui.plugins.plugin_utils import progress_action


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_action, "time", clock)
    return clock


@pytest.fixture
def warnings(monkeypatch):
    reported: list[str] = []
    monkeypatch.setattr(progress_action, "display", SimpleNamespace(display=lambda line, **_: reported.append(line)))
    return reported


class Connection:
    resets = 0

    def reset(self) -> None:
        self.resets += 1
        raise RuntimeError("there is nothing to reset")


@pytest.fixture
def action():
    action = model_files.ActionModule.__new__(model_files.ActionModule)
    action._connection = Connection()
    return action


def fails(times: int, error: Exception, clock: Clock, takes: float = 0.0):
    left = [times]

    def query() -> str:
        clock.now += takes
        if left[0]:
            left[0] -= 1
            raise error
        return "there"

    return query


@pytest.mark.parametrize("kind", [AnsibleConnectionFailure, AnsibleError, DetachedModuleError, OSError])
def test_what_a_target_says_does_not_reach_the_terminal(action, clock, warnings, kind):
    """A banner of its sshd, for instance, which ssh prints and Ansible takes for the reason."""
    evil = "ssh: \x1b[2J\x1b]0;x\x07\x9b31m\u202ek\u2028o\rok: [box]\ncut"
    assert action._retry_unreachable("box", fails(2, kind(evil), clock)) == "there"
    assert len(warnings) == 2 and "ok: [box] cut" in warnings[0]
    assert all(line.isprintable() for line in warnings), warnings
    with pytest.raises(progress_action._Unreachable) as found:
        action._retry_unreachable("box", fails(10**6, kind(evil), clock))
    assert str(found.value).isprintable()


@pytest.mark.parametrize("error", [AnsibleConnectionFailure("ssh: cut"), DetachedModuleError("half"), OSError("pipe")])
def test_a_short_silence_costs_a_warning_each_and_no_more(action, clock, warnings, error):
    assert action._retry_unreachable("box", fails(4, error, clock)) == "there"
    assert clock.pauses == [1, 2, 4, 8]
    assert len(warnings) == 4
    assert all(line.startswith("[box] ") and str(error) in line for line in warnings)


def test_the_connection_is_recreated(action, clock, warnings):
    action._retry_unreachable("box", fails(2, AnsibleConnectionFailure("cut"), clock))
    assert action._connection.resets == 2


def test_five_minutes_of_silence_make_the_host_unreachable_and_name_the_next_step(action, clock, warnings):
    with pytest.raises(AnsibleConnectionFailure) as caught:
        action._retry_unreachable("box", fails(1000, AnsibleConnectionFailure("cut"), clock, takes=10))
    assert 240 < clock.now <= 310
    assert max(clock.pauses) == 30
    assert "box" in str(caught.value) and "again" in str(caught.value) and "cut" in str(caught.value)


def test_an_answer_in_between_resets_the_count(action, clock, warnings):
    for _ in range(5):
        action._retry_unreachable("box", fails(7, DetachedModuleError("busy"), clock))
    assert clock.now > 300


def test_plugin_defect_is_not_reported_as_unreachable(action, clock, warnings):
    with pytest.raises(ZeroDivisionError):
        action._retry_unreachable("box", fails(1, ZeroDivisionError(), clock))
