"""Every TOML block of docs/how-to/sinks.md is a file that loads, and its sinks can be built."""

import re
from pathlib import Path

import pytest

from streamer.sinks.building import build
from streamer.sinks.config import load_sinks
from tests.streamer.sinks.samples import KEY

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "sinks.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
SECRETS = {
    "PAGERDUTY_KEY": KEY,
    "OPSGENIE_KEY": "k" * 36,
    "SLACK_URL": "https://hooks.slack.example/services/T0/B0/x",
    "MAIL_URL": "mailto://127.0.0.1:1025/?from=a@example.com&to=b@example.com&mode=insecure",
    "HOOK_SECRET": "whsec_a2V5a2V5a2V5a2V5a2V5a2V5",
}


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
async def test_blocks_load(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "sinks.toml"
    file.write_text(block)
    made = load_sinks(file)
    for name in made.sinks:
        await build(made, name).aclose()


def test_there_is_one_of_each() -> None:
    types = set(re.findall(r'^type = "(\w+)"', "\n".join(BLOCKS), re.M))
    assert types == {"alertmanager", "pagerduty", "opsgenie", "slack", "apprise", "webhook"}
