"""What `models show` says of a stream's students."""

from pathlib import Path

from detector.model.artefact import SUFFIX, ArtefactStore
from streamer.contracts import ModelRecord
from testkit.simulation import history, quick_settings, simulate
from trainer.cli.models import details
from trainer.fit.run import train


def test_what_is_carried_on_is_said(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path, shape_share=0.0)
    made = train([history("x", simulate("white", 0, 1200), lo=512)], None, settings)
    store = ArtefactStore(settings.store_uri(), tmp_path / "cache")
    [ref] = made.refs(*store.write(made.header.version + SUFFIX, made.data())).values()
    record = ModelRecord(stream="x", promoted=ref, announced_at="2026-01-01T00:00:00Z")
    shown = [str(part) for part in details(settings, record).renderables]
    assert "carries 2 stretches of 512 slots on to the next fit, from slot 512" in shown
