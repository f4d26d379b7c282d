"""What a fit takes is known before it is loaded."""

import sys
from pathlib import Path

import psutil
import pytest

from streamer.windows.header import StreamHeader
from trainer import memory
from trainer.memory import PART_NUMBERS, PART_ROWS, free_bytes, give_back, numbers_of, parts_of, too_large


def header(channels: int, slots: int) -> StreamHeader:
    return StreamHeader("grid", channels=[f"c{k}" for k in range(channels)], lo=100, hi=99 + slots)


def test_a_history_that_fills_the_memory_is_refused_with_its_cure() -> None:
    small, large = header(1, 8192), header(256, 8192)
    assert too_large(small, 10**9) is None
    assert too_large(large, 64 * 10**9) is None
    why = too_large(large, 2 * 10**9)
    assert why is not None
    assert "256 channels x 8192 slots takes about 8.6 GB" in why
    assert "1.6 GB may be used" in why
    assert "smaller capacity" in why
    assert too_large(StreamHeader(), 0) is None  # nothing is there to be loaded


def test_parts_are_bounded_and_whole() -> None:
    many = {f"s{k:03}": header(1, 8192) for k in range(512)}
    assert len(list(parts_of(many))) == 1
    mixed = many | {f"w{k}": header(256, 600) for k in range(40)} | {"x": header(2, 1 << 20)}
    parts = list(parts_of(mixed))
    assert sorted(stream for part in parts for stream in part) == sorted(mixed)
    for part in parts:
        assert sum(numbers_of(mixed[s]) for s in part) <= PART_NUMBERS
        assert sum(len(mixed[s].channels) for s in part) <= PART_ROWS


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(tmp_path / name for name in ("max", "current", "stat"))
    monkeypatch.setattr(memory, "_CGROUPS", (files,))
    machine = free_bytes()
    for text, expected in (("max", None), ("3000000", 1_500_000), ("nonsense", None)):
        for file, content in zip(files, (text, "2000000", "anon 5\ninactive_file 500000\n"), strict=True):
            file.write_text(content)
        if expected is None:
            assert free_bytes() > machine / 2
        else:
            assert free_bytes() == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other C libraries are not asked")
def test_what_a_run_has_freed_is_given_back() -> None:
    blocks = [bytearray(100_000) for _ in range(1000)]  # too small for pages of their own
    del blocks[::2]  # and what is left holds the space between in its place
    before = psutil.Process().memory_info().rss
    give_back()
    assert before - psutil.Process().memory_info().rss > 30_000_000
