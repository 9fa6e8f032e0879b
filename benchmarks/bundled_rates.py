"""Writes `ycc_jax/bundled/rates.json`, what `ycc models` says, from the committed results.

    python benchmarks/bundled_rates.py

Of each bundled model the lowest and highest rate of `results/NAME.json` (`ycc eval` on Kodak), and
its BD-rate in PSNR_Y against the curves of `results/anchors/`.
"""

import json
from pathlib import Path

from ycc_jax.evaluation import rd
from ycc_jax.model_folder import BUNDLED

RESULTS = Path(__file__).resolve().parents[1] / "results"
ANCHORS = ("jpeg-420", "webp", "avif-420", "tfc-minnen2018")


def main():
    measured = {}
    for model in sorted(path.parent.name for path in BUNDLED.glob("*/model.json")):
        record = rd.read(RESULTS / f"{model}.json")
        rates = record["results"]["bpp"]
        measured[model] = {
            "bpp": [round(min(rates), 3), round(max(rates), 3)],
            "bd_rate_psnr_y": {
                name: round(rd.compare(anchor, record, "psnr-y")["bd_rate"], 1)
                for name in ANCHORS
                for anchor in [rd.read(RESULTS / "anchors" / f"{name}.json")]
            },
        }
    (BUNDLED / "rates.json").write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
