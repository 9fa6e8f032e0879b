"""`ycc eval`: means of real files, resuming, refusals, and where the seconds go."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ycc_jax
from ycc_jax import cli, vocabulary
from ycc_jax.entropy import backends
from ycc_jax.errors import InputError
from ycc_jax.evaluation import measure, peers, provenance, rd, rows, run, subject
from ycc_jax.metrics import ms_ssim, psnr

PSNRS = psnr.KEYS


@pytest.fixture
def folder(tmp_path, monkeypatch, photo):
    """A working directory with three pictures of three sizes in `pictures`."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("pictures")
    crops = {"a.png": photo[:180, :200], "b.png": photo[100:151, 100:133]}
    crops["c.png"] = photo[60:100, 220:250]
    for name, picture in crops.items():
        Image.fromarray(picture).save(f"pictures/{name}")
    Path("pictures/notes.txt").write_text("not a picture")
    return tmp_path


@pytest.fixture
def ycc(capfd):
    """Runs `ycc eval --images pictures ...`: exit code, standard output, standard error."""

    def evaluate(*arguments, images="pictures"):
        code = cli.main(["eval", "--images", images, *arguments])
        return code, *capfd.readouterr()

    return evaluate


class Counting:
    """A codec that counts what it encodes, and stops at `limit`: PNG of the coarser picture."""

    name, settings, qualities = "counting", {"version": 1}, (1, 2)

    def __init__(self, limit=None):
        self.encoded, self.limit = [], limit

    def check(self, quality):
        if quality not in self.qualities:
            raise InputError(f"counting: no quality {quality}")

    def encode(self, rgb, quality):
        if self.limit is not None and len(self.encoded) >= self.limit:
            raise KeyboardInterrupt
        self.encoded.append((rgb.shape[:2], quality))
        step = 1 if quality is None else 2 ** int(4 - quality)
        file = io.BytesIO()
        Image.fromarray(rgb // step * step).save(file, "PNG")
        return file.getvalue()

    def decode(self, data):
        return np.asarray(Image.open(io.BytesIO(data)))

    def parts(self):
        return {}


def paths():
    return run.list_pictures("pictures")


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def jpeg(picture, quality):
    file = io.BytesIO()
    options = {"subsampling": "4:2:0", "progressive": True, "optimize": True}
    Image.fromarray(picture).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


# ---- what is measured


def test_means_are_those_of_real_files(folder, ycc):
    rd.write("far.json", {"name": "far", "results": {"bpp": [1, 2, 3, 4], "psnr-y": [2, 4, 6, 8]}})
    arguments = ["--codec", "jpeg-420", "--qualities", "90,10,50,30", "-o", "results/j.json"]
    code, out, err = ycc(*arguments, "--anchor", "far.json")
    assert code == 0 and "12/12" in err  # the bar
    record = json.loads(Path("results/j.json").read_text(), parse_constant=pytest.fail)
    assert record["name"] == "j" and record["description"].startswith("3 pictures: mean")
    assert "MS-SSIM of the 1 with sides above 160" in record["description"]
    assert record["provenance"]["codec"] == "jpeg-420"
    assert record["provenance"]["settings"]["subsampling"] == "4:2:0"
    assert set(record["provenance"]) >= {"ycc_jax", "pillow", "python", "machine"}
    results = record["results"]
    assert set(results) == {"bpp", "quality", "encoding_time", "decoding_time", *PSNRS} | {
        "ms-ssim-rgb",
        "ms-ssim-y",
    }
    assert results["quality"] == [10, 30, 50, 90] and all(t > 0 for t in results["encoding_time"])

    expected, similarity = [], []
    for path in paths():
        picture = np.asarray(Image.open(path).convert("RGB"))
        data = jpeg(picture, 50)
        decoded = np.asarray(Image.open(io.BytesIO(data)))
        values = psnr.psnr(picture, decoded)
        expected.append([8 * len(data) / picture[..., 0].size, *(values[key] for key in PSNRS)])
        if min(picture.shape[:2]) > 160:
            x, y = (a[None].astype(np.float64) for a in (picture, decoded))
            similarity.append(ms_ssim.ms_ssim(x, y, 255).mean())
    found = [results[key][2] for key in ("bpp", *PSNRS)]
    assert found == pytest.approx(np.mean(expected, axis=0), rel=1e-12)
    assert [results["ms-ssim-rgb"][2]] == pytest.approx(similarity, abs=1e-5)

    lines = read_csv("results/j.csv")
    assert [(line["image"], line["quality"]) for line in lines[:5]] == [
        *(("a.png", f"{quality}.0") for quality in (10, 30, 50, 90)),
        ("b.png", "10.0"),
    ]
    assert [line["ms-ssim-y"] != "" for line in lines] == [True] * 4 + [False] * 8
    assert float(lines[0]["bpp"]) == 8 * float(lines[0]["bytes"]) / (180 * 200)
    printed = out.splitlines()
    assert len(printed) == 1 + 4 + 1 and printed[2].split()[:2] == [
        "30",
        f"{results['bpp'][1]:.4f}",
    ]
    assert printed[-1].startswith("no BD-rate: psnr-y of j (b) against far (a): no common")


def test_bd_rates_against_anchors_are_printed(folder, ycc):
    arguments = ["--quiet", "--qualities", "10,30,60,90", "--codec"]
    assert ycc(*arguments, "jpeg-444", "-o", "one.json")[0] == 0
    code, out, err = ycc(
        *arguments, "jpeg-420", "-o", "two.json", "--anchor", "one.json", "one.json"
    )
    assert code == 0 and err == ""
    lines = [line for line in out.splitlines() if line.startswith("two against one in psnr-y: ")]
    assert len(lines) == 2
    found = rd.compare(rd.read("one.json"), rd.read("two.json"), "psnr-y")
    assert lines[0].split(": ")[1].startswith(f"{found['bd_rate']:+.2f} % over {found['low']:.2f}")


def test_similarity_is_that_of_pytorch_msssim(photo):
    # pytorch-msssim 1.0.0 in float64: of RGB, and of Pillow's Y, of these two pictures.
    picture = photo[:200, :240]
    found = measure.similarity(picture, picture // 16 * 16 + 8)
    assert found["ms-ssim-rgb"] == pytest.approx(0.9752514064877201, abs=2e-6)
    assert found["ms-ssim-y"] == pytest.approx(0.9886699657293212, abs=2e-6)
    small = picture[:160]
    assert measure.similarity(small, small) == {"ms-ssim-rgb": None, "ms-ssim-y": None}


def test_what_comes_back_exactly_leaves_a_finite_mean(folder):
    class Lossless(Counting):
        qualities = (4,)

    run.evaluate(Lossless(), paths()[:1], None, "out.json", quiet=True)
    results = rd.read("out.json")["results"]
    # One of 180 x 200 samples off by one level.
    assert results["psnr-y"] == [pytest.approx(48.1308 + 10 * np.log10(180 * 200), abs=1e-4)]
    assert all(np.isfinite(results[key][0]) for key in PSNRS)
    # What a former version wrote is measured again.
    lines = Path("out.csv").read_text().replace(f"{results['psnr-cb'][0]},", "inf,")
    assert ",inf," in lines
    Path("out.csv").write_text(lines)
    codec = Lossless()
    run.evaluate(codec, paths()[:1], None, "out.json", quiet=True)
    again = rd.read("out.json")["results"]
    assert len(codec.encoded) == 1 and [again[k] for k in PSNRS] == [results[k] for k in PSNRS]
    run.evaluate(codec, paths()[:1], None, "out.json", quiet=True)
    assert len(codec.encoded) == 1


def test_a_grey_picture_is_measured_but_has_no_chroma(folder, photo):
    codec = peers.get("jpeg-420")
    in_colour = run.evaluate(codec, paths()[:2], [50], "two.json", quiet=True)["results"]
    Image.fromarray(photo[:40, :30, 0]).save("pictures/c.png")
    record = run.evaluate(codec, paths(), [50], "out.json", quiet=True)
    grey = np.repeat(photo[:40, :30, :1], 3, axis=-1)
    line = read_csv("out.csv")[-1]
    assert int(float(line["bytes"])) == len(jpeg(grey, 50)) and float(line["psnr-y"]) > 30
    # So it cannot shift, or lose, what the others' chroma has as its mean.
    for key in ("psnr-cb", "psnr-cr", "psnr-411", "psnr-411-mse"):
        assert line[key] == "" and record["results"][key] == in_colour[key], key
    assert record["results"]["psnr-y"] != in_colour["psnr-y"]
    assert record["description"].endswith("; chroma of the 2 in colour")
    # Alone it has no chroma to report.
    alone = run.evaluate(codec, paths()[2:], [50], "alone.json", quiet=True)["results"]
    assert {"psnr-rgb", "psnr-y"} < set(alone) and not {"psnr-cb", "psnr-411"} & set(alone)


def test_the_means_of_the_published_results_are_those_of_their_csvs():
    folder = Path(__file__).parents[1] / "results"
    for table in sorted(folder.glob("*.csv")):
        first = read_csv(table)[0]
        lines = rows.read(table, first["codec"], first["settings"]).values()
        published = rd.read(table.with_suffix(".json"))["results"]
        found = run.means(
            [line for line in lines if line["quality"] == quality]
            for quality in published["quality"]
        )
        assert found == published, table.name


def test_a_single_rate_has_one_point_and_no_quality(folder):
    class Single(Counting):
        qualities = (None,)

    for _ in range(2):  # the second time from the CSV
        record = run.evaluate(Single(), paths(), None, "out.json", quiet=True)
        assert record["results"]["quality"] == [None] and len(record["results"]["bpp"]) == 1
    assert run.table(record["results"])[1].split()[0] == "-"
    with pytest.raises(InputError, match="counting: no quality 50"):
        run.evaluate(Single(), paths(), [50], "out.json", quiet=True)


# ---- models


def test_a_model_is_measured_with_its_seconds_in_parts(folder, ycc, bundled, photo):
    shutil.rmtree("pictures/", ignore_errors=True)
    os.mkdir("pictures")
    picture = photo[:70, :90]  # other tests compile the bundled model for this size too
    for name in ("a.png", "b.png"):
        Image.fromarray(picture).save(f"pictures/{name}")
    code, out, _ = ycc("--qualities", "20,70.5", "--chroma", "0.1", "-o", "m.json")
    assert code == 0
    record = rd.read("m.json")
    settings, results = record["provenance"]["settings"], record["results"]
    assert record["provenance"]["codec"] == bundled.model.name
    assert settings["weights_hash"] == bundled.model.weights_hash.hex()
    assert settings["chroma"] == pytest.approx(0.1, rel=1e-3) and "jax" in settings
    assert settings.get("coder", "native") == backends.chosen()
    data = bundled.encode(picture, quality=70.5, chroma=0.1)
    assert results["bpp"][1] == 8 * len(data) / (70 * 90)
    assert results["psnr-y"][1] == psnr.psnr(picture, bundled.decode(data))["psnr-y"]
    for direction in ("encoding", "decoding"):
        compiling, transform, entropy = (
            results[f"{direction}_{part}_time"] for part in ("compile", "transform", "entropy")
        )
        assert min(transform + entropy) > 0
        # The first picture waits for the compiler, the second quality for nothing.
        assert compiling[0] > 0.01 and compiling[1] == 0
    for line in read_csv("m.csv"):
        parts = float(line["encoding_transform_time"]) + float(line["encoding_entropy_time"])
        assert float(line["encoding_time"]) == pytest.approx(parts)


def test_nested_compilations_count_once():
    stopwatch, now = subject.Stopwatch(), time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        for end, duration in [(1, 0.5), (2, 0.25), (3, 2.75), (6, 1)]:  # two inside the third
            patch.setattr(subject.time, "perf_counter", lambda end=end: now + end)
            stopwatch._listen("/jax/core/compile/backend_compile_duration", duration)
        stopwatch._listen("/jax/something/else", 1)
    assert stopwatch.compiled() == pytest.approx(2.75 + 1)
    stopwatch.reset()
    assert stopwatch.compiled() == stopwatch.transform == 0


# ---- resuming


def test_it_resumes_where_it_stopped(folder):
    whole = run.evaluate(Counting(), paths(), None, "whole.json", quiet=True)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(Counting(limit=3), paths(), None, "out.json", quiet=True)
    assert not os.path.exists("out.json") and len(read_csv("out.csv")) == 3
    with open("out.csv", "a") as file:
        file.write("counting,version 1,b.png,0123")  # torn by a stop while writing

    codec = Counting()
    record = run.evaluate(codec, paths(), None, "out.json", quiet=True)
    assert codec.encoded == [((51, 33), 2), ((40, 30), 1), ((40, 30), 2)]
    for key in ("bpp", "psnr-y", "ms-ssim-rgb", "quality"):
        assert record["results"][key] == whole["results"][key]
    assert len(read_csv("out.csv")) == 6

    # Another quality is measured beside; a changed picture again, whatever its name.
    Counting.qualities, before = (1, 2, 3), Counting.qualities
    try:
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("pictures/b.png")
        codec = Counting()
        record = run.evaluate(codec, paths(), None, "out.json", quiet=True)
    finally:
        Counting.qualities = before
    assert codec.encoded == [
        ((180, 200), 3),
        *(((20, 20), quality) for quality in (1, 2, 3)),
        ((40, 30), 3),
    ]
    assert len(record["results"]["bpp"]) == 3 and len(read_csv("out.csv")) == 6 + 5


def test_names_that_are_not_utf_8_are_kept(folder):
    os.rename(b"pictures/c.png", b"pictures/c\xff.png")
    for encoded in (6, 0):
        codec = Counting()
        run.evaluate(codec, paths(), None, "out.json", quiet=True)
        assert len(codec.encoded) == encoded
    assert b"c\xff.png" in Path("out.csv").read_bytes()


def test_a_file_torn_in_its_first_line_is_begun_again(folder):
    Path("out.csv").write_text("codec,settin")
    run.evaluate(Counting(), paths(), None, "out.json", quiet=True)
    assert len(read_csv("out.csv")) == 6


def test_results_of_another_codec_are_never_replaced(folder, ycc):
    run.evaluate(Counting(), paths(), None, "out.json", quiet=True)
    contents = [Path(name).read_bytes() for name in ("out.csv", "out.json")]

    class Newer(Counting):
        settings = {"version": 2}

    message = r"expected .* of counting \(version 2\), found those of counting \(version 1\)"
    with pytest.raises(InputError, match=f"out.json: {message}"):
        run.evaluate(Newer(), paths(), None, "out.json", quiet=True)
    os.rename("out.json", "kept.json")
    with pytest.raises(InputError, match=f"out.csv: {message}; move it away"):
        run.evaluate(Newer(), paths(), None, "out.json", quiet=True)
    os.rename("kept.json", "out.json")
    code, _, err = ycc("--codec", "webp", "-o", "out.json")
    assert code == 2 and err.startswith("ycc: error: out.json: ") and err.count("\n") == 1
    assert [Path(name).read_bytes() for name in ("out.csv", "out.json")] == contents
    # Its own it may replace.
    run.evaluate(Counting(), paths(), [1], "out.json", quiet=True)
    assert rd.read("out.json")["results"]["quality"] == [1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("out.csv", b"image,quality,bpp\na.png,1,2\n", "expected a CSV of `ycc eval`"),
        ("out.csv", b"my notes", "expected a CSV of `ycc eval`, found b'my notes'"),
        ("out.csv", b"\xff\xfe\n", "expected a CSV of `ycc eval`, found other columns"),
        ("out.csv", b'"a"b"\n', "expected a CSV, found none"),
        ("out.csv", ",".join(rows.COLUMNS).encode() + b"\n1,2\n", "line 2: expected .*'1,2'"),
        ("out.json", b"my notes", "expected an RD file in JSON"),
        ("out.json", b'{"results": {"bpp": [1]}}', "found those of an unknown codec"),
        ("out.json", b'{"results": {"bpp": [1]}, "provenance": 3}', "unknown settings"),
    ],
)
def test_files_that_are_not_ours_are_left_alone(name, content, message, folder):
    Path(name).write_bytes(content)
    codec = Counting()
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        run.evaluate(codec, paths(), None, "out.json", quiet=True)
    assert Path(name).read_bytes() == content and codec.encoded == []
    assert len(os.listdir()) == 2


# ---- what goes wrong


def test_a_failed_picture_is_reported_and_the_others_measured(folder, ycc):
    shutil.copy("pictures/b.png", "b.png")
    Path("pictures/b.png").write_bytes(b"not a picture")
    arguments = ["--codec", "webp", "--qualities", "20,60", "-o", "w.json", "--quiet"]
    code, out, err = ycc(*arguments)
    lines = err.splitlines()
    assert code == 2 and len(lines) == 2
    assert lines[0].startswith("b.png: not measured: pictures/b.png: expected a picture")
    assert lines[1].endswith(
        "1 of 3 pictures could not be measured and are not in the means: b.png"
    )
    record = rd.read("w.json")
    assert record["provenance"]["failed"] == ["b.png"]
    assert record["description"].startswith("2 of 3 pictures")
    assert [line["image"] for line in read_csv("w.csv")] == ["a.png"] * 2 + ["c.png"] * 2
    assert len(out.splitlines()) == 3
    # Mended, the same command completes the results.
    shutil.copy("b.png", "pictures/b.png")
    assert ycc(*arguments)[0] == 0
    assert "failed" not in rd.read("w.json")["provenance"] and len(read_csv("w.csv")) == 6


def test_a_picture_above_the_limit_is_reported_and_the_others_measured(folder, ycc):
    arguments = ["--codec", "webp", "--qualities", "20", "--quiet", "-o"]
    # b.png has 51 x 33 pixels, 1,683; however the limit counts, a padded c.png is 4,096.
    code, _, err = ycc(*arguments, "w.json", "--max-pixels", "30000")
    assert code == 2 and err.splitlines()[0].startswith("a.png: not measured: pictures/a.png: ")
    assert "30000 pixels" in err.splitlines()[0]
    assert rd.read("w.json")["provenance"]["failed"] == ["a.png"]
    assert [line["image"] for line in read_csv("w.csv")] == ["b.png", "c.png"]
    # A higher limit, or none, completes the results.
    code, _, err = ycc(*arguments, "w.json", "--max-pixels", "0")
    assert (code, err) == (0, "") and len(read_csv("w.csv")) == 3


def test_the_limit_is_that_of_encode(folder, ycc, monkeypatch):
    limits = {
        name: p.default
        for name in ("eval", "encode")
        for p in cli.cli.commands[name].params
        if p.name == "max_pixels"
    }
    assert limits == dict.fromkeys(("eval", "encode"), vocabulary.DEFAULT_MAX_PIXELS)
    given = []

    def read(path, max_pixels):
        given.append(max_pixels)
        return np.zeros((20, 20, 3), np.uint8)

    monkeypatch.setattr(run.images, "read", read)
    assert ycc("--codec", "webp", "--qualities", "20", "--quiet", "-o", "w.json")[0] == 0
    assert given == [vocabulary.DEFAULT_MAX_PIXELS] * 3


def test_without_a_picture_measured_there_are_no_results(folder, ycc):
    for name in os.listdir("pictures"):
        Path("pictures", name).write_bytes(b"broken")
    code, out, err = ycc("--codec", "webp", "-o", "w.json", "--quiet")
    assert (code, out) == (2, "") and err.count("not measured") == 3
    assert err.splitlines()[-1] == (
        "ycc: error: expected pictures that can be measured, found none in 3"
    )
    assert not os.path.exists("w.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codec", "gif"], "expected a codec of jpeg-420, "),
        (["--codec", "webp", "--model", "bundled"], "expected --codec without --model"),
        (["--codec", "webp", "--effort", "1"], "expected --codec without --model"),
        (["--codec", "webp", "--chroma", "0.1"], "without --model, --chroma, --effort and --coder"),
        (["--codec", "webp", "--coder", "native"], "expected --codec without --model"),
        (["--codec", "webp", "--qualities", "10;20"], "as in 10,30,50, found '10;20'"),
        (["--codec", "jpeg-420", "--qualities", "10,200"], "quality from 0 to 100, found 200"),
        (["--codec", "webp", "--qualities", "nan"], "quality from 0 to 100, found nan"),
        (["--codec", "webp", "--anchor", "none.json"], "none.json: cannot be read"),
        (["--codec", "webp", "-o", "x.csv"], "x.csv: expected a name in .json"),
        (["--model", "nowhere"], "nowhere"),
        (["--qualities", "101"], "quality"),
        (["--chroma", "7"], "chroma"),
    ],
)
def test_unusable_arguments_are_refused_before_anything_is_measured(
    arguments, message, folder, ycc
):
    code, out, err = ycc("-o", "out.json", *arguments)
    assert code in (2, 4) and out == "" and message in err
    assert err.startswith("ycc: error: ") and err.count("\n") == 1
    assert os.listdir() == ["pictures"]


