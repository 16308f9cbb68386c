"""What a person reads of a running batch."""

from __future__ import annotations

import pytest
from ansible_collections.sdops.webui.plugins.plugin_utils.progress_view import View, amount, clock, size

MIB = 1 << 20
GIB = 1 << 30


def entry(name="a.safetensors", state="fetching", done=0, total=None, speed=0.0):
    return {"name": name, "state": state, "done": done, "total": total, "speed": speed}


def snapshot(*files, **more):
    done = sum(f["done"] for f in files)
    totals = [f["total"] for f in files]
    total = None if None in totals else sum(totals)
    return {"pid": 1, "state": "running", "files": list(files), "done": done, "total": total, **more}


@pytest.fixture
def view():
    return View("box", language="en")


def test_a_file_shows_percent_bytes_speed_and_time_left(view):
    file = entry(done=1843 * MIB, total=4 * GIB, speed=50 * MIB)
    assert view.lines(snapshot(file), 0) == ["[box] a.safetensors   44%, 1.8 of 4.0 GiB, 50.0 MiB/s, ETA 0:45"]


def test_bytes_instead_of_percent_while_the_size_is_unknown(view):
    assert view.lines(snapshot(entry(done=3 * MIB, speed=MIB)), 0) == ["[box] a.safetensors  3.0 MiB, 1.0 MiB/s"]


def test_nothing_is_reported_twice_and_silence_is_broken_every_thirty_seconds(view):
    still = snapshot(entry(done=MIB, total=2 * MIB))
    assert len(view.lines(still, 0)) == 1
    assert view.lines(still, 5) == view.lines(still, 29) == []
    assert view.lines(still, 31) == ["[box] a.safetensors  still waiting for bytes, 50%, 1.0 of 2.0 MiB"]
    assert view.lines(still, 35) == []
    assert len(view.lines(still, 62)) == 1
    assert "still" not in view.lines(snapshot(entry(done=MIB + 1, total=2 * MIB, speed=1)), 63)[0]


@pytest.mark.parametrize(("state", "printed"), [("verifying", "verifying"), ("asking", "asking its source")])
def test_other_work_is_named_once_and_again_after_thirty_seconds(view, state, printed):
    seen = snapshot(entry(state=state, done=MIB, total=MIB))
    assert view.lines(seen, 0) == ["[box] a.safetensors  " + printed]
    assert view.lines(seen, 10) == []
    assert view.lines(seen, 40) == ["[box] a.safetensors  still " + printed]


