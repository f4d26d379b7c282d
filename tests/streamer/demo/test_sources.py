"""What the demo watches: the host's metrics, the control streams, the burn."""

import asyncio
import time
from itertools import permutations
from pathlib import Path

import numpy as np

from streamer.demo.burn import Burn, burn_disk
from streamer.demo.control_streams import INJECTED, PERIOD_SLOTS, UNTOUCHED
from streamer.demo.host_metrics import HostMetrics, _share


def test_the_host_has_eight_streams_and_a_multivariate_one() -> None:
    host = HostMetrics()
    sample = host.sample()
    assert len(sample) >= 8
    assert set(sample) == {stream.name for stream in host.streams}
    assert any(len(values) > 1 for values in sample.values())
    assert all(np.isfinite(value) for values in sample.values() for value in values.values())


def test_cpu_shares_are_right_over_a_short_interval() -> None:
    host = HostMetrics()
    host.sample()
    stop = time.process_time() + 0.25
    while time.process_time() < stop:
        pass
    sample = host.sample()
    cores = [values["busy"] for name, values in sample.items() if name.startswith("host.cpu.core")]
    # One core was busy in this process alone, so the whole is at least its part of it.
    assert sample["host.cpu"]["busy"] > 50.0 / len(cores)
    assert all(0.0 <= share <= 100.0 for share in (*cores, *sample["host.cpu"].values()))


def test_a_share_is_never_more_than_the_whole() -> None:
    seconds = {"user": 0.1, "nice": 0.2, "system": 0.7, "irq": 1.1, "steal": 1.3}
    for order in permutations(seconds.items()):  # the sum of all of them depends on it
        assert 99.999 < _share(dict(order), set(seconds)) <= 100.0


def test_counters_of_the_host_never_fall() -> None:
    host = HostMetrics()
    counters = [stream.name for stream in host.streams if stream.kind == "counter"]
    before, after = host.sample(), host.sample()
    assert counters
    assert all(after[name][channel] >= value for name in counters for channel, value in before[name].items())


def test_controls_are_a_function_of_the_slot() -> None:
    whole = INJECTED.values(0, 400)
    assert np.array_equal(whole[100:200], INJECTED.values(100, 200))
    assert not np.allclose(whole, UNTOUCHED.values(0, 400))
    noise = INJECTED.values(0, 20 * PERIOD_SLOTS).reshape(20, PERIOD_SLOTS).std(axis=0)
    assert 0.02 < noise.mean() < 0.08


def test_the_known_anomaly_changes_its_span_only_and_stays_in_range() -> None:
    normal, wrong = UNTOUCHED.values(0, 400), UNTOUCHED.values(0, 400, anomaly=(100, 140))
    changed = np.flatnonzero(normal != wrong)
    assert changed.min() >= 100
    assert changed.max() < 140
    assert wrong.max() <= normal.max() + 0.2
    assert wrong.min() >= normal.min() - 0.2


def test_the_disk_burn_removes_its_file(tmp_path: Path) -> None:
    burn_disk(0.05, tmp_path / "burn.tmp")
    assert list(tmp_path.iterdir()) == []


async def test_a_burn_ends_by_itself_and_at_once_when_stopped(tmp_path: Path) -> None:
    burn = Burn(0.2, tmp_path)
    burn.start()
    assert burn.burning
    while burn.burning:
        await asyncio.sleep(0.02)
    longer = Burn(60.0, tmp_path)
    longer.start()
    longer.stop()
    assert not longer.burning
    assert {entry.name for entry in tmp_path.iterdir()} == {"logs"}
