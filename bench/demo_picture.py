"""docs/demo.svg: the live screen of one real run of the demo, at its end.

python bench/demo_picture.py docs/demo.svg
"""

import asyncio
import io
import sys
from pathlib import Path

from rich.console import Console

from streamer.demo.run import Demo
from streamer.demo.screen import AlertView, DemoView, render
from streamer.settings import CommonSettings

WIDTH = 132


class Keep:
    """Keeps the screen instead of showing it."""

    view: DemoView | None = None

    def update(self, view: DemoView) -> None:
        """The newest one."""
        self.view = view

    def phase(self, view: DemoView) -> None:
        """So that whoever waits sees that it goes on."""
        print(f"{view.elapsed_s:5.1f} s {view.phase} {view.detail}", file=sys.stderr)
        self.view = view

    def alert(self, alert: AlertView) -> None:
        """The screen has it."""


def main(path: Path) -> None:
    """Run the demo, draw its last screen."""
    keep = Keep()
    outcome = asyncio.run(Demo(CommonSettings(), keep).run())
    assert keep.view is not None
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO())
    console.print(render(keep.view))
    console.save_svg(str(path), title="make demo")
    print(outcome.as_json())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
