"""The `anomalyllm` command."""


def main() -> None:
    """Console entry point."""
    from streamer.cli.root import main as run

    run()
