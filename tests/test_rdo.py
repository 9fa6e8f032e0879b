"""Rate-distortion optimised quantisation against brute force over both candidates."""

import numpy as np
import pytest

from ycc_jax.entropy import rdo
from ycc_jax.entropy.tables import SCALE_TABLE, TOTAL, gaussian_tables

TABLES = gaussian_tables()


def bits(row, symbol):
    column = symbol - TABLES.offset[row]
    return -np.log2((TABLES.cdf[row, column + 1] - TABLES.cdf[row, column]) / TOTAL)


@pytest.mark.parametrize("worth", [5.0, 20.0])
def test_each_choice_costs_least(rng, worth):
    index = rng.integers(10, 64, 500).astype(np.int32)
    residual = rng.normal(size=500) * SCALE_TABLE[index]
    found = rdo.quantize(residual, index, TABLES, worth)
    changed = 0
    for v, row, symbol in zip(residual, index, found, strict=True):
        nearest = int(np.rint(v))
        candidates = [nearest, nearest - int(np.sign(nearest))]
        inside = 0 <= nearest - TABLES.offset[row] < TABLES.length[row] - 2
        if not inside:
            assert symbol == nearest
            continue
        costs = [worth * (v - k) ** 2 + bits(row, k) for k in candidates]
        assert symbol == candidates[int(np.argmin(costs))]
        changed += symbol != nearest
    assert changed > 3


def test_infinite_worth_is_rounding(rng):
    residual, index = rng.normal(size=(2, 30)) * 9, np.full((2, 30), 40, np.int32)
    found = rdo.quantize(residual, index, TABLES, float("inf"))
    np.testing.assert_array_equal(found, np.rint(residual))


def test_escapes_stay():
    far = np.array([[3000.0, -3000.0]])
    found = rdo.quantize(far, np.zeros((1, 2), np.int32), TABLES)
    np.testing.assert_array_equal(found, far)
