"""Inputs that `fuzz.py` found, replayed: what once was a fault, and what covers the most code."""

from pathlib import Path

import numpy as np
import pytest
from fuzz_container import OUTCOMES, check, files
from fuzz_networks import MODELS, Networks

CORPUS = Path(__file__).parent / "fuzz_corpus"


def inputs(target):
    return [file.read_bytes() for file in sorted((CORPUS / target).glob("*"))]


def mutated(data, rng):
    """The file with a byte or two behind its magic changed, or a part taken out."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        out[rng.integers(5, len(out))] = rng.integers(256)
    if rng.random() < 0.3:
        start = rng.integers(20, len(out))
        del out[start : start + rng.integers(1, 9)]
    return bytes(out)


def test_container_and_range_coder():
    OUTCOMES.clear()
    found = inputs("container")
    assert len(found) >= 40
    for data in (*files(), *found):
        check(data)
    for outcome in ("unpack: done", "unpack: LimitError", "decode: done", "info: done"):
        assert OUTCOMES[outcome] >= 5, OUTCOMES


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    # The first two have all that the others have but the transform.
    return Networks(tmp_path_factory.mktemp("models"), False, MODELS[:2])


@pytest.mark.parametrize("target", ["networks", "symbols"])
def test_whole_decoder(decoder, target):
    OUTCOMES.clear()
    decoder.symbols = target == "symbols"
    rng = np.random.default_rng(0)
    found = [*decoder.files, *inputs(target)]
    for data in (*found, *(mutated(data, rng) for data in found for _ in range(3))):
        decoder(data)
    assert OUTCOMES["decode: done"] >= 3 and OUTCOMES["decode_partial: done"] >= 3, OUTCOMES
