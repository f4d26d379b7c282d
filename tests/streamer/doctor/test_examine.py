"""What `doctor` says when nothing answers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamer.doctor import examine as room
from streamer.doctor.findings import Finding
from streamer.settings import CommonSettings
from testkit.ports import lasting_port


async def test_what_does_not_answer_is_said_with_how_long_it_was_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def never(settings: CommonSettings) -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(room, "provided", lambda: [never])
    monkeypatch.setattr(room, "LOADING_S", 0.01)
    nowhere = f"127.0.0.1:{lasting_port()}"
    settings = CommonSettings(bootstrap=nowhere, redis_url=f"redis://{nowhere}", state_dir=tmp_path)
    found = {finding.subject: finding for finding in await room.examine(settings, step_s=0.01)}
    assert found["detector"].text == "device and teacher: no answer within 0.01 s"
    assert "less to do" in str(found["detector"].cure)
    for subject in ("broker", "Redis"):
        assert nowhere in found[subject].text
        assert not found[subject].text.endswith(": ")
