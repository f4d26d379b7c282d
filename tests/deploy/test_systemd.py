"""systemd: units as systemd itself reads them, what they start, and how far they are shut in."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from testkit.deployed import DEPLOY, Started, problems

FOLDER = DEPLOY / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
# Of ten; what is left is the network, which is what workers are for.
EXPOSURE = 2.0


def _settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if re.match(r"\w+=", line):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def _file(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"ANOMALYLLM_\w+=", line))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_start_what_there_is(unit: Path) -> None:
    settings = _settings(unit)
    (command,) = settings["ExecStart"]
    binary, *words = shlex.split(command)
    assert binary == "/opt/anomalyllm/bin/anomalyllm"
    own = dict(shlex.split(line)[0].split("=", 1) for line in settings["Environment"])
    variables = own | _file((FOLDER / "anomalyllm.env").read_text())
    assert (
        problems(Started(unit.name, words, {name: value.replace("%i", "1") for name, value in variables.items()})) == []
    )


def test_the_settings_that_are_only_proposed_are_understood(tmp_path: Path) -> None:
    """Lines of the file that are comments: they hold once the marks are taken away, with a drop-in as described there."""
    text = (FOLDER / "anomalyllm.env").read_text()
    proposed = _file(re.sub(r"^#(?=ANOMALYLLM_)", "", text, flags=re.MULTILINE))
    described = dict(line.split("=", 2)[1:] for line in re.findall(r"^#   (Environment=.*)$", text, re.MULTILINE))
    assert {"ANOMALYLLM_KAFKA_PASSWORD_FILE", "ANOMALYLLM_REDIS_PASSWORD_FILE"} <= set(described)
    credentials = set(re.findall(r"^#   LoadCredential=([\w-]+):", text, re.MULTILINE))
    assert {Path(value).name for name, value in described.items() if name.endswith("_FILE")} == credentials
    assert problems(Started("anomalyllm.env", ["streamer"], proposed | described)) == []


def test_ports_of_metrics_are_of_one_unit_each() -> None:
    ports = [re.search(r"METRICS_PORT=(\S+)", unit.read_text()) for unit in UNITS]
    given = [port[1] for port in ports if port]
    assert len(set(given)) == len(given) == len(UNITS) - 2, "all but the console and the one that ends"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_them(tmp_path: Path) -> None:
    for unit in [*UNITS, FOLDER / "anomalyllm.target"]:
        text = unit.read_text().replace("/opt/anomalyllm/bin/anomalyllm", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    names = [path.name.replace("@.", "@1.") for path in sorted(tmp_path.iterdir())]
    for name in names:
        if "@1." in name:
            shutil.copy(tmp_path / name.replace("@1.", "@."), tmp_path / name)
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in run.stderr.splitlines() if "anomalyllm" in line] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_shut_in(unit: Path) -> None:
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-300:]
