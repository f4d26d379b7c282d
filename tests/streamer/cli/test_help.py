"""What `--help` shows: short enough to be read, and the rest is to be had."""

import re
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from streamer.cli.root import build_app

WIDTH = {"COLUMNS": "80"}
OPTION = re.compile(r"^│ (--[a-z-]+|-[a-z])", re.MULTILINE)
SECRET = "open-sesame"


def shown(command: str, *more: str) -> str:
    """A command's help in a terminal of 80 columns."""
    result = CliRunner().invoke(build_app(), [*command.split(), *more, "--help"], env=WIDTH)
    assert result.exit_code == 0, result.output
    return result.output


def panels(text: str) -> dict[str, list[str]]:
    """Title → options of each panel, in order."""
    found: dict[str, list[str]] = {}
    title = ""
    for line in text.splitlines():
        head = re.match(r"^╭─ (.*?) ─+╮$", line)
        if head:
            title = head[1]
            found[title] = []
        elif option := OPTION.match(line):
            found[title].append(option[1])
    return found


@pytest.mark.parametrize(("command", "most"), [("detector", 15), ("trainer", 20), ("streamer", 12)])
def test_a_worker_shows_what_its_operator_may_want_to_turn(command: str, most: int) -> None:
    options = [option for listed in panels(shown(command)).values() for option in listed]
    assert 0 < len(options) <= most
    assert len(options) == len(set(options))
    assert {"--bootstrap", "--redis-url", "--config", "--help-all"} <= set(options)
    assert ("--store" in options) == (command != "streamer")


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("alerts", ["--since", "--stream", "--severity", "--label", "--state", "--json", "--follow"]),
        ("publish", ["--stream", "--prefix", "--time-column", "--name", "--format", "--history", "--dry-run"]),
        ("train", ["--stream", "--all", "--job", "--wait", "--timeout"]),
        ("streams set", ["--replace"]),
        ("streams list", ["--label", "--state", "--open", "--sort", "--reverse", "--limit", "--page", "--json"]),
        ("status", ["--watch", "--json", "--since"]),
        ("streams delete", []),
        ("feedback", ["--note"]),
        ("topics provision", ["--fix", "--partitions", "--replication"]),
    ],
)
def test_a_command_shows_its_own_first_and_the_connection_once(command: str, first: list[str]) -> None:
    found = panels(shown(command))
    options = [title for title in found if title != "Commands"]
    assert found["Options"] == [*first, "--help-all", "--help"]
    assert options[-1] == "Connection"
    assert found["Connection"] == ["--bootstrap", "--redis-url", "--topic-prefix", "--config"]
    assert len(found["Connection"]) <= 8


@pytest.mark.parametrize(
    ("command", "lines"),
    [("detector", 60), ("trainer", 60), ("streamer", 45), ("backtest", 60), ("alerts", 46), ("publish", 40),
     ("train", 40), ("feedback", 40), ("up", 40), ("demo", 35), ("streams set", 80), ("streams list", 40), ("status", 30), ("doctor", 35), ("replay", 50)],
)  # fmt: skip
def test_help_is_short(command: str, lines: int) -> None:
    assert len(shown(command).splitlines()) <= lines


@pytest.mark.parametrize("command", ["detector", "trainer", "streamer", "alerts", "streams set", "backtest"])
def test_all_of_it_is_to_be_had_with_its_variables(command: str) -> None:
    result = CliRunner().invoke(build_app(), [*command.split(), "--help-all"], env=WIDTH | {"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    options = [option for listed in panels(result.output).values() for option in listed]
    assert {"--log-level", "--log-format"} <= set(options)
    assert "[ANOMALYLLM_LOG_LEVEL]" in result.output
    if command != "backtest":
        assert "[ANOMALYLLM_NAMESPACE]" in result.output
    if command == "alerts":
        assert "[ANOMALYLLM_ALERTS_SINCE]" in result.output
    assert "paper" not in " ".join(options)


def test_the_paper_s_settings_appear_with_its_profile_alone() -> None:
    assert "--paper-" not in shown("backtest")
    for said in (("--profile", "paper"), ("--profile=paper",)):
        assert len(panels(shown("backtest", *said))["Paper profile"]) == 6
    assert "--paper-" not in shown("backtest", "--profile", "product")


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(build_app(), ["--version"], env=WIDTH)
    assert (result.exit_code, result.output) == (0, f"anomalyllm {version('anomalyllm')}\n")


def test_the_root_says_where_settings_come_from() -> None:
    text = " ".join(shown("").split())
    assert "before or after the command" in text
    assert "--config" in text


@pytest.mark.parametrize("flag", ["--help", "--help-all"])
@pytest.mark.parametrize("command", ["detector", "alerts"])
def test_a_password_is_in_no_help(command: str, flag: str) -> None:
    env = WIDTH | {"ANOMALYLLM_REDIS_URL": f"redis://:{SECRET}@localhost:1/0"}
    assert SECRET not in CliRunner().invoke(build_app(), [command, flag], env=env).output
