"""`ycc models` says what the committed results of the bundled models say."""

import json
from pathlib import Path

import pytest

import ycc_jax
from ycc_jax.cli import main
from ycc_jax.evaluation import rd

RESULTS = Path(__file__).resolve().parents[1] / "results"


def test_models(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [model["default"] for model in listed].count(True) == 1
    for model in listed:
        codec = ycc_jax.load(model["name"])
        assert codec.model.hash == model["hash"] and 1e6 < model["bytes"] < 25e6
        record = rd.read(RESULTS / f"{model['name']}.json")
        assert record["provenance"]["settings"]["weights_hash"] == model["hash"][:8]
        rates = record["results"]["bpp"]
        assert model["bpp"] == pytest.approx([min(rates), max(rates)], abs=6e-4)
        for codec, rate in model["bd_rate_psnr_y"].items():
            anchor = rd.read(RESULTS / "anchors" / f"{codec}.json")
            assert rate == pytest.approx(rd.compare(anchor, record, "psnr-y")["bd_rate"], abs=0.06)
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "dlec_gain_small (default)" in printed and "avif-420 " in printed
