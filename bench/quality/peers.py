"""Peers that run from a package, where it is there: Random Cut Forest as OpenSearch sets it up (Java and Maven), river's
half-space trees (`pip install river`).

Each says of a stream's slots how far above its own default threshold they are, `LEAST` at it.

Shapes: S slots of a stream
"""

import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LEAST = 4.0
FOREST = Path(__file__).parent / "forest"
PROGRAM, POM = FOREST / "Forest.java", FOREST / "pom.xml"
JARS = Path(__file__).parents[2] / ".state/forest"
RAREST = 0.999  # quantile of river's scores above which a slot is an alert: it has no threshold of its own

Peer = Callable[[np.ndarray, int], np.ndarray]


def forest(values_S: np.ndarray, day: int) -> np.ndarray:
    """Random Cut Forest's score where its grade says anomaly."""
    lines = "\n".join(map(repr, values_S.tolist()))
    java = ("java", "-cp", f"{JARS}/*", str(PROGRAM))
    said = subprocess.run(java, input=lines, capture_output=True, text=True, check=True).stdout
    score_S, grade_S = np.loadtxt(said.splitlines(), ndmin=2).T
    return np.where(grade_S > 0, LEAST + score_S, 0.0)


def trees(values_S: np.ndarray, day: int) -> np.ndarray:
    """river's half-space trees over the value, scaled to what it has been."""
    from river.anomaly import HalfSpaceTrees, QuantileFilter
    from river.preprocessing import MinMaxScaler

    scaler, model, said = MinMaxScaler(), QuantileFilter(HalfSpaceTrees(seed=0), q=RAREST), []
    for value in values_S.tolist():
        scaler.learn_one({"value": value})
        x = scaler.transform_one({"value": value})
        score = model.score_one(x)
        said.append(LEAST + score if model.classify(score) else 0.0)
        model.learn_one(x)
    return np.array(said)


def peers() -> dict[str, Peer]:
    """Those that this machine can run; the forest's jars are fetched once."""
    found: dict[str, Peer] = {}
    if _fetched():
        found["Random Cut Forest"] = forest
    if find_spec("river") is not None:
        found["half-space trees"] = trees
    return found


def _fetched() -> bool:
    if shutil.which("java") is None:
        return False
    if not JARS.exists() and shutil.which("mvn") is not None:
        part = JARS.with_name(f"{JARS.name}.part")
        copy = ("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies")
        if subprocess.run([*copy, f"-DoutputDirectory={part}"], check=False).returncode == 0:
            part.rename(JARS)
    return JARS.exists()
