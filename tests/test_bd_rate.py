"""RD files and BD-rate between them, in the library and as `ycc bd-rate`."""

import functools
import importlib
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ycc_jax import cli
from ycc_jax.errors import InputError
from ycc_jax.evaluation import rd

ANCHORS = Path(__file__).parents[1] / "results" / "anchors"

# By the PyPI package bjontegaard 1.3.0: bd_rate(..., method="pchip", require_matching_points=False,
# min_overlap=0) on results/anchors, percent of the second against the first.
PACKAGE = [
    ("avif-420", "compressai-mbt2018-vbr", "psnr-rgb", -6.5478),
    ("avif-420", "jpeg-420", "psnr-rgb", 116.4955),
    ("avif-420", "jpeg-420", "psnr-y", 113.2232),
    ("avif-420", "tfc-minnen2018", "psnr-y", 1.31),
    ("avif-420", "webp", "psnr-y", 41.0858),
    ("compressai-mbt2018-vbr", "jpeg-420", "psnr-rgb", 121.8011),
    ("compressai-mbt2018-vbr", "webp", "psnr-rgb", 46.5101),
    ("jpeg-420", "tfc-minnen2018", "psnr-rgb", -60.0308),
    ("jpeg-420", "webp", "psnr-y", -32.6626),
    ("tfc-minnen2018", "webp", "psnr-rgb", 58.6959),
]
RATES = [0.1, 0.2, 0.4, 0.8, 1.6]
NESTED = functools.reduce(lambda inner, _: [inner], range(900), [])


