"""The `anomalyllm` command."""

import gc


def main() -> None:
    """Console entry point."""
    # Until the command is built all that is made stays: looking for garbage in it took a fifth of a command's start.
    gc.disable()
    from streamer.cli.root import main as run

    run()
