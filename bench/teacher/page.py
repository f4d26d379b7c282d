"""Rows of all steps → tables and verdicts in Markdown → docs/teacher.md."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from bench.markdown import NONE, number, tabled
from bench.quality.page import machine, revision
from bench.steps import Step
from bench.teacher.adapter import BATCH, DEPTH, STEPS, Trained
from bench.teacher.figures import Interval, Pair, difference, fewer_false, hits, mean
from bench.teacher.plan import BUDGETS, SAVED, SHARES, TARGETS, TEACHERS, WIDE
from trainer.backtest.runner import Row
from trainer.fit.evidence import LEAST

WITHOUT = "none"


class Results:
    """Rows by table, name and series; those that failed are left out."""

    def __init__(self, done: Sequence[tuple[Step, list[Row]]]) -> None:
        self._rows: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
        for step, rows in done:
            here = self._rows.setdefault((step.table, step.name), {})
            here |= {(step.data_set, row["name"]): row for row in rows if "error" not in row}

    def names(self, table: str) -> list[str]:
        """Rows of a table that have any series, in order."""
        return [name for (of, name), rows in self._rows.items() if of == table and rows]

    def rows(self, table: str, name: str) -> list[Row]:
        """All series of a row of a table."""
        return list(self._rows.get((table, name), {}).values())

    def pairs(self, table: str, name: str, to: tuple[str, str]) -> list[Pair]:
        """Series that both have."""
        without, having = self._rows.get(to, {}), self._rows.get((table, name), {})
        return [(without[key], row) for key, row in having.items() if key in without]


def write(page: Path, done: Sequence[tuple[Step, list[Row]]], trained: Mapping[str, Trained], seconds: float) -> None:
    """Fill the template."""
    results = Results(done)
    text = Template(Path(__file__).with_name("template.md").read_text()).substitute(
        machine=machine(),
        date=datetime.now(UTC).date().isoformat(),
        revision=revision(),
        minutes=f"{seconds / 60:.0f}",
        verdict=result(results),
        shares="\n\n".join(_shares(results, share) for share in SHARES),
        second=_second(results),
        long=_compared(results, "long"),
        channels=_compared(results, "channels"),
        depths=_compared(results, "depths"),
        budgets=_budgets(results),
        kinds=_kinds(results),
        adapter=_adapter(trained) + _compared(results, "adapter"),
        series=len(results.rows(_share(1.0), WITHOUT)),
        least=LEAST,
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)


def result(results: Results) -> str:
    """The first line of the page, and what each regime says: from the figures alone."""
    standard = (_share(1.0), WITHOUT)
    always = results.pairs(_share(1.0), "pretrained, always", standard)
    published = {figure: difference(always, figure) for figure in ("found", "vus_pr")}
    if not any(published.values()):
        return "Not run."
    wins = [figure for figure, interval in published.items() if interval is not None and interval.above]
    loses = [figure for figure, interval in published.items() if interval is not None and interval.below]
    words = {"found": "found", "vus_pr": "VUS-PR"}
    shown = ", ".join(f"{words[figure]} {interval}" for figure, interval in published.items() if interval is not None)
    head = (
        f"**The LLM does not earn its place in the standard regime**: its paired interval is not above zero ({shown})."
        if not wins or loses
        else f"**The LLM is above zero in the standard regime** ({shown})."
    )
    lines = [head, ""]
    for share, target in TARGETS.items():
        pairs = results.pairs(_share(share), "pretrained, always", (_share(share), WITHOUT))
        lines.append(
            f"- {share:.0%} of the training part, {target:+.2f} found wanted: {_answer(difference(pairs, 'found'), target)}"
        )
    lines.append(f"- by evidence, 100% of the training part: {_by_evidence(results)}")
    for budget in BUDGETS:
        saved = fewer_false(results.pairs(f"budget {budget:.0%}", "pretrained", standard))
        lines.append(
            f"- second opinion on {budget:.0%} of the windows, {SAVED:.0%} fewer false alerts at equal recall wanted: {_answer(saved, SAVED)}"
        )
    lines += [
        f"- {share:.0%} of the training part, VUS-PR against none and the controls: {_against(results, share)}"
        for share in WIDE
    ]
    return "\n".join(lines)


def _by_evidence(results: Results) -> str:
    """What the default does."""
    name = "pretrained, by evidence"
    rows, pairs = results.rows(_share(1.0), name), results.pairs(_share(1.0), name, (_share(1.0), WITHOUT))
    asking = sum(row["teacher"] for row in rows)
    return (
        f"{asking} of {len(rows)} series ask; found {_shown(difference(pairs, 'found'))}, VUS-PR "
        f"{_shown(difference(pairs, 'vus_pr'))}, share of false alerts saved at equal recall {_shown(fewer_false(pairs))}."
    )


def _answer(interval: Interval | None, target: float) -> str:
    if interval is None:
        return "cannot be said (nothing found, or no false alert, without it)."
    reached = interval.middle >= target and interval.above
    return f"{'reached' if reached else 'not reached'}, {interval}."


def _against(results: Results, share: float) -> str:
    table, said = _share(share), []
    for name in (WITHOUT, *(f"{title}, always" for title in list(TEACHERS)[1:])):
        pairs = results.pairs(table, "pretrained, always", (table, name))
        said.append(f"− {name.partition(',')[0]} {_shown(difference(pairs, 'vus_pr'))}")
    return ", ".join(said) + "."


def _shares(results: Results, share: float) -> str:
    return f"{share:.0%} of the training part:\n\n" + _compared(results, _share(share))


def _compared(results: Results, table: str) -> str:
    """A line a row of the table, compared with the one without a teacher."""
    lines = []
    for name in results.names(table):
        rows = results.rows(table, name)
        pairs = results.pairs(table, name, (table, WITHOUT))
        found, vus = (NONE, NONE) if name == WITHOUT else (_shown(difference(pairs, f)) for f in ("found", "vus_pr"))
        lines.append([
            name, str(len(rows)), number(mean(rows, "found")), found, number(mean(rows, "vus_pr")), vus,
            hits(rows), NONE if name == WITHOUT else _shown(fewer_false(pairs)), f"{sum(row['teacher'] for row in rows)}", _percent(rows), number(sum(r["fit_s"] for r in rows) / len(rows), 2),
            _rate(rows),
        ])  # fmt: skip
    head = (
        "teacher",
        "series",
        "found",
        "− none",
        "VUS-PR",
        "− none",
        "hits, false",
        "false saved",
        "asks",
        "windows",
        "fit, s",
        "slots/s",
    )
    return tabled(head, lines)


def _adapter(trained: Mapping[str, Trained]) -> str:
    """What training brought, by its own measure."""
    if not trained:
        return ""
    said = [
        f"{title}: hidden patches {made.hidden_before:.2f} → {made.hidden_after:.2f}, next patch {made.next_before:.2f} → {made.next_after:.2f}"
        for title, made in trained.items()
    ]
    windows = next(iter(trained.values())).windows
    return (
        f"Adapter and layer norms of {DEPTH} blocks, {STEPS} steps of {BATCH} windows out of {windows:,} (training parts of series that "
        "no table replays), half hidden patches, half next patch. Mean square errors on held-back windows, as shares of those "
        f"of repeating the last value, before and after: {'; '.join(said)}.\n\n"
    )


def _second(results: Results) -> str:
    lines = []
    for budget in BUDGETS:
        for name in results.names(f"budget {budget:.0%}"):
            pairs = results.pairs(f"budget {budget:.0%}", name, (_share(1.0), WITHOUT))
            lines.append([f"{budget:.0%}", name, _shown(fewer_false(pairs)), _shown(fewer_false(pairs, 2.0))])
    return tabled(("windows", "teacher", "false alerts saved at threshold 4", "at threshold 2"), lines)


def _budgets(results: Results) -> str:
    lines = []
    for budget in (*BUDGETS, 1.0):
        table = f"budget {budget:.0%}"
        to = (table if budget == 1.0 else _share(1.0), WITHOUT)
        for name in results.names(table):
            if name == WITHOUT:
                continue
            rows, pairs = results.rows(table, name), results.pairs(table, name, to)
            without = [row for row, _ in pairs]  # of the same series
            lines.append([
                f"{budget:.0%}", name, str(len(rows)), _percent(rows), _shown(difference(pairs, "found")), _shown(difference(pairs, "vus_pr")),
                f"{_rate(rows)} of {_rate(without)}", _asked(rows, without),
            ])  # fmt: skip
    head = ("budget", "teacher", "series", "windows", "found − none", "VUS-PR − none", "slots/s", "LLM windows/s")
    return tabled(head, lines)


def _kinds(results: Results) -> str:
    """How many streams ask when a kind counts for nothing, and what each kind brings."""
    lines: dict[str, list[str]] = {}
    names = results.names("kinds")
    for name in names:
        rows = [row for row in results.rows("kinds", name) if row["alone"]]
        kinds = rows[0]["kinds"] if rows else []
        for left_out in ("none", *kinds):
            kept = [k for k, kind in enumerate(kinds) if kind != left_out]
            gains = [gain for row in rows for gain in _gains(row, kept)]
            asking = sum(max(gain) >= LEAST for gain in gains)
            own = [k for k, kind in enumerate(kinds) if kind == left_out] or kept
            best = sum(max(gain) for row in rows for gain in _gains(row, own))
            lines.setdefault(left_out, [left_out]).extend([f"{asking}/{len(gains)}", f"{best:+d}"])
    head = ["left out", *(f"{name}: {what}" for name in names for what in ("asks", "its net gain"))]
    return tabled(head, list(lines.values()))


def _gains(row: Row, kept: Sequence[int]) -> list[list[int]]:
    """Net gain (rows, mixtures) counted on some kinds."""
    out = []
    for alone, mixed in zip(row["alone"], row["mixed"], strict=True):
        before = sum(sum(alone[k]) for k in kept)
        out.append([sum(sum(mixture[k]) for k in kept) - before for mixture in mixed])
    return out


def _percent(rows: Sequence[Row]) -> str:
    return f"{sum(row['teacher_slots'] for row in rows) / max(1, sum(row['slots'] for row in rows)):.1%}"


def _rate(rows: Sequence[Row]) -> str:
    return f"{sum(row['slots'] for row in rows) / max(1e-9, sum(row['score_s'] for row in rows)):,.0f}"


def _asked(rows: Sequence[Row], without: Sequence[Row]) -> str:
    """Windows a second of CPU that the teacher adds."""
    seconds = sum(row["score_s"] for row in rows) - sum(row["score_s"] for row in without)
    return f"{sum(row['teacher_slots'] for row in rows) / seconds:,.0f}" if seconds > 0 else NONE


def _share(share: float) -> str:
    return f"share {share:.0%}"


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return NONE
    return f"**{interval}**" if interval.above or interval.below else str(interval)
