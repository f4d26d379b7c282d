"""The profile's flags, and what goes with which."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from detector.model.teacher import TeacherError
from streamer.cli.root import build_app
from streamer.errors import ConfigError
from testkit.waves import settings_of, waves, write_folder
from trainer.paper.trunk import load_trunk


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), ["backtest", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.backtest.cli.configure_logs", lambda *_: None)


@pytest.mark.slow(2)
def test_the_command_has_the_profile(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(0)])
    plots = tmp_path / "plots"
    cheap = ("--teacher", "random", "--paper-window", 32, "--paper-steps", 20, "--plot", plots)
    rows = []
    for profile in ((), ("--profile", "product"), ("--profile", "paper", *cheap)):
        report = tmp_path / "report.json"
        done = _run(folder, *profile, "--state-dir", tmp_path / "state", "--json", report)
        assert done.exit_code == 0, done.output
        [row] = json.loads(report.read_text())["series"]
        rows.append(row)
    product, named, paper = rows
    assert product == named
    assert paper["gate"] == "none: the paper has no gate"
    assert paper.keys() == product.keys()
    assert (plots / "wave-0.png").exists()


def test_a_paper_without_a_teacher_is_refused(tmp_path: Path) -> None:
    done = _run(tmp_path, "--profile", "paper", "--teacher", "none")
    assert isinstance(done.exception, ConfigError)
    assert "leave --teacher out (smollm2)" in str(done.exception)


def test_the_paper_has_the_offline_teacher_unless_told(tmp_path: Path) -> None:
    assert settings_of(tmp_path).teacher == "none"
    assert settings_of(tmp_path, profile="paper").teacher == "smollm2"
    assert settings_of(tmp_path, profile="paper", teacher="some/folder").teacher == "some/folder"
    with pytest.raises(ValidationError, match="multiple of 16"):
        settings_of(tmp_path, paper_window=100)


def test_a_teacher_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="cannot be loaded"):
        load_trunk(settings_of(tmp_path, profile="paper", teacher=str(tmp_path / "nothing")))


def test_a_folder_with_the_paper_s_own_architecture_is_taken(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=4, n_positions=8, n_embd=32, n_layer=3, n_head=4, bos_token_id=None, eos_token_id=None
    )
    GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    trunk = load_trunk(settings_of(tmp_path, profile="paper", teacher=str(tmp_path / "gpt2"), paper_blocks=2))
    assert trunk.has_positions
    assert trunk.hidden == 32
    assert {name.split(".")[1] for name, _ in trunk.model.named_parameters() if name.startswith("h.")} == {"0", "1"}
