"""Makes gap heads: one for each fold of families, and the one that is shipped.

  python -m trainer.gap --data ../shared/data [--teacher smollm2] [--out .state/gap] [--seed 7] [--ship [FILE]]

Examples are kept in the folder and made anew when they are deleted. `folds.json` names for every family the head that
has not seen it; `--ship` learns from all families and writes the file beside the detector, or to FILE: for `--gap-head`.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import orjson
import structlog
import torch

from detector.gaphead import PACKAGED
from detector.settings import PACKAGED_TEACHER
from detector.teacher import load_teacher
from streamer.logs import configure_logs
from trainer.gap.examples import Examples, examples_of
from trainer.gap.families import folds, rows_of
from trainer.gap.keep import read, write
from trainer.gap.learn import STEPS, judged, learn
from trainer.settings import TrainerSettings

log = structlog.get_logger(__name__)
EXAMPLES, MADE_OF, FOLDS = "examples.safetensors", "examples.json", "folds.json"


def main() -> None:
    """Examples, heads of folds, shipped head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--teacher", default=PACKAGED_TEACHER, help="whose tokens the heads learn to read, or 'none'")
    parser.add_argument("--out", type=Path, default=Path(".state/gap"))
    parser.add_argument("--seed", type=int, default=7)
    words = "learn from all families and write the head there; without a name: the packaged one"
    parser.add_argument("--ship", type=Path, nargs="?", const=PACKAGED, metavar="FILE", help=words)
    arguments = parser.parse_args()
    configure_logs(level="info")
    torch.set_num_threads(1)
    kept, made_of = arguments.out / EXAMPLES, arguments.out / MADE_OF
    wanted = {"data": str(arguments.data.resolve()), "teacher": arguments.teacher, "seed": arguments.seed}
    if kept.exists() and made_of.exists() and orjson.loads(made_of.read_bytes()) != wanted:
        parser.error(f"{kept} was made of {made_of.read_text()}: delete it, or give another --out")
    if not kept.exists():
        settings = TrainerSettings.model_validate({"state_dir": arguments.out, "teacher": arguments.teacher})
        rows = rows_of(arguments.data, arguments.seed)
        write(kept, examples_of(rows, settings, load_teacher(settings), arguments.seed))
        made_of.write_bytes(orjson.dumps(wanted))
    examples = read(kept)
    if arguments.ship is not None:
        about = replace(examples.about, lineage={"families": ",".join(families_of(examples))})
        head = learn(examples, (), about, arguments.seed)
        arguments.ship.write_bytes(head.data())
        log.info("head written", file=str(arguments.ship), identity=head.identity, bytes=arguments.ship.stat().st_size)
    else:
        cross_validate(examples, arguments.out, arguments.seed)


def families_of(examples: Examples) -> list[str]:
    """All families, in order."""
    return sorted({family for family, _ in examples.rows})


def cross_validate(examples: Examples, out: Path, seed: int, steps: int = STEPS) -> None:
    """A head for each fold, and which family is judged by which."""
    table: dict[str, str] = {}
    for at, fold in enumerate(folds(families_of(examples))):
        head = learn(examples, fold, examples.about, seed, steps)
        file = f"fold{at}.safetensors"
        (out / file).write_bytes(head.data())
        table |= dict.fromkeys(fold, file)
        for family, (mine, bank) in judged(head, examples, fold).items():
            log.info("unseen family", family=family, seen_by_head=round(mine, 4), by_bank=round(bank, 4))
    (out / FOLDS).write_bytes(orjson.dumps(table, option=orjson.OPT_INDENT_2))


__all__ = ["EXAMPLES", "FOLDS", "cross_validate", "families_of", "main"]

if __name__ == "__main__":
    main()
