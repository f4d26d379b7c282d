"""Does a teacher help the gap head? Three heads on the same examples: no teacher, pretrained, random weights.

  python -m bench.gap_teacher --heads .state/gap [--teachers none,smollm2,random] [--each 24] [--steps 300]

The teacher's channels are its tokens of the window less those of the nearest prototype, less what a ridge map from
window and prototype predicts of that (fitted on the row's normal examples, half on half): the student of a stream, on
few windows. Cross-validated by family; the figure is the share of anomalies above nine tenths of the normal windows of
their row, mean over rows, interval over rows.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.gap_head import interval
from detector.gaphead import FORM, ROW, SAID_UNIT, About, correction, deep_channels
from detector.gapview import ASK
from detector.settings import DetectorSettings
from detector.teacher import Teacher, features, load_teacher
from streamer.logs import configure_logs
from trainer.distil import ridge
from trainer.gap.__main__ import EXAMPLES, families_of
from trainer.gap.examples import Examples
from trainer.gap.families import folds
from trainer.gap.keep import read
from trainer.gap.learn import learn

_SPREAD_FLOOR = 1e-2


def thinned(examples: Examples, each: int, seed: int) -> Examples:
    """At most `each` anomalies and as many normal windows a row, all such as the head is asked about."""
    rng = np.random.default_rng(seed)
    asked_N = examples.seen.said_NV[:, ROW].float().numpy() * SAID_UNIT >= ASK
    label_N, row_N = examples.label_N.numpy() > 0, examples.row_N.numpy()
    kept = []
    for row in range(len(examples.rows)):
        for label in (False, True):
            at = np.flatnonzero((row_N == row) & asked_N & (label_N == label))
            kept.append(rng.permutation(at)[:each])
    at_N = torch.from_numpy(np.sort(np.concatenate(kept)))
    return replace(
        examples, seen=examples.seen.at(at_N), label_N=examples.label_N[at_N], kind_N=examples.kind_N[at_N],
        row_N=examples.row_N[at_N],
    )  # fmt: skip


def with_teacher(examples: Examples, teacher: Teacher) -> Examples:
    """The same with teacher channels."""
    form_NCT = examples.seen.form_NCT.float()
    window_NT = form_NCT[:, FORM].sinh()
    proto_NT = window_NT - form_NCT[:, FORM + 1].sinh()
    # Half precision makes prototypes of one row differ in the last digit.
    unique_PT, which_N = torch.unique((proto_NT * 50).round() / 50, dim=0, return_inverse=True)
    change_NDO = teacher.tokens(window_NT) - teacher.tokens(unique_PT)[which_N]
    phi_NF = features(window_NT, proto_NT)
    left_NDO = torch.zeros_like(change_NDO)
    for row in range(len(examples.rows)):
        at_N = (examples.row_N == row).nonzero()[:, 0]
        normal = at_N[examples.label_N[at_N] == 0]
        if len(normal) < 8:
            continue
        halves = (normal[::2], normal[1::2])
        maps = [ridge(phi_NF[half][None], change_NDO[half][None])[0] for half in halves]
        in_first = torch.isin(at_N, halves[0])
        for mine, ridge_DFO in ((at_N[~in_first], maps[0]), (at_N[in_first], maps[1])):
            left_NDO[mine] = change_NDO[mine] - torch.einsum("nf,dfo->ndo", phi_NF[mine], ridge_DFO)
        spread_DO = left_NDO[normal].square().mean(0).sqrt().clamp_min(_SPREAD_FLOOR)
        left_NDO[at_N] = left_NDO[at_N] / spread_DO
    return replace(examples, seen=examples.seen._replace(deep_NUJ=deep_channels(left_NDO).half()))


def shares(examples: Examples, about: About, seed: int, steps: int) -> np.ndarray:
    """Share of anomalies seen, a row (NaN where it has none), each by a head that has not seen its family."""
    out = np.full(len(examples.rows), np.nan)
    for fold in folds(families_of(examples)):
        head = learn(examples, fold, about, seed, steps)
        for row in (r for r, (family, _) in enumerate(examples.rows) if family in fold):
            at_N = (examples.row_N == row).nonzero()[:, 0]
            out[row] = _seen(head.gap(examples.seen.at(at_N).float()), examples, at_N)
    return out


def _seen(logit_N: Tensor | None, examples: Examples, at_N: Tensor) -> float:
    label_N = examples.label_N[at_N] > 0
    if not bool(label_N.any()) or bool(label_N.all()):
        return float("nan")
    score_N = examples.seen.said_NV[at_N, ROW].float() * SAID_UNIT
    if logit_N is not None:
        score_N = score_N + correction(logit_N)
    return float((score_N[label_N] > score_N[~label_N].quantile(0.9)).float().mean())


def told(name: str, share_R: np.ndarray, against_R: np.ndarray) -> str:
    """A row of the table."""
    gain_R = (share_R - against_R)[np.isfinite(share_R)]
    mean, low, high = interval([gain_R])
    return f"| {name} | {np.nanmean(share_R):.3f} | {mean:+.3f} ({low:+.3f} … {high:+.3f}) |"


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=Path, default=Path(".state/gap"))
    parser.add_argument("--teachers", default="none,smollm2,random")
    parser.add_argument("--each", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", default="1,2")
    arguments = parser.parse_args()
    configure_logs(level="error")
    torch.set_num_threads(1)
    examples = thinned(read(arguments.heads / EXAMPLES), arguments.each, 0)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    bank_R = np.array([
        _seen(None, examples, (examples.row_N == row).nonzero()[:, 0]) for row in range(len(examples.rows))
    ])  # fmt: skip
    print("| head | anomalies of unseen families seen | gain over the head without a teacher |\n| --- | ---: | ---: |")
    plain_R = None
    blind = replace(examples, seen=examples.seen._replace(form_NCT=torch.zeros_like(examples.seen.form_NCT)))
    for name in ["none", "no window, views' surprises alone", *arguments.teachers.split(",")[1:]]:
        about, given = About(), examples
        if name.startswith("no window"):
            given = blind
        elif name != "none":
            settings = DetectorSettings.model_validate({"teacher": name, "state_dir": arguments.heads})
            teacher = load_teacher(settings)
            assert teacher is not None
            given, about = with_teacher(examples, teacher), About(deep=8 * len(teacher.depths))
        share_R = np.mean([shares(given, about, seed, arguments.steps) for seed in seeds], 0)
        if plain_R is None:
            plain_R = share_R
            print(told("bank alone, no head", np.where(np.isfinite(plain_R), bank_R, np.nan), plain_R))
        print(told(name, share_R, plain_R), flush=True)
    print(
        f"\n{len(examples.label_N)} windows of {len(examples.rows)} rows, {len(seeds)} seeds, {arguments.steps} steps"
    )


if __name__ == "__main__":
    main()