def test_folders_without_pictures_are_refused(folder, ycc):
    os.mkdir("empty")
    for images, message in [("empty", "expected pictures"), ("missing", "expected a folder")]:
        code, out, err = ycc("--codec", "webp", "-o", "out.json", images=images)
        assert (code, out) == (2, "") and err.startswith(f"ycc: error: {images}: {message}")
        assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["empty", "pictures"]


def test_the_commands_cost_other_commands_nothing():
    code = "import sys, ycc_jax.cli; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(out.stdout.split()) & {"jax", "numpy", "PIL", "scipy", "tqdm"}
    assert {"eval", "bd-rate"} <= set(cli.cli.commands)


def test_the_commit_is_that_of_our_checkout_only(tmp_path, monkeypatch):
    init = tmp_path / "__init__.py"
    init.write_text("")
    monkeypatch.setattr(ycc_jax, "__file__", str(init))

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    codec = peers.get("webp")
    assert "commit" not in provenance.provenance(codec)
    git("init")
    git("commit", "--allow-empty", "-m", "of something else")
    assert "commit" not in provenance.provenance(codec)
    git("add", "__init__.py")
    git("commit", "-m", "ours")
    head = git("rev-parse", "HEAD")[:12]
    assert provenance.provenance(codec)["commit"] == head
    init.write_text("changed = True\n")
    assert provenance.provenance(codec)["commit"] == f"{head}-dirty"
