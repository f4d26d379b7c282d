"""Which parts of teacher and student learn, and what they see."""

import numpy as np
import pytest
import torch
from torch import nn

from detector.model.teacher_weights import tiny_random
from trainer.paper.learn import augmented, learn, loss_of
from trainer.paper.model import PaperModel, gap
from trainer.paper.settings import PaperSettings
from trainer.paper.student import PaperStudent
from trainer.paper.trunk import Trunk
from trainer.paper.windows import usable

LENGTH = 64


def _llama() -> Trunk:
    return Trunk(*tiny_random(2, 7))


def _gpt2() -> Trunk:
    """The architecture of the paper, tiny and random."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=1, n_positions=8, n_embd=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Trunk(GPT2Model(config), 1.0)


def _windows(count: int = 6, channels: int = 2) -> torch.Tensor:
    phase = torch.rand(count, channels, 1, generator=torch.Generator().manual_seed(1))
    return torch.sin(6.2832 * (torch.arange(LENGTH) / 20 + phase))


def _model(trunk: Trunk, channels: int = 2) -> PaperModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return PaperModel(trunk, _windows(4, channels).transpose(0, 1))


@pytest.mark.parametrize(
    ("trunk", "positions"), [(_llama, "teacher.positions_JH"), (_gpt2, "teacher.trunk.wpe.weight")]
)
def test_attention_and_mlp_are_frozen_and_the_rest_learns(trunk: object, positions: str) -> None:
    assert callable(trunk)
    model = _model(trunk())
    loss_of(model, _windows(), torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
    reached = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert {"teacher.embedding.weight", "teacher.output.weight", positions, "student.prototype_CML"} <= reached
    assert {name for name, _ in model.student.named_parameters()} <= {name.removeprefix("student.") for name in reached}
    of_trunk = {name for name in reached if name.startswith("teacher.trunk.")}
    assert of_trunk
    assert all("norm" in name or ".ln_" in name or "wpe" in name for name in of_trunk)
    frozen = {name for name, _ in model.named_parameters() if ("attn" in name or "mlp" in name) and "trunk" in name}
    assert frozen
    assert not frozen & reached


def _sine(slots: int = 700, channels: int = 1) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(slots, channels))
    return (np.sin(2 * np.pi * np.arange(slots) / 20)[:, None] * 1.4 + 0.1 * noise).astype(np.float32)


def _settings(**own: object) -> PaperSettings:
    return PaperSettings.model_validate({"teacher": "random", "paper_window": LENGTH, "paper_steps": 40, **own})


def test_the_loss_falls_and_the_trunk_stays_as_it_was() -> None:
    trunk, z_SC = _llama(), _sine()
    before = {name: value.clone() for name, value in trunk.model.named_parameters()}
    learnt = learn(z_SC, usable(z_SC, LENGTH), trunk, _settings(), 0)
    assert np.mean(learnt.losses[-8:]) < 0.8 * np.mean(learnt.losses[:8])
    assert all(torch.equal(value, before[name]) for name, value in trunk.model.named_parameters())
    after = dict(learnt.model.teacher.trunk.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value) == ("norm" not in name)
    assert all(name in dict(learnt.model.named_parameters()) for name in learnt.tuned)


def test_a_seed_settles_everything() -> None:
    z_SC = _sine()
    first, again, other = (
        learn(z_SC, usable(z_SC, LENGTH), _llama(), _settings(paper_steps=4), seed) for seed in (0, 0, 1)
    )
    assert first.losses == again.losses
    assert first.losses != other.losses
    assert all(torch.equal(first.tuned[name], again.tuned[name]) for name in first.tuned)


def test_features_have_unit_length_and_no_neighbours() -> None:
    model, x_NCL = _model(_llama()), _windows()
    with torch.inference_mode():
        teacher_NF, student_NF = model(x_NCL)
        alone = model(x_NCL[2:3])
    torch.testing.assert_close(teacher_NF.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(student_NF.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(alone[0][0], teacher_NF[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone[1][0], student_NF[2], atol=1e-5, rtol=1e-4)
    assert (gap(teacher_NF, student_NF) <= 2.001).all()


def test_the_prototype_is_chosen_by_cosine_and_seen_from_the_window() -> None:
    prototype_CML = _windows(5, 1).transpose(0, 1)
    student = PaperStudent(prototype_CML)
    louder_NCL = 3.0 * prototype_CML[0, [3, 1], None] + 2.0
    cosine_NC, index_NC = student.nearest(louder_NCL)
    assert index_NC[:, 0].tolist() == [3, 1]
    assert (cosine_NC > 0.99).all()
    with torch.inference_mode():  # the window's own shape is the same, its prototype is not
        assert not torch.allclose(student(louder_NCL), student(prototype_CML[0, [3, 1], None]), atol=1e-3)


def test_augmentations_are_scaled_and_jittered_windows() -> None:
    x_NCL = _windows(400)
    scaled_NCL, jittered_NCL = augmented(x_NCL, torch.Generator().manual_seed(0))
    factor_NCL = scaled_NCL / x_NCL
    assert float((factor_NCL.amax(-1) - factor_NCL.amin(-1)).abs().max()) < 1e-3
    assert abs(float(factor_NCL[..., 0].mean()) - 2.0) < 0.2
    assert abs(float((jittered_NCL - x_NCL).std()) - 0.8) < 0.02


def test_the_read_out_sees_all_channels() -> None:
    student, x_NCL = PaperStudent(_windows(4, 3).transpose(0, 1)), _windows(1, 3).requires_grad_()
    student(x_NCL)[0, 0].backward()
    assert x_NCL.grad is not None
    assert (x_NCL.grad.abs().sum(-1) > 0).all()
    assert isinstance(student.head[0], nn.Linear)
