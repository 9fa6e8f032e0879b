"""How good a model is at some step: the score on fixed crops, and the best score so far."""

import logging
import math
from pathlib import Path
from typing import Any

import jax

from ycc_jax.codec_model import read_header

log = logging.getLogger(__name__)


def validate(eval_step: Any, params: Any, crops: jax.Array, levels: int) -> dict[str, float]:
    """Metrics of the crops at each rate level, "eval_0/loss" and so on, and "eval/loss".

    The last is the mean loss of the levels, the score that WORKDIR/best is chosen by.
    """
    values = {}
    for level in range(levels):
        metrics = eval_step(params, crops, level)
        values |= {f"eval_{level}/{name}": float(value) for name, value in metrics.items()}
    values["eval/loss"] = sum(values[f"eval_{level}/loss"] for level in range(levels)) / levels
    return values


def best_score(path: Path, config: Any) -> float:
    """The score of the model in WORKDIR/best; infinity if there is none, or one of other crops."""
    if not (path / "model.json").exists():
        return math.inf
    training = read_header(path)["training"]
    crops = training["config"]["data"]["validation"] if "score" in training else None
    if crops != config.data.validation:
        log.warning("%s was not scored on these validation crops and will be replaced.", path)
        return math.inf
    return training["score"]
