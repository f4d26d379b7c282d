"""Tables in Markdown, as the pages of docs/ have them."""

from collections.abc import Sequence

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """One cell."""
    return NONE if value is None else f"{value:.{digits}f}"


def tabled(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table, its first column on the left; a sentence where there is no line."""
    if not lines:
        return "Not run."
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
