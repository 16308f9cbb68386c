"""Plan and journal: every byte is handed out once, nothing is believed that may not be on the disk."""

from __future__ import annotations

import random

import pytest
from ansible_collections.sdops.webui.plugins.module_utils.transfer import journal as journal_module
from ansible_collections.sdops.webui.plugins.module_utils.transfer import segments
from ansible_collections.sdops.webui.plugins.module_utils.transfer.journal import DownloadJournal
from ansible_collections.sdops.webui.plugins.module_utils.transfer.segments import SegmentPlan, find_gaps, merge_spans

MIB = 1 << 20


def covered(spans) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}


def test_merge_and_gaps_agree_with_sets():
    rng = random.Random(1)
    for _ in range(300):
        size = rng.randrange(0, 60)
        spans = [(a, a + rng.randrange(0, 9)) for a in (rng.randrange(0, 60) for _ in range(rng.randrange(0, 8)))]
        spans = [(a, min(b, size)) for a, b in spans if a < size]
        merged = merge_spans(spans)
        assert covered(merged) == covered(spans)
        assert all(x[1] < y[0] for x, y in zip(merged, merged[1:]))
        assert covered(find_gaps(spans, size)) == set(range(size)) - covered(spans)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_breaks_everything_is_fetched_and_only_lost_bytes_twice(seed):
    rng = random.Random(seed)
    size = rng.randrange(1, 300 * MIB)
    connections = rng.choice([1, 2, 8, 16])
    plan = SegmentPlan(size, [], connections)
    active, fetched = [], 0
    while not plan.is_finished:
        while len(active) < connections:
            segment = plan.take()
            if segment is None:
                break
            active.append(segment)
        segment = active.pop(rng.randrange(len(active)))
        length = segment.end - segment.start
        segment.at += length if rng.random() < 0.7 else rng.randrange(0, length)
        fetched += segment.at - segment.start
        plan.release(segment)
    assert plan.done == [(0, size)]
    assert fetched == size  # no byte twice, since what a broken connection brought counts


def test_segments_come_from_the_front_and_get_small_at_the_end():
    plan = SegmentPlan(1000 * MIB, [], 8)
    taken = []
    while (segment := plan.take()) is not None:
        taken.append(segment)
    assert [s.start for s in taken] == sorted(s.start for s in taken)
    assert taken[0].end - taken[0].start == segments.MAX_SEGMENT
    assert all(s.end - s.start < 2 * segments.MIN_SEGMENT for s in taken[-8:])


def test_the_front_moves_with_segments_on_the_way():
    plan = SegmentPlan(100 * MIB, [(0, 10)], 2)
    first, second = plan.take(), plan.take()
    second.at = second.end
    assert plan.contiguous_end(0) == 10
    first.at += 5
    assert plan.contiguous_end(0) == 15
    first.at = first.end
    assert plan.contiguous_end(0) == second.end


@pytest.fixture
def journal(tmp_path):
    return DownloadJournal(str(tmp_path / "j"), {"size": 100, "sha256": "a" * 64})


def test_a_killed_run_leaves_every_line(journal):
    journal.begin([(0, 10)])
    journal.add((20, 30))
    journal.add((10, 15))
    assert DownloadJournal(journal.path, journal.identity).load() == [(0, 15), (20, 30)]


def test_after_a_reboot_only_synced_lines_count(journal, monkeypatch):
    journal.begin([])
    journal.add((0, 10))
    count = journal.count
    journal.add((10, 20))  # while the sync of the first was under way
    journal.mark_synced(count)
    journal.add((30, 40))
    monkeypatch.setattr(journal_module, "read_boot_id", lambda: "another")
    assert DownloadJournal(journal.path, journal.identity).load() == [(0, 10)]


@pytest.mark.parametrize("truncated", range(1, 12))
def test_a_torn_last_line_is_ignored(journal, tmp_path, truncated):
    journal.begin([(0, 10)])
    journal.add((50, 60))
    raw = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(raw[:-truncated])
    found = DownloadJournal(journal.path, journal.identity).load()
    assert found in ([(0, 10)], [(0, 10), (50, 60)], None)
    assert truncated > 6 or found == [(0, 10)]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]\n", b'{"of": 1}\n', b"\xff\xfe\n", b'{"of": {}, "boot": 3}\n1 x\n']
)
def test_a_damaged_journal_is_no_journal(journal, tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    assert journal.load() is None


def test_another_file_or_an_unknown_one_is_not_resumed(journal):
    journal.begin([(0, 10)])
    assert DownloadJournal(journal.path, {"size": 100, "sha256": "b" * 64}).load() is None
    nobody = DownloadJournal(journal.path, {"size": 100, "sha256": None, "etag": None})
    nobody.begin([(0, 10)])
    assert nobody.load() is None


def test_killed_while_it_begins_it_leaves_nothing_in_the_end(journal, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            journal.begin([])
    assert list(tmp_path.iterdir()) != []
    journal.begin([(0, 5)])
    assert journal.load() == [(0, 5)]
    journal.discard()
    assert list(tmp_path.iterdir()) == []