def record(name, values, key="psnr-y", rates=RATES):
    return {"name": name, "results": {"bpp": list(rates), key: list(values)}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a.json, and b.json of half its rates."""
    monkeypatch.chdir(tmp_path)
    quality = [30, 32, 34, 36, 38]
    rd.write("a.json", record("first", quality))
    rd.write("b.json", record("second", quality, rates=np.array(RATES) / 2))
    return tmp_path


@pytest.fixture
def ycc(capfd):
    def run(*arguments):
        code = cli.main(["bd-rate", *arguments])
        return code, *capfd.readouterr()

    return run


@pytest.mark.parametrize(("anchor", "test", "metric", "percent"), PACKAGE)
def test_anchors_agree_with_the_package(anchor, test, metric, percent):
    pair = [rd.read(ANCHORS / f"{name}.json") for name in (anchor, test)]
    assert rd.compare(*pair, metric)["bd_rate"] == pytest.approx(percent, abs=0.001)


def test_all_anchors_agree_with_the_package():
    package = importlib.import_module("bjontegaard")
    records, compared = [rd.read(path) for path in sorted(ANCHORS.glob("*.json"))], 0
    for anchor, test in itertools.permutations(records, 2):
        for metric in rd.shared_metrics(anchor, test):
            sorted_curves = [
                np.array(sorted(zip(*rd.curve(record, metric), strict=True))).T
                for record in (anchor, test)
            ]
            arrays = [values for curve in sorted_curves for values in curve]
            options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
            expected = package.bd_rate(*arrays, **options)
            found = rd.compare(anchor, test, metric)
            assert found["bd_rate"] == pytest.approx(expected, abs=0.001)
            compared += 1
    assert compared > 20


def test_similarity_is_compared_in_decibels():
    # 1 - MS-SSIM falls tenfold with each 10 dB: straight lines, for which BD-rate is exact.
    decibels = np.array([10.0, 12, 14, 16, 18])
    anchor = record("a", 1 - 10 ** (-decibels / 10), "ms-ssim-rgb")
    test = record("b", 1 - 10 ** (-(decibels + 2) / 10), "ms-ssim-rgb")
    found = rd.compare(anchor, test, "ms-ssim-rgb")
    assert found["bd_rate"] == pytest.approx(-50) and found["low"] == pytest.approx(12)
    published = record("b", decibels + 2, "ms-ssim-db-rgb")
    assert rd.compare(anchor, published, "ms-ssim-rgb")["bd_rate"] == pytest.approx(-50)
    assert rd.shared_metrics(anchor, published) == ["ms-ssim-rgb"]
    for key in ("ms-ssim-rgb", "ms-ssim-db-rgb"):
        perfect = record("c", [0.9, 0.95, 0.97, 0.99, 1.0], key)
        rates, values = rd.curve(perfect, key)
        assert values[-1] == (np.inf if key == "ms-ssim-rgb" else 1.0)


def test_qualities_without_a_value_are_left_out():
    assert rd.curve(record("a", [30, None, 34, 36, None]), "psnr-y") == (
        [0.1, 0.4, 0.8],
        [30, 34, 36],
    )


def test_a_written_record_is_read_back_with_null_for_infinity(tmp_path):
    path = tmp_path / "a.json"
    rd.write(path, {**record("a", [30.25, np.inf, np.nan, 31, 32]), "extra": {"x": 1}})
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["extra"] == {"x": 1}
    assert rd.read(path)["results"]["psnr-y"] == [30.25, None, None, 31, 32]
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an RD file in JSON, found none"),
        (b"bpp,psnr\n1,2\n", "expected an RD file in JSON, found none"),
        (b"\xff\xd8\xff", "expected an RD file in JSON, found none"),
        (b"[" * 100_000, "expected an RD file in JSON, found none: maximum recursion"),
        (b'{"results": {"bpp": [1' + b"0" * 400 + b"]}}", "found none: an integer of 401 "),
        (b'{"results": {"bpp": [1' + b"0" * 9999 + b"]}}", "found none: an integer of 10000 "),
        (b"[1, 2]", 'expected an RD file with "results", found JSON without'),
        (b'{"name": "x", "results": [1]}', 'expected an RD file with "results"'),
        (b'{"results": {"psnr-y": [1]}}', 'expected results with "bpp", found psnr-y'),
        (b'{"results": {}}', 'expected results with "bpp", found nothing'),
        (b'{"results": {"bpp": [1, 2], "psnr-y": [30]}}', "one length.*found bpp 2, psnr-y 1"),
        (b'{"results": {"bpp": [1, 2], "psnr-y": 30}}', "one length.*found bpp 2, psnr-y none"),
        (b'{"results": {"bpp": []}}', "one length.*found bpp none"),
    ],
)
def test_files_of_another_form_are_refused(content, message, folder, ycc):
    Path("bad.json").write_bytes(content)
    with pytest.raises(InputError, match=f"bad.json: .*{message}"):
        rd.read("bad.json")
    code, out, err = ycc("a.json", "bad.json")
    assert (code, out) == (2, "") and err.startswith("ycc: error: bad.json: ")
    assert err.count("\n") == 1 and "Traceback" not in err


def test_command_prints_percent_and_range(folder, ycc):
    expected = "second against first in psnr-y: -50.00 % over 30.00 to 38.00 dB\n"
    assert ycc("a.json", "b.json") == (0, expected, "")
    code, out, _ = ycc("b.json", "a.json", "--metric", "psnr-y")
    assert (code, out) == (0, "first against second in psnr-y: +100.00 % over 30.00 to 38.00 dB\n")
    code, out, _ = ycc("a.json", "b.json", "--json")
    (found,) = json.loads(out)
    assert found["bd_rate"] == pytest.approx(-50) and (found["low"], found["high"]) == (30, 38)
    assert (found["anchor"], found["test"], found["metric"]) == ("first", "second", "psnr-y")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([50, 51, 52, 53, 54], "no common metric range: a covers [30, 38], b covers [50, 54]"),
        ([37, 39, 41, 43, 45], "at least 50% of the shorter curve's, found 12%"),
        ([30, 32, 31, 36, 38], "the metric must rise strictly with the rate"),
        ([30, None, None, 36, 38], "needs at least 4 points, found 3"),
        ([30, "31", 32, 36, 38], "c: expected numbers in bpp and psnr-y, found '31'"),
        ([-1e299, 31, 32, 36, 38], "c: expected numbers in bpp and psnr-y, found -1e+299"),
        ([30, 31, 32, 36, 10**250], "c: expected numbers in bpp and psnr-y, found 10000"),
        ([30, NESTED, 32, 36, 38], "expected numbers in bpp and psnr-y, found [[[[[[[...]]]]]]]"),
    ],
)
def test_curves_that_cannot_be_compared_are_refused(values, message, folder, ycc):
    rd.write("c.json", record("c", values))
    code, out, err = ycc("a.json", "c.json")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_a_missing_metric_is_refused_and_the_others_printed(folder, ycc):
    code, out, err = ycc("a.json", "b.json", "--metric", "psnr-y", "--metric", "psnr-rgb")
    assert code == 2 and out.startswith("second against first in psnr-y: -50.00 %")
    assert err == "ycc: error: first: expected results with psnr-rgb, found bpp, psnr-y\n"
    rd.write("d.json", record("d", range(5), "vmaf"))
    code, out, err = ycc("a.json", "d.json")
    assert (code, out) == (2, "") and "expected a metric that a.json and d.json share" in err
    code, _, err = ycc("a.json", "nothing.json")
    assert code == 2 and err.startswith("ycc: error: nothing.json: cannot be read")
