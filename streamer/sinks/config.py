"""The sinks' file: TOML, checked by pydantic; secrets come from the environment or from files, never from it."""

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from streamer.contracts import Incident, IncidentKind, Severity
from streamer.errors import ConfigError
from streamer.sinks.quiet import QuietHours
from streamer.sinks.values import Duration, Secret, SecretUrl, TextOrSecret, Url

RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
Priority = Literal["P1", "P2", "P3", "P4", "P5"]


class Table(BaseModel):
    """Base: an unknown key is refused, so that a misspelt one is heard of."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class RateLimit(Table):
    """At most so many messages in so much time; what is over it is summarised."""

    messages: int = Field(ge=1)
    per: Duration = 60.0


class SinkTable(Table):
    """What every sink has."""

    min_severity: Severity = "info"
    quiet_hours: QuietHours | None = Field(None, description="only critical incidents pass; others are told afterwards")
    updates: Literal["changes", "all"] = Field(
        "changes", description="changes: a higher severity, or a revision by late data; all: every event"
    )
    timeout: Duration = Field(10.0, description="a server that takes longer is away")
    give_up_after: Duration = Field(86_400.0, description="what cannot be delivered for so long is dead-lettered")


class Limited(SinkTable):
    """A sink that people hear of a message at a time."""

    rate_limit: RateLimit | None = RateLimit(messages=10, per=60.0)


class Grouped(Limited):
    """A sink without grouping of its own."""

    group_by: list[str] | None = Field(
        None, description='label names, or "stream", "tenant", "kind", "severity"; [] groups everything'
    )
    group_wait: Duration = Field(30.0, description="how long the first incident of a group waits for others")


class AlertmanagerTable(SinkTable):
    """Prometheus Alertmanager, API v2."""

    type: Literal["alertmanager"]
    url: Url = Field(description="base address, without /api/v2/alerts")
    headers: dict[str, TextOrSecret] = {}
    resolve_timeout: Duration = Field(
        300.0,
        ge=1,
        description="an alert that is not posted again for so long ends by itself; posted three times in it",
    )
    updates: Literal["changes", "all"] = "all"


class PagerDutyTable(Limited):
    """PagerDuty, Events API v2."""

    type: Literal["pagerduty"]
    routing_key: Secret
    url: Url = SecretStr("https://events.pagerduty.com/v2/enqueue")


class OpsgenieTable(Limited):
    """Opsgenie (and Jira Service Management), Alert API v2."""

    type: Literal["opsgenie"]
    api_key: Secret
    url: Url = SecretStr("https://api.opsgenie.com")
    priorities: dict[Severity, Priority] = {"critical": "P1", "warning": "P3", "info": "P5"}
    responders: list[dict[str, str]] = []
    tags: list[Annotated[str, Field(max_length=50)]] = Field([], max_length=10)

    @field_validator("priorities")
    @classmethod
    def _all(cls, value: dict[Severity, Priority]) -> dict[Severity, Priority]:
        return {"critical": "P1", "warning": "P3", "info": "P5", **value}


class WebhookTable(Grouped):
    """Any HTTP server: the CloudEvent as it is, or what a template makes of it."""

    type: Literal["webhook"]
    url: Url
    headers: dict[str, TextOrSecret] = {}
    secret: Secret | None = Field(None, description="key of the HMAC signature (Standard Webhooks)")
    template: str | None = Field(None, description="Jinja2; none: the CloudEvent")
    template_file: Path | None = None
    content_type: str = "application/json"
    rate_limit: RateLimit | None = None
    updates: Literal["changes", "all"] = "all"

    @model_validator(mode="after")
    def _one_template(self) -> "WebhookTable":
        if self.template is not None and self.template_file is not None:
            raise ValueError("give template or template_file, not both")
        return self


class SlackTable(Grouped):
    """Slack's incoming webhooks, and what speaks the same (Mattermost, Rocket.Chat)."""

    type: Literal["slack"]
    url: SecretUrl


class AppriseTable(Grouped):
    """Mail, Telegram, Teams, ntfy and about 150 other services, by Apprise's addresses."""

    type: Literal["apprise"]
    url: Secret = Field(description="mailtos://user:password@example.com?to=…, tgram://…, see Apprise")


AnySink = Annotated[
    AlertmanagerTable | PagerDutyTable | OpsgenieTable | WebhookTable | SlackTable | AppriseTable,
    Field(discriminator="type"),
]


class Route(Table):
    """Incidents that match all that is given go to these sinks."""

    sinks: list[str] = Field(min_length=1)
    streams: list[str] = Field(["*"], min_length=1, description="patterns, case counts: 'host.*'")
    labels: dict[str, str] = Field({}, description="label → pattern; all must match")
    tenants: list[str] = Field([], description="patterns; empty: any, and streams without a tenant")
    kinds: list[IncidentKind] = Field([], description="empty: all")
    min_severity: Severity = "info"

    def matches(self, incident: Incident) -> bool:
        """Whether the incident goes this way."""
        return (
            RANK[incident.severity] >= RANK[self.min_severity]
            and (not self.kinds or incident.kind in self.kinds)
            and any(fnmatchcase(incident.stream, pattern) for pattern in self.streams)
            and (not self.tenants or any(fnmatchcase(incident.tenant or "", pattern) for pattern in self.tenants))
            and all(
                name in incident.labels and fnmatchcase(incident.labels[name], pattern)
                for name, pattern in self.labels.items()
            )
        )


class SinksFile(Table):
    """The whole file."""

    link: str | None = Field(
        None, description="where a person looks: {stream}, {incident_id}, {started_at} and {tenant} are filled in"
    )
    sinks: dict[Annotated[str, Field(pattern=NAME)], AnySink] = Field(min_length=1)
    routes: list[Route] = Field([], description="none: everything goes to every sink")

    @field_validator("link")
    @classmethod
    def _link(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                value.format(stream="s", incident_id="i", started_at="t", tenant="")
            except (KeyError, IndexError, ValueError, AttributeError) as error:
                raise ValueError(
                    f"unknown placeholder {error}; known: {{stream}}, {{incident_id}}, {{started_at}}, {{tenant}}"
                ) from None
        return value

    @model_validator(mode="after")
    def _routed(self) -> "SinksFile":
        named = {name for route in self.routes for name in route.sinks}
        if unknown := sorted(named - set(self.sinks)):
            raise ValueError(f"routes name sinks that do not exist: {', '.join(unknown)}")
        if self.routes and (silent := sorted(set(self.sinks) - named)):
            raise ValueError(f"no route leads to {', '.join(silent)}: add one, or remove the sink")
        return self

    def wants(self, sink: str, incident: Incident) -> bool:
        """Whether the sink is to be told of the incident as it is now."""
        if RANK[incident.severity] < RANK[self.sinks[sink].min_severity]:
            return False
        return not self.routes or any(sink in route.sinks and route.matches(incident) for route in self.routes)


def load_sinks(path: Path) -> SinksFile:
    """Read and check the file. Raises ConfigError, every mistake on its own line; secrets are never shown."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the sinks' file {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    try:
        return SinksFile.model_validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_mistake(detail)}" for detail in error.errors())) from None


def _mistake(detail: Any) -> str:
    # The type of a sink stands in the location of what is wrong inside it; the reader has no such key in the file.
    types = {"alertmanager", "pagerduty", "opsgenie", "webhook", "slack", "apprise"}
    where = [str(part) for at, part in enumerate(detail["loc"]) if not (at == 2 and part in types)]
    text = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        text = "no such key"
    return f"{'.'.join(where) or 'the file'}: {text}"
