"""`anomalyllm sink`: what a person sees of a good and of a bad file, and of a test alert."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.streamer.sinks.samples import KEY
from tests.streamer.sinks.servers import AlertmanagerServer, FakeServer, PagerDutyServer, SlackServer, serving


async def run(*arguments: str, **env: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamer.cli", "sink", *arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **env},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow(6)
async def test_a_test_alert_to_each(tmp_path: Path) -> None:
    async with (
        serving(AlertmanagerServer()) as am,
        serving(PagerDutyServer()) as pd,
        serving(SlackServer()) as slack,
        serving(FakeServer()) as hook,
    ):
        file = tmp_path / "sinks.toml"
        file.write_text(
            f'[sinks.am]\ntype = "alertmanager"\nurl = "{am.url}"\nmin_severity = "critical"\n'
            f'[sinks.pd]\ntype = "pagerduty"\nrouting_key = {{ env = "PD_KEY" }}\nurl = "{pd.url}"\n'
            f'[sinks.chat]\ntype = "slack"\nurl = {{ env = "SLACK_URL" }}\n'
            f'[sinks.hook]\ntype = "webhook"\nurl = "{hook.url}"\n'
        )
        secrets = {"PD_KEY": KEY, "SLACK_URL": slack.url + "/sesame", "ANOMALYLLM_SINKS": str(file)}
        outcomes = {name: await run("--test", name, **secrets) for name in ("am", "pd", "chat", "hook")}
    assert outcomes["am"] == (0, "am: alert: HTTP 200\nam: its end: HTTP 200\n", "")
    assert outcomes["chat"] == (0, "chat: alert: HTTP 200 ok\n", "")
    assert outcomes["hook"] == (0, "hook: alert: HTTP 200 ok\n", "")
    code, out, _ = outcomes["pd"]
    assert code == 0
    assert out.startswith('pd: alert: HTTP 202 {"status": "success"')
    assert list(pd.states.values()) == ["resolved"]
    [alert] = am.alerts.values()
    assert (alert["labels"]["severity"], alert["labels"]["test"]) == ("info", "true")
    assert alert["annotations"]["description"] == "This is a test of the sink; nothing is wrong."


async def test_a_test_alert_that_is_not_taken(tmp_path: Path) -> None:
    async with serving(FakeServer(down=403)) as server:
        file = tmp_path / "sinks.toml"
        file.write_text('[sinks.chat]\ntype = "slack"\nurl = { env = "SLACK_URL" }\n')
        code, out, err = await run("--sinks", str(file), "--test", "chat", SLACK_URL=server.url + "/sesame")
    assert (code, out, err) == (1, "", "error: HTTP 403 away\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sinks", "none.toml"], "cannot read the sinks' file none.toml"),
        (["--sinks", "FILE", "--test", "b"], "has no sink b; it has a"),
        (["--sinks", "FILE", "--only", "c"], "has no sink c; it has a"),
        (["--sinks", "FILE"], "sinks.a: the webhook's template is not Jinja2"),
    ],
)
async def test_mistakes(tmp_path: Path, arguments: list[str], said: str) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text('[sinks.a]\ntype = "webhook"\nurl = "http://127.0.0.1:1"\ntemplate = "{{"\n')
    code, out, err = await run(*(str(file) if argument == "FILE" else argument for argument in arguments))
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err


async def test_without_the_extra_the_cure_is_said() -> None:
    program = "import sys; sys.modules['httpx'] = None; from streamer.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "sink"), stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"pip install 'anomalyllm[sinks]'" in err
