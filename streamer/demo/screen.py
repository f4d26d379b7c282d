"""The live screen of the demo: streams, rates, students by state, and alerts as they come, each with its reason."""

from collections import deque
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

SPARK = "▁▂▃▄▅▆▇█"
SPARK_POINTS = 40
ALERTS_SHOWN = 10
SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


@dataclass
class StreamView:
    """What the screen shows of one stream."""

    unit: str
    values: deque[float] = field(default_factory=lambda: deque(maxlen=SPARK_POINTS))
    state: str = "cold"
    open_incidents: int = 0


@dataclass
class AlertView:
    """One line of the alert list."""

    clock: str
    stream: str
    state: str
    severity: str
    reason: str


@dataclass
class DemoView:
    """Everything on the screen; the demo writes it, `render` draws it."""

    phase: str = "starting"
    detail: str = ""
    elapsed_s: float = 0.0
    points_in: int = 0
    points_per_s: float = 0.0
    windows_scored: int = 0
    dead_letters: int = 0
    students: dict[str, int] = field(default_factory=lambda: {"cold": 0, "warming": 0, "ready": 0})
    streams: dict[str, StreamView] = field(default_factory=dict)
    alerts: deque[AlertView] = field(default_factory=lambda: deque(maxlen=ALERTS_SHOWN))


def sparkline(values: deque[float]) -> str:
    """One character a value between the smallest and the largest; a flat line stays at the bottom."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = high - low
    if span <= 1e-9 * max(1.0, abs(high)):
        return SPARK[0] * len(values)
    return "".join(SPARK[min(len(SPARK) - 1, int((value - low) / span * len(SPARK)))] for value in values)


def render(view: DemoView) -> RenderableType:
    """The whole screen."""
    return Group(_head(view), _streams(view), _alerts(view))


def _head(view: DemoView) -> Panel:
    figures = Table.grid(expand=True, padding=(0, 2))
    states = "  ".join(f"{name} [bold]{count}[/]" for name, count in view.students.items())
    figures.add_row(
        f"points [bold]{view.points_in:,}[/] ({view.points_per_s:,.0f}/s)",
        f"windows scored [bold]{view.windows_scored:,}[/]",
        f"students: {states}",
        f"dead letters [bold]{view.dead_letters}[/]",
    )
    title = f"[bold]AnomalyLLM[/] · {view.phase} · {view.elapsed_s:.0f} s"
    return Panel(Group(figures, Text(view.detail, style="dim")), title=title, border_style="cyan")


def _streams(view: DemoView) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    table.add_column("stream", no_wrap=True)
    table.add_column("last", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=SPARK_POINTS)
    table.add_column("student", no_wrap=True)
    for name, stream in view.streams.items():
        last = f"{stream.values[-1]:,.2f} {stream.unit}" if stream.values else "–"
        hot = stream.open_incidents > 0
        state = Text(f"{stream.state}{' · ALERT' if hot else ''}", style="bold red" if hot else "green")
        table.add_row(name, last, Text(sparkline(stream.values), style="red" if hot else "cyan"), state)
    return table


def _alerts(view: DemoView) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    for alert in view.alerts:
        style = SEVERITY_STYLE.get(alert.severity, "white") if alert.state != "resolved" else "green"
        table.add_row(
            Text(alert.clock, style="dim"),
            Text(alert.state, style=style),
            Text(alert.stream, style="bold"),
            Text(alert.reason, overflow="fold"),
        )
    body: RenderableType = table if view.alerts else Text("none so far", style="dim")
    return Panel(body, title="alerts", border_style="magenta")
