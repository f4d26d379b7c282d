"""The Dockerfile: what it copies, sets and installs. `make images-check` runs the whole of it, without Docker."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from testkit.deployed import DEPLOY, ROOT, Started, dockerfile, image_variables, problems

FILE = DEPLOY / "docker" / "Dockerfile"
IMAGES = ("light", "cpu", "cuda")
INSTALL = runpy.run_path(str(DEPLOY / "docker" / "install.py"))


def test_final_images_run_as_a_number_that_is_not_root() -> None:
    lines = dockerfile(FILE)
    for image in IMAGES:
        (user,) = [each.text for each in lines if (each.stage, each.word) == (image, "USER")]
        assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
        assert [each.word for each in lines if each.stage == image][-1] == "USER", "nothing is written after it"


def test_every_stage_that_is_named_is_there() -> None:
    lines = dockerfile(FILE)
    stages = {each.stage for each in lines} - {""}
    named = {word for each in lines if each.word == "COPY" for word in re.findall(r"--from=(\S+)", each.text)}
    begun = {each.text.split()[0] for each in lines if each.word == "FROM"} - {"${PYTHON_IMAGE}"}
    assert named | begun <= stages
    assert set(IMAGES) <= stages


def test_images_begin_the_command_with_variables_that_every_command_has() -> None:
    (entry,) = [json.loads(each.text) for each in dockerfile(FILE) if each.word == "ENTRYPOINT"]
    (usual,) = [json.loads(each.text) for each in dockerfile(FILE) if each.word == "CMD"]
    assert entry == ["anomalyllm"]
    for verb in ("streamer", "detector", "trainer", "sink", "console"):
        assert problems(Started("Dockerfile", [verb], image_variables(FILE))) == []
    assert problems(Started("Dockerfile", usual)) == []


def test_the_health_check_asks_a_page_that_workers_have(tmp_path: Path) -> None:
    """Its own code, against the server of the workers: well while it works, not well while it starts."""
    from streamer.host.probes import Health, Probes

    (text,) = [each.text for each in dockerfile(FILE) if each.word == "HEALTHCHECK"]
    words = json.loads(text.partition("CMD ")[2])
    health = Health("streamer")
    probes = Probes(health, "127.0.0.1", 0)
    try:
        environment = {"ANOMALYLLM_METRICS_PORT": str(probes.port)}
        run = [sys.executable, *words[1:]]
        assert words[0] == "python"
        assert subprocess.run(run, env=environment, capture_output=True, check=False).returncode == 1
        health.ready = True
        assert subprocess.run(run, env=environment, capture_output=True, check=False).returncode == 0
    finally:
        probes.close()


@pytest.mark.parametrize("image", IMAGES)
def test_whatever_an_image_installs_has_an_exact_version(image: str) -> None:
    wanted = [Requirement(line).name for line in INSTALL["requirements"](image)]
    assert ("torch" in wanted) == (image != "light")
    assert "s3fs" in wanted or image == "light"
    assert "pytest" not in wanted
    for name in [*wanted, "torch", INSTALL["TEACHER"], "setuptools"]:
        assert INSTALL["pinned"](name)


def _copied(stages: set[str]) -> set[str]:
    """Sources of COPY in these stages, as the context has them."""
    lines = [each.text.split() for each in dockerfile(FILE) if each.word == "COPY" and each.stage in stages]
    return {source for words in lines if not words[0].startswith("--from") for source in words[:-1]}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert _copied({each.stage for each in dockerfile(FILE)}) == let_through
    assert all((ROOT / name).exists() for name in let_through)


@pytest.mark.slow(5)
def test_the_package_is_whole_and_its_command_runs(tmp_path: Path) -> None:
    """The step `package`, in a copy of what the Dockerfile copies, into an environment of its own."""
    source, venv = tmp_path / "src", tmp_path / "venv"
    for name in _copied({"build", "package"}):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    tracked = {
        str(path.relative_to(source))
        for room in ("streamer", "detector", "trainer")
        for path in (source / room).rglob("*")
        if path.is_file()
    }
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next((venv / "lib").glob("python3*/site-packages"))
    # Its dependencies are those of this environment; `make images-check` installs them.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (step,) = [each.text for each in dockerfile(FILE) if "install.py package" in each.text]
    words = shlex.split(step.partition("&& python ")[2])
    (target,) = [word for word in words if word.startswith("/opt")]
    words[words.index(target)] = str(venv)
    subprocess.run([sys.executable, *words], cwd=source, check=True, env={"PIP_NO_BUILD_ISOLATION": "0", "PATH": ""})
    installed = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert tracked <= installed
    shown = subprocess.run(
        [venv / "bin" / "anomalyllm", "--version"], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert re.fullmatch(r"anomalyllm \d+\.\d+\.\d+\S*\n", shown.stdout)
