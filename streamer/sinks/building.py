"""From a sink's table to its transport."""

from streamer.errors import ConfigError
from streamer.sinks.alertmanager import Alertmanager
from streamer.sinks.config import (
    AlertmanagerTable,
    AppriseTable,
    OpsgenieTable,
    PagerDutyTable,
    SinksFile,
    SlackTable,
    WebhookTable,
)
from streamer.sinks.opsgenie import Opsgenie
from streamer.sinks.pagerduty import PagerDuty
from streamer.sinks.slack import Slack
from streamer.sinks.transport import Transport
from streamer.sinks.webhook import Webhook, key_of


def build(file: SinksFile, name: str) -> Transport:
    """The transport of a sink by its name. Raises ConfigError where its table cannot work."""
    table, link = file.sinks[name], file.link
    try:
        match table:
            case AlertmanagerTable():
                return Alertmanager(table, link)
            case PagerDutyTable():
                return PagerDuty(table, link)
            case OpsgenieTable():
                return Opsgenie(table, link)
            case SlackTable():
                return Slack(table, link)
            case WebhookTable():
                if table.secret is not None:
                    key_of(table.secret)
                return Webhook(table, link)
            case AppriseTable():
                from streamer.sinks.apprise import Apprise  # it takes a second to import

                return Apprise(table, link)
    except ConfigError as error:
        raise ConfigError(f"sinks.{name}: {error}") from error
