"""The sinks' file: what it may say, where secrets come from, and that every mistake is named without showing one."""

from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.sinks.config import AlertmanagerTable, SinksFile, load_sinks
from tests.streamer.sinks.samples import event

FULL = """
link = "https://dash.example/{stream}"

[sinks.am]
type = "alertmanager"
url = "http://127.0.0.1:9093"
resolve_timeout = "10m"

[sinks.pager]
type = "pagerduty"
routing_key = { env = "PD_KEY" }
min_severity = "critical"
quiet_hours = { from = "22:00", to = "07:00", zone = "Europe/Berlin", days = ["sat", "sun"] }
rate_limit = { messages = 5, per = "5m" }

[sinks.chat]
type = "slack"
url = { file = "%s" }
group_by = ["team"]
group_wait = "1m"

[[routes]]
sinks = ["am"]

[[routes]]
sinks = ["pager", "chat"]
streams = ["web.*", "db.*"]
labels = { team = "w*" }
kinds = ["anomaly"]
"""


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinksFile:
    (tmp_path / "slack").write_text("https://hooks.example/sesame\n")
    monkeypatch.setenv("PD_KEY", "sesame")
    return written(tmp_path, FULL % (tmp_path / "slack"))


def written(folder: Path, text: str) -> SinksFile:
    file = folder / "sinks.toml"
    file.write_text(text)
    return load_sinks(file)


def test_all_of_it(full: SinksFile) -> None:
    assert list(full.sinks) == ["am", "pager", "chat"]
    alertmanager = full.sinks["am"]
    assert isinstance(alertmanager, AlertmanagerTable)
    assert alertmanager.resolve_timeout == 600.0
    assert "sesame" not in repr(full)
    assert "sesame" not in full.model_dump_json(exclude={"sinks": {"pager": {"quiet_hours"}}})


@pytest.mark.parametrize(
    ("fields", "wanting"),
    [
        ({}, {"am"}),
        ({"labels": {"team": "web"}}, {"am", "chat"}),
        ({"labels": {"team": "web"}, "severity": "critical"}, {"am", "pager", "chat"}),
        ({"labels": {"team": "db"}, "severity": "critical"}, {"am"}),
        ({"labels": {"team": "web"}, "stream": "Web.cpu", "severity": "critical"}, {"am"}),
        ({"labels": {"team": "web"}, "kind": "no_data", "severity": "critical"}, {"am"}),
    ],
)
def test_routes(full: SinksFile, fields: dict[str, object], wanting: set[str]) -> None:
    incident = event(**fields).data  # type: ignore[arg-type]
    assert {name for name in full.sinks if full.wants(name, incident)} == wanting


def test_tenants(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        '[sinks.a]\ntype = "alertmanager"\nurl = "http://x"\n[[routes]]\nsinks = ["a"]\ntenants = ["t1", ""]\n',
    )
    assert [file.wants("a", event(tenant=tenant).data) for tenant in ("t1", None, "t2")] == [True, True, False]


def test_without_routes_everything_goes_everywhere(tmp_path: Path) -> None:
    file = written(tmp_path, '[sinks.a]\ntype = "alertmanager"\nurl = "http://x"\nmin_severity = "warning"\n')
    assert file.wants("a", event().data)
    assert not file.wants("a", event(severity="info").data)


BASE = '[sinks.a]\ntype = "alertmanager"\nurl = "http://x"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "sinks: Field required"),
        ("x = [", "is not TOML"),
        ('[sinks."a b"]\ntype = "alertmanager"\nurl = "http://x"', "sinks.a b.[key]: String should match pattern"),
        ('[sinks.a]\ntype = "pager"', "sinks.a: Input tag 'pager' found using 'type' does not match any"),
        ('[sinks.a]\ntype = "alertmanager"\nurl = "x"', "sinks.a.url: expected an address that begins with http"),
        (BASE + 'resolve_timout = "5m"', "sinks.a.resolve_timout: no such key"),
        (BASE + 'resolve_timeout = "5 minutes"', "sinks.a.resolve_timeout: expected a duration"),
        (BASE + "timeout = 0", "sinks.a.timeout: a duration lies above 0"),
        (BASE + "timeout = true", "sinks.a.timeout: expected a duration"),
        (BASE + 'group_by = ["team"]', "sinks.a.group_by: no such key"),
        (
            BASE + 'quiet_hours = { from = "22:00", to = "7", zone = "UTC" }',
            "sinks.a.quiet_hours.to: expected a time of",
        ),
        (
            BASE + 'quiet_hours = { from = "22:00", to = "07:00", zone = "Mars" }',
            "quiet_hours.zone: 'Mars' is not a time",
        ),
        (BASE + 'quiet_hours = { from = "22:00", to = "22:00" }', "sinks.a.quiet_hours: from and to are the same"),
        ('[sinks.a]\ntype = "pagerduty"\nrouting_key = "sesame"', "sinks.a.routing_key: a secret is not written here"),
        ('[sinks.a]\ntype = "slack"\nurl = "http://sesame"', "sinks.a.url: a secret is not written here"),
        ('[sinks.a]\ntype = "slack"\nurl = { env = "NONE" }', "sinks.a.url: the environment variable NONE is not set"),
        ('[sinks.a]\ntype = "slack"\nurl = { file = "/none" }', "sinks.a.url: cannot read the secret from /none"),
        ('[sinks.a]\ntype = "slack"\nurl = { vault = "x" }', "sinks.a.url: a secret comes from"),
        ('[sinks.a]\ntype = "slack"\nurl = { env = "EMPTY" }', "sinks.a.url: the secret in env EMPTY is empty"),
        ('[sinks.a]\ntype = "slack"\nurl = { env = "WORD" }', "sinks.a.url: expected an address that begins"),
        (BASE + '[[routes]]\nsinks = ["b", "a"]', "the file: routes name sinks that do not exist: b"),
        (BASE + '[sinks.b]\ntype = "alertmanager"\nurl = "http://x"\n[[routes]]\nsinks = ["b"]', "no route leads to a"),
        ('link = "http://{host}"\n' + BASE, "link: unknown placeholder 'host'"),
        (
            '[sinks.a]\ntype = "webhook"\nurl = "http://x"\ntemplate = "a"\ntemplate_file = "b"',
            "sinks.a: give template or template_file, not both",
        ),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.setenv("WORD", "sesame")
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text)
    assert said in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the sinks' file"):
        load_sinks(tmp_path / "none.toml")