def test_what_a_program_writes_is_told_by_bytes_and_speed(view):
    def of(done, speed=0.0, state="writing"):
        return snapshot(entry("torch==2.1.2", state, done, None, speed))

    assert view.lines(of(0), 0) == ["[box] torch==2.1.2  at work, 0 B written"]
    assert view.lines(of(3 * GIB // 2, 40 * MIB), 5) == ["[box] torch==2.1.2  at work, 1.5 GiB written, 40.0 MiB/s"]
    assert view.lines(of(3 * GIB // 2), 20) == []
    assert view.lines(of(3 * GIB // 2), 36) == ["[box] torch==2.1.2  still at work, 1.5 GiB written"]
    assert view.lines(of(2 * GIB, state="done"), 65) == ["[box] torch==2.1.2  done, 2.0 GiB in 1:05"]


@pytest.mark.parametrize(("state", "printed"), [("done", "done, 2.0 MiB in 0:10"), ("failed", "failed")])
def test_an_end_is_reported_once(view, state, printed):
    view.lines(snapshot(entry(done=MIB, total=2 * MIB)), 0)
    finished = snapshot(entry(state=state, done=2 * MIB, total=2 * MIB))
    assert view.lines(finished, 10) == ["[box] a.safetensors  " + printed]
    assert view.lines(finished, 1000) == []


def test_what_was_there_before_is_not_news_but_a_failure_is(view):
    seen = snapshot(entry("a", "done", 1, 1), entry("b", "failed", 0, 1))
    assert view.lines(seen, 0) == ["[box] b  failed"]


def test_several_files_have_a_line_for_all_of_them_and_columns(view):
    seen = snapshot(
        entry("a", "fetching", MIB, 2 * MIB),
        entry("longer", "fetching", 0, 2 * MIB),
        entry("b", "waiting", 0, 4 * MIB),
        entry("c", "failed", 0, 0),
        speed=MIB,
        eta=7,
    )
    assert view.lines(seen, 0) == [
        "[box] a                        50%, 1.0 of 2.0 MiB",
        "[box] longer                    0%, 0 of 2.0 MiB",
        "[box] c                       failed",
        "[box] 0 of 4 files, 1 failed   12%, 1.0 of 8.0 MiB, 1.0 MiB/s, ETA 0:07",
    ]


def test_chinese_words_and_wide_columns():
    view = View("box", language="zh")
    seen = [
        entry("a", "fetching", MIB, 2 * MIB),
        entry("torch", "building", 12, 28),
        entry("c", "verifying", 1, 1),
        entry("d", "failed", 0, 0),
        entry("e", "asking"),
        entry("f", "writing", MIB),
    ]
    assert view.lines(snapshot(*seen, speed=MIB, eta=7) | {"done": MIB, "total": 8 * MIB}, 0) == [
        "[box] a                        50%，1.0 / 2.0 MiB",
        "[box] torch                   编译中，42%，第 12 / 28 步",
        "[box] c                       校验中",
        "[box] d                       失败",
        "[box] e                       询问来源",
        "[box] f                       进行中，已写入 1.0 MiB",
        "[box] 0 / 6 个文件，1 个失败   12%，1.0 / 8.0 MiB，1.0 MiB/s，剩余 0:07",
    ]
    done = [*seen[:1], entry("torch", "done", 28, 28), *seen[2:]]
    assert "完成" in "".join(view.lines(snapshot(*done), 1))
    assert "[box] c                       仍在校验中" in view.lines(snapshot(*done), 40)


def test_the_queue_has_no_lines_of_its_own_unless_nothing_moves(view):
    moving = snapshot(entry("a", "fetching", 1, 9), entry("b", "waiting"))
    assert not [line for line in view.lines(moving, 0) if "] b " in line]
    assert view.lines(moving, 31) and not [line for line in view.lines(moving, 70) if "] b " in line]
    stuck = snapshot(entry("b", "waiting"))
    assert view.lines(stuck, 100) == ["[box] b  still waiting"]


def test_two_files_of_one_name_are_two_files(view):
    seen = snapshot(entry("a", done=1, total=9), entry("a", done=2, total=9))
    assert len([line for line in view.lines(seen, 0) if "] a" in line]) == 2


def test_hidden_shows_the_percentage_and_nothing_else():
    view = View("box", is_masked=True)
    seen = snapshot(entry("secret", done=43, total=100))
    assert view.lines(seen, 0) == ["[box] 43%"]
    assert view.lines(seen, 5) == []
    assert view.lines(snapshot(entry("secret", done=1)), 6) == []


def test_a_name_cannot_speak_to_the_terminal_nor_fill_the_line(view):
    (line,) = view.lines(snapshot(entry("evil\x1b[2J\n" + "x" * 300 + ".safetensors", done=1, total=2)), 0)
    assert line.isprintable()
    assert len(line) < 120
    assert ".safetensors" in line


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"files": None},
        {"files": {"a": {"done": 1}}},
        {"files": [None, 3, {}]},
        {"files": [entry(done=-5, total="many", speed=float("nan"))]},
        {"files": [entry(done=True, total=0)], "done": "x", "eta": float("inf")},
    ],
)
def test_odd_snapshots_are_no_error(view, odd):
    assert isinstance(view.lines(odd, 0), list)
    assert isinstance(View("box", is_masked=True).lines(odd, 0), list)


def test_numbers():
    assert [size(0), size(1023), size(1536), size(5 * GIB)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert amount(3 * GIB, 4 * GIB, "en") == "3.0 of 4.0 GiB"
    assert amount(3 * MIB, 4 * GIB, "en") == "3.0 MiB of 4.0 GiB"
    assert amount(3 * MIB, 4 * GIB, "zh") == "3.0 MiB / 4.0 GiB"
    assert [amount(0, 4 * GIB, "en"), amount(0, None, "en")] == ["0 of 4.0 GiB", "0 B"]
    assert [clock(5.4), clock(75), clock(3675)] == ["0:05", "1:15", "1:01:15"]
