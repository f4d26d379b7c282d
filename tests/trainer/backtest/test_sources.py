"""Folders of series."""

import json
from pathlib import Path

import numpy as np
import pytest

from testkit.waves import waves, write_folder
from trainer.backtest.series import SourceError
from trainer.backtest.sources import items_of
from trainer.backtest.tables import Reading


def test_a_folder_gives_back_what_is_in_it(tmp_path: Path) -> None:
    made = [waves(0), waves(1, channels=3, burst=False)]
    items = items_of(write_folder(tmp_path / "set", made), Reading())
    assert [(item.name, item.slots) for item in items] == [("wave-0", 1000), ("wave-1", 1000)]
    for item, wanted in zip(items, made, strict=True):
        series = item.load()
        np.testing.assert_array_equal(series.values_SC, wanted.values_SC)
        assert (series.train_end, series.channels) == (wanted.train_end, wanted.channels)
        assert series.found_within == wanted.found_within


def test_labels_may_be_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(0)])
    (file,) = folder.glob("*.npz")
    with np.load(file) as z:
        kept = {name: z[name] for name in z.files if name != "labels"}
    np.savez(file, **kept)
    [item] = items_of(folder, Reading())
    assert item.load().labels_S is None


def test_only_some_of_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(n) for n in range(12)])
    names = [item.name for item in items_of(folder, Reading(), ["wave-1*", "wave-3"])]
    assert names == ["wave-1", "wave-3", "wave-10", "wave-11"]
    with pytest.raises(SourceError, match="none of its 12 series is named like sine"):
        items_of(folder, Reading(), ["sine"])


def test_errors_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: no such file or folder"):
        items_of(tmp_path / "nowhere", Reading())
    with pytest.raises(SourceError, match=r"neither .csv, .parquet nor index.json in this folder"):
        items_of(tmp_path, Reading())
    (tmp_path / "index.json").write_text('{"series": [{"name": "a"}]}')
    with pytest.raises(SourceError, match=r"KeyError: 'file'"):
        items_of(tmp_path, Reading())
    (tmp_path / "index.json").write_text('{"series": [{"name": "a", "file": "a.npz"}, {"name": "a", "file": "b.npz"}]}')
    with pytest.raises(SourceError, match=r"two series are named 'a'"):
        items_of(tmp_path, Reading())
    (tmp_path / "index.json").write_text('{"series": [{"name": "a", "file": "a.npz"}]}')
    with pytest.raises(SourceError, match=r"a series is an .npz with values"):
        items_of(tmp_path, Reading())[0].load()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(SourceError, match=r"expected a folder, a .csv or a .parquet"):
        items_of(tmp_path / "notes.txt", Reading())


def test_a_digest_sees_everything() -> None:
    one = waves(0)
    assert one.digest() == waves(0).digest()
    other = waves(0)
    other.values_SC[999, 0] += 1
    assert one.digest() != other.digest()


@pytest.mark.parametrize(
    ("index", "entry"),
    [({}, {"interval_s": 60, "start": "2024-01-01T00:00:30Z"}), ({"dt": 60}, {"t0": 1_704_067_230})],
)
def test_a_folder_may_give_its_real_time(tmp_path: Path, index: dict[str, object], entry: dict[str, object]) -> None:
    folder = write_folder(tmp_path / "set", [waves(0)])
    body = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, "series": [{**body["series"][0], **entry}]}))
    [item] = items_of(folder, Reading())
    series = item.load()
    assert series.interval_ns == 60 * 10**9
    assert series.first_slot * series.interval_ns + series.phase_ns == 1_704_067_230 * 10**9


def test_several_paths_and_a_folder_of_tables(tmp_path: Path) -> None:
    folder = tmp_path / "month"
    folder.mkdir()
    for file in (folder / "b.csv", folder / "a.csv", tmp_path / "a.csv"):
        file.write_text("x\n" + "1\n" * 4)
    (folder / "notes.txt").write_text("")
    items = items_of([folder, tmp_path / "a.csv"], Reading())
    assert [item.name for item in items] == [f"{folder}/a.csv:a", "b", f"{tmp_path}/a.csv:a"]
    assert [item.load().name for item in items] == [item.name for item in items]
    with pytest.raises(SourceError, match="is there twice"):
        items_of([folder, folder], Reading())


def test_a_name_of_two_folders_is_told_apart(tmp_path: Path) -> None:
    folders = [write_folder(tmp_path / name, [waves(0)]) for name in ("one", "two")]
    items = items_of(folders, Reading())
    assert [item.load().name for item in items] == [f"{folder}:wave-0" for folder in folders]


def test_with_real_time_a_folder_s_values_become_what_the_streamer_makes_of_them(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(50, 90, 1000)
    total = np.cumsum(steps) + 3_000_000_000.0
    total[700:] -= total[700]  # begun again
    level = 1_770_000_000 + np.arange(1000) % 7 / 8
    folder = write_folder(tmp_path / "set", [waves(0)])
    [file] = folder.glob("*.npz")
    np.savez(file, values=np.stack([total, level], 1), train_end=600)
    [item] = items_of(folder, Reading())
    assert np.ptp(item.load().values_SC[1:700, 0]) > 1e4  # in order only: as it is
    body = json.loads((folder / "index.json").read_text())
    begin = {"interval_s": 60, "start": "2024-01-01T00:00:00Z"}
    (folder / "index.json").write_text(json.dumps({**begin, **body}))
    [item] = items_of(folder, Reading())
    series = item.load()
    assert (series.train_end, len(series.values_SC), series.interval_ns) == (600, 1000, 60 * 10**9)
    np.testing.assert_allclose(series.data_SC[1:700, 0], steps[1:700], rtol=1e-5)
    assert np.isnan(series.values_SC[700, 0])
    np.testing.assert_allclose(series.data_SC[:, 1], level, atol=1e-3)
    np.savez(file, values=np.stack([total, level], 1), train_end=600, labels=np.zeros(900, bool))
    with pytest.raises(SourceError, match="900 labels for 1000 slots"):
        items_of(folder, Reading())[0].load()
