"""Which version this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version() -> str:
    """Version of the installed package."""
    try:
        return version("anomalyllm")
    except PackageNotFoundError:  # run from a folder without an installation
        return "0+unknown"
