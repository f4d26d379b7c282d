"""`anomalyllm streams`: list streams, set how one is read and judged, delete one everywhere."""

from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from streamer.cli.options import with_fields, with_settings
from streamer.cli.running import ask, out, redis_or_error, send_one
from streamer.contracts import StreamSettings
from streamer.errors import ConfigError, ContractError
from streamer.settings import CommandSettings, CommonSettings

_PANEL = "What to set (what is not given keeps its value)"
Name = Annotated[str, typer.Argument(help="Name of the stream.")]
Replace = Annotated[bool, typer.Option("--replace", help="Start from the defaults instead of the present settings.")]
AsJson = Annotated[bool, typer.Option("--json", envvar="ANOMALYLLM_STREAMS_LIST_JSON", help="One JSON object a line.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    streams = typer.Typer(help="List, set and delete streams.", no_args_is_help=True)
    app.add_typer(streams, name="streams")

    @streams.command("list")
    @with_settings(CommandSettings)
    def show(settings: CommandSettings, as_json: AsJson = False) -> None:
        """List all streams: what arrived, their grid, and what was set."""
        rows = ask(settings, _list(settings))
        if as_json:
            import orjson

            for row in rows:
                typer.echo(orjson.dumps(row).decode())
            return
        out.print(_table(rows))

    @streams.command("set")
    @with_settings(CommandSettings)
    @with_fields(StreamSettings, _PANEL)
    def change(settings: CommandSettings, name: Name, fields: dict[str, Any], replace: Replace = False) -> None:
        """Set how a stream is read and judged."""
        made = ask(settings, _set(settings, name, fields, replace))
        out.print(f"{name}: {made.model_dump_json(exclude_defaults=True)}")

    @streams.command("delete")
    @with_settings(CommandSettings)
    def delete(settings: CommandSettings, name: Name) -> None:
        """Delete a stream everywhere: window, state and model."""
        ask(settings, send_one(settings, "streams", name, None))
        out.print(f"{name}: deletion sent; it comes back if somebody goes on publishing it")


async def present_settings(settings: CommonSettings) -> dict[str, StreamSettings]:
    """Settings of all streams, as they are now."""
    from streamer.kafka.tables import TableReader
    from streamer.kafka.topics import provision
    from streamer.parsing import parse

    await provision(settings)
    reader = TableReader(settings, "streams")
    await reader.start()
    try:
        present: dict[str, StreamSettings] = {}
        for record in await reader.catch_up():
            name = (record.key or b"").decode(errors="replace")
            try:
                present[name] = parse(StreamSettings, record.value or b"{}", "stream settings")
            except ContractError:
                continue  # a worker dead-letters it; here the settings before it stay
            if record.value is None:
                del present[name]
        return present
    finally:
        await reader.stop()


async def _set(settings: CommonSettings, name: str, fields: dict[str, Any], replace: bool) -> StreamSettings:
    before = (
        {} if replace else (await present_settings(settings)).get(name, StreamSettings()).model_dump(exclude_unset=True)
    )
    for dial, other in (("alert_budget", "alerts_per_week"), ("alerts_per_week", "alert_budget")):
        if fields.get(dial) is not None and other not in fields:
            before.pop(other, None)  # one dial, two scales: the newer word counts
    try:
        made = StreamSettings.model_validate({**before, **fields})
    except ValidationError as error:
        # A rule between two settings has no place of its own: its message names them.
        places = [".".join(map(str, e["loc"])).replace("_", "-") for e in error.errors()]
        lines = [f"--{at}: {e['msg']}" if at else e["msg"] for at, e in zip(places, error.errors(), strict=True)]
        raise ConfigError("\n".join(lines)) from error
    await send_one(settings, "streams", name, made.model_dump_json(exclude_unset=True).encode())
    return made


async def _list(settings: CommonSettings) -> list[dict[str, Any]]:
    from streamer.windows.keys import Keys
    from streamer.windows.ring import all_streams, read_headers

    known = await present_settings(settings)
    keys = Keys(settings.namespace)
    async with redis_or_error(settings) as client:
        seen = await all_streams(client, keys)
        headers = await read_headers(client, keys, seen, settings.partitioner)
    rows = []
    for name in sorted({*known, *headers}):
        header, chosen = headers.get(name), known.get(name)
        rows.append(
            {
                "stream": name,
                "state": header.state if header else "no points yet",
                "interval_s": header.interval_ns / 1e9 if header and header.interval_ns else None,
                "channels": header.channels if header else [],
                "slots": max(0, header.hi - header.lo + 1) if header else 0,
                "points": header.points if header else 0,
                "settings": chosen.model_dump(mode="json", exclude_unset=True) if chosen else {},
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("stream", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("interval", "channels", "slots", "points"):
        table.add_column(column, justify="right")
    table.add_column("settings")
    for row in rows:
        interval = "–" if row["interval_s"] is None else f"{row['interval_s']:g} s"
        chosen = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
        counts = (str(len(row["channels"])), f"{row['slots']:,}", f"{row['points']:,}")
        table.add_row(row["stream"], row["state"], interval, *counts, chosen)
    return table
