"""`python -m streamer.cli`: the same command where no console script is on the path."""

from streamer.cli import main

if __name__ == "__main__":
    main()
