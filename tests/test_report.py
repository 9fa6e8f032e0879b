"""The report: its figures, its pictures and bits, what it refuses, and the page in Chromium."""

import base64
import importlib
import io
import json
import os
import re
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from ycc_jax import bitstream, cli
from ycc_jax.errors import InputError
from ycc_jax.evaluation.report import build, curves, gallery, plots
from ycc_jax.evaluation.report.bit_map import decode_with_bits
from ycc_jax.evaluation.report.curves import LUMA, METRICS, Curve
from ycc_jax.metrics import psnr

EVIL = "<script>document.title='evil'</script>&\"'"


def record(name, factor=1.0, keys=("psnr-rgb", "psnr-rgb-mean", "psnr-y", "psnr-411"), **more):
    """PSNR = 40 + 6 log2(bpp / factor): a BD-rate is the ratio of two factors."""
    rate = np.array([0.1, 0.2, 0.4, 0.8, 1.6])
    values = 40 + 6 * np.log2(rate / factor)
    return {"name": name, "results": {"bpp": list(rate), **{k: list(values) for k in keys}}, **more}


def measured(name, factor=1.0, **more):
    return Curve(record(name, factor, **more), published=False)


def published(name, factor=1.0, **more):
    return Curve(record(name, factor, **more), published=True)


# ---- figures -----------------------------------------------------------------------------------


def test_bd_cell_is_the_ratio_of_rates():
    cell = curves.bd_cell(published("a"), measured("b", 1.25), LUMA)
    assert cell["percent"] == pytest.approx(25, abs=1e-6) and cell["mark"] == ""


def test_like_is_compared_with_like():
    rgb, (other, ours) = METRICS[0], (published("a", keys=["psnr-rgb"]), measured("b"))
    # Were the means compared with the other's PSNR of the MSE, this would show.
    ours.record["results"]["psnr-rgb-mean"] = [v + 3 for v in ours.record["results"]["psnr-rgb"]]
    cell = curves.bd_cell(other, ours, rgb)
    assert cell["percent"] == pytest.approx(0, abs=1e-9) and curves.MARK in cell["mark"]
    assert curves.bd_cell(other, ours, LUMA) == {"refused": "a has no psnr-y"}
    assert "common" in curves.bd_cell(ours, measured("c", 1e6), LUMA)["refused"]


def test_ms_ssim_is_plotted_in_decibels():
    curve = measured("a")
    curve.record["results"]["ms-ssim-rgb"] = [0.9, 0.99, 0.999, None, 1.0]
    assert np.allclose(curve.points(METRICS[-1]), [(0.1, 10), (0.2, 20), (0.4, 30)])


def test_times_are_of_measured_curves_with_their_origin():
    times = {"encoding_time": [1, 3], "decoding_time": [0.5, 0.5], "bpp": [1, 2]}
    origin = {"machine": "Linux, 2 CPU cores", "settings": {"device": "cpu: cpu"}}
    record = {"name": "a", "results": times, "provenance": origin}
    assert Curve(record, published=False).seconds() == (2, 0.5)
    assert Curve(record, published=False).machine() == "Linux, 2 CPU cores, cpu: cpu"
    assert Curve(record, published=True).seconds() is None
    assert Curve({**record, "provenance": None}, published=False).seconds() is None


def test_the_anchor():
    found = [measured("a"), published("b"), published("c")]
    assert curves.check(found) == 1 and curves.check(found, "c") == 2
    assert curves.check(found[:1]) == 0


def test_plots_mark_the_points_that_the_page_names():
    curve = {"id": 3, "rate": (0.5, 1.0, 2.5), "value": (30.0, 33.0, 39.0), "published": True}
    svg = plots.rd_plot(f"{EVIL} title", "dB", [curve], 2.0)
    marks = re.search(r'<g data-curve="3">.*?</g>\s*</g>', svg, re.S).group()
    assert marks.count("<use") == len(plots.points(curve, 2.0)) == 2
    assert "<script" not in svg and "var(--c3)" in svg and "#02" not in svg
    times = [{"id": 0, "name": EVIL, "encode": 0.1, "decode": 1.0, "percent": 5.0}]
    assert "<script" not in plots.time_plot("t", "%", times)


def test_crowded_curves_have_fewer_markers():
    rate = np.linspace(0.1, 2, 100)
    marked = plots.points({"rate": rate, "value": rate}, 1.5)
    assert 10 <= len(marked) <= 20 and marked[0] == (0.1, 0.1)


def test_what_files_say_is_escaped():
    found = [
        measured(EVIL, description=EVIL, provenance={"commit": EVIL, "settings": {"a": EVIL}}),
        published("b", 2.0, source=EVIL),
    ]
    found[0].record["results"][EVIL] = [EVIL] * 5
    page = build.build(found, 1)
    assert page.count("<script") == 2  # the data and the page's own
    data = re.search(r'id="data">(.*?)</script>', page).group(1)
    assert json.loads(data)["curves"][0]["name"] == EVIL
    digest = re.search(r"script-src '(sha256-[^']+)'", page).group(1)
    assert len(base64.b64decode(digest.removeprefix("sha256-"))) == 32


# ---- pictures ----------------------------------------------------------------------------------


def test_the_bit_map_adds_up_to_the_file_and_lies_where_the_detail_is(bundled, photo, rng):
    rgb = np.full((96, 144, 3), 128, np.uint8)
    rgb[:, 80:] = photo[100:196, 300:364]
    data = bundled.encode(rgb, quality=60)
    picture, bits = decode_with_bits(bundled, data)
    assert np.array_equal(picture, bundled.decode(data))
    assert bits.shape == (8, 12)  # padded to multiples of 64
    fields = bitstream.info(data)
    sections = fields["z_bytes"] + fields["y_bytes"]
    assert bits.sum() / 8 == pytest.approx(sections, rel=0.01, abs=8)
    assert len(data) - 60 < bits.sum() / 8 < len(data)
    assert bits[:6, 5:9].sum() > 4 * bits[:6, :4].sum()


class Coarse:
    """Rounds the pixels; files of 50 (quality + 1) bytes."""

    def __init__(self, name, qualities, bits=False):
        self.subject = gallery.Subject(name, qualities, self.encode, self.decode, {"effort": EVIL})
        self.bits, self.files = bits, {}

    def encode(self, rgb, quality):
        step = 64 - quality
        coarse = np.minimum(rgb.astype(int) // step * step + step // 2, 255).astype(np.uint8)
        self.files[quality] = coarse
        return bytes([quality]) * (50 * (quality + 1))

    def decode(self, data):
        blocks = 2.0 * np.arange(24).reshape(4, 6)
        return self.files[data[0]], blocks if self.bits else None


def picture(rng):
    y, x = np.mgrid[:64, :96]
    smooth = np.stack([2 * x, 3 * y, 255 - x - y], axis=-1)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exhibit():
    rgb = picture(np.random.default_rng(0))
    model = Coarse("model", range(0, 61), bits=True)
    peer = Coarse("peer", range(3, 60, 7))
    shown = gallery.exhibit([model.subject, peer.subject], [(EVIL, rgb)], 5)
    return types.SimpleNamespace(rgb=rgb, model=model, peer=peer, gallery=shown)


def pixels(shown, key):
    file = io.BytesIO(base64.b64decode(shown.images[key]))
    return np.asarray(Image.open(file))


def test_pictures_are_at_matched_rates_and_exactly_what_was_decoded(exhibit):
    shown = exhibit.gallery.pictures[0]
    own, peers = shown["codecs"]
    assert [point["quality"] for point in own] == [0, 15, 30, 45, 60]
    # Nearest in the logarithm to 50, 800, 1550, 2300, 3050 bytes.
    assert [point["quality"] for point in peers] == [3, 17, 31, 45, 59]
    assert own[1]["bpp"] == 8 * 800 / (64 * 96)
    assert np.array_equal(pixels(exhibit.gallery, shown["original"]), exhibit.rgb)
    for point, codec in ((own[2], exhibit.model), (peers[0], exhibit.peer)):
        decoded = pixels(exhibit.gallery, point["image"])
        assert np.array_equal(decoded, codec.files[point["quality"]])
    assert own[0]["bits"] == {"columns": 6, "values": [2 * i for i in range(24)]}
    assert "bits" not in peers[0]


def test_only_what_is_exact_is_called_lossless(rng):
    rgb = picture(rng)
    # Y, in 8 bits, does not tell a step of blue.
    almost = rgb.copy()
    almost[5, 5, 2] ^= 1
    assert psnr.luma(almost)[5, 5] == psnr.luma(rgb)[5, 5]
    files = {0: almost, 1: rgb}
    subject = gallery.Subject(
        "a", (0, 1), lambda _, quality: bytes([quality]), lambda data: (files[data[0]], None)
    )
    points = gallery.exhibit([subject], [("picture", rgb)], 2).pictures[0]["codecs"][0]
    assert points[0]["psnr"] > 80 and points[1]["psnr"] is None


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "a": record("a"),
        "b": record("b", 2.0),
        "other": record("a", 3.0),
        "far": record("far", 1e6),
        "none": record("none", keys=["vmaf"]),
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "out.html").write_text("old")
    return tmp_path


def run(*arguments):
    return cli.main(["report", *arguments, "--quiet"])


def test_command_without_pictures(folder, capsys):
    anchors = folder / "anchors"
    anchors.mkdir()
    (anchors / "c.json").write_text(json.dumps(record("c", 4.0)))
    # An anchor that was also measured here stands back.
    (anchors / "b.json").write_text(json.dumps(record("b", 9.0)))
    assert run("a.json", "b.json", "-o", "out.html", "--pictures", "0") == 0
    page = (folder / "out.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))
    assert [curve["name"] for curve in data["curves"]] == ["a", "b", "c"]
    assert data["bd"][2][1][data["order"]]["percent"] == pytest.approx(-50)
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)
    assert "MB" in capsys.readouterr().err


def test_command_codes_the_pictures_of_a_folder(folder, monkeypatch, rng):
    Image.fromarray(picture(rng)).save(folder / "empty" / "one.png")
    Image.fromarray(picture(rng)[..., 0]).save(folder / "empty" / "two.png")
    codec = types.SimpleNamespace(load=None)
    monkeypatch.setattr(build, "load", lambda model, backend: codec)
    monkeypatch.setattr(gallery, "of_model", lambda codec: Coarse("model", range(9, 61)).subject)
    options = ["--images", "empty", "--codec", "jpeg-444", "--steps", "3"]
    assert run("a.json", "-o", "out.html", *options) == 0
    page = (folder / "out.html").read_text()
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))["gallery"]
    assert [found["name"] for found in shown["pictures"]] == ["one.png", "two.png"]
    assert [codec["name"] for codec in shown["codecs"]] == ["model", "jpeg-444"]
    assert page.count('type="text/plain"') == sum(
        1 + sum(map(len, found["codecs"])) for found in shown["pictures"]
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.json"], "cannot be read"),
        (["broken.json"], "expected an RD file"),
        (["none.json"], "psnr-y"),
        (["a.json", "other.json"], "more than once"),
        (["a.json", "--anchor", "other.json"], "more than once"),
        (["a.json", "far.json"], "common"),
        (["a.json", "b.json", "--against", "x"], "expected an anchor of a, b"),
        (["a.json", "--images", "missing"], "missing"),
        (["a.json", "--images", "empty"], "expected pictures"),
        (["a.json", "--codec", "gif"], "gif"),
        (["a.json", "--model", "missing"], "missing"),
        (["a.json", "--pictures", "-1"], "pictures"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_the_old_page(folder, capsys, arguments, words):
    assert run(*arguments, "-o", "out.html") != 0
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert (folder / "out.html").read_text() == "old"


@pytest.mark.parametrize("output", ["a.json", "missing/out.html"])
def test_bad_output(folder, capsys, output):
    before = (folder / "a.json").read_text()
    assert run("a.json", "-o", output, "--pictures", "0") == 2
    assert output in capsys.readouterr().err and (folder / "a.json").read_text() == before


def test_names_may_not_repeat():
    with pytest.raises(InputError, match="'a' more than once"):
        curves.check([measured("a"), published("a")])


# ---- the page, in Chromium ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = importlib.import_module("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        # On a developer's machine; .ci/run installs them, and asks for these tests.
        assert "WITH_CHROMIUM" not in os.environ, "expected chromium and chromedriver, found none"
        pytest.skip("the page is driven in Chromium: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
        "disable-background-networking", "disable-component-update", "disable-sync",
        "disable-dev-shm-usage", "force-device-scale-factor=1",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(exhibit, tmp_path_factory):
    times = {"encoding_time": [0.2] * 5, "decoding_time": [0.1] * 5}
    ours = [measured("model", provenance={"machine": EVIL}), measured(EVIL, 1.2)]
    ours[0].record["results"].update(times)
    others = [published("peer", 2.0), published("far", 1e6, source=EVIL)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(build.build([*ours, *others], 2, exhibit.gallery), "utf-8")
    return path.as_uri()


class Viewer:
    """The page's viewer, by what a reader does and sees."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def act(self, change):
        """Does something that loads pictures and waits until they are drawn."""
        from selenium.webdriver.support.ui import WebDriverWait

        before = self.find("#stage").get_attribute("data-shown")
        change()
        WebDriverWait(self.browser, 10, 0.02).until(
            lambda _: self.find("#stage").get_attribute("data-shown") != before
        )

    def set(self, id, value):
        event = "input" if id == "quality" else "change"
        text = (
            f"const e = document.getElementById('{id}'); e.value = arguments[0];"
            f"e.dispatchEvent(new Event('{event}'))"
        )
        self.act(lambda: self.script(text, value))

    def seen(self):
        """The picture on the canvas, pixel by pixel, uint8 (64, 96, 3)."""
        self.find("#zoom-one").click()
        text = """
          const c = document.getElementById("canvas"), [w, h] = [96, 64];
          const x = Math.round((c.width - w) / 2), y = Math.round((c.height - h) / 2);
          const copy = new OffscreenCanvas(w, h).getContext("2d", {willReadFrequently: true});
          copy.drawImage(c, -x, -y);
          return [...copy.getImageData(0, 0, w, h).data]"""
        return np.array(self.script(text), np.uint8).reshape(64, 96, 4)[..., :3]

    def divide(self, share):
        """Moves the divider to the end, 0 or 1, by its key."""
        self.find("#divider").send_keys("\ue010" if share else "\ue011")


@pytest.fixture
def viewer(browser, page):
    browser.set_window_size(1280, 900)
    browser.get_log("performance")  # what its own first page asked for
    browser.get(page)
    viewer = Viewer(browser)
    viewer.act(lambda: viewer.set("quality", 1))
    yield viewer
    assert browser.get_log("browser") == []
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {
        message["params"]["request"]["url"].split(":")[0]
        for message in requests
        if message["method"] == "Network.requestWillBeSent"
    }
    assert urls <= {"file", "data"}


def test_divider(viewer):
    divider, stage = viewer.find("#divider"), viewer.find("#stage")
    assert divider.get_attribute("aria-valuenow") == "50"
    divider.send_keys("\ue012\ue012\ue012")
    assert divider.get_attribute("aria-valuenow") == "47"
    from selenium.webdriver import ActionChains

    quarter = stage.rect["width"] // 4
    ActionChains(viewer.browser, 50).drag_and_drop_by_offset(divider, quarter, 0).perform()
    assert abs(int(divider.get_attribute("aria-valuenow")) - 72) <= 1
    # What is left of it is the left codec, and so on.
    viewer.divide(0)
    assert np.array_equal(viewer.seen(), viewer_pixels(viewer, 0, 1))
    viewer.divide(1)
    assert np.array_equal(viewer.seen(), viewer_pixels(viewer, 1, 1))


def viewer_pixels(viewer, codec, step):
    """What the page's picture of a codec holds, decoded by Pillow."""
    data = json.loads(viewer.script("return document.getElementById('data').textContent"))
    key = data["gallery"]["pictures"][0]["codecs"][codec][step]["image"]
    text = viewer.script("return document.getElementById(arguments[0]).textContent", key)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_quality_slider_changes_picture_and_rate(viewer):
    assert "1.042 bpp" in viewer.find("#rate").text  # 8 * 800 / (64 * 96)
    assert "1.172 bpp" in viewer.find("#left-text").text  # 8 * 900, the nearest
    viewer.divide(0)
    viewer.act(lambda: viewer.find("#quality").send_keys("\ue014"))
    assert "quality 30" in viewer.find("#right-text").text
    assert "2.018 bpp" in viewer.find("#rate").text and "PSNRY" in viewer.find("#right-text").text
    assert np.array_equal(viewer.seen(), viewer_pixels(viewer, 0, 2))


def test_planes_bit_map_and_original(viewer, exhibit):
    viewer.divide(0)
    shown = viewer_pixels(viewer, 0, 1)
    ycbcr = np.asarray(Image.fromarray(shown).convert("YCbCr")).astype(int)
    for channel, plane in enumerate(("y", "cb", "cr")):
        box = viewer.find(f"input[value={plane}]")
        viewer.act(lambda box=box: viewer.script("arguments[0].click()", box))
        # Pillow truncates where the page rounds.
        assert np.abs(viewer.seen()[..., 0].astype(int) - ycbcr[..., channel]).max() <= 1
    viewer.act(lambda: viewer.script("document.querySelector('input[value=rgb]').click()"))
    viewer.act(lambda: viewer.find("#bits").click())
    mapped = viewer.seen().astype(int)
    # The fewest bits are dark, the most light, and one block is one colour over the picture.
    assert mapped[:16, :16].mean() < 60 < 180 < mapped[-16:, -16:].mean()
    assert "0 to 46 bits" in viewer.find("#heat-text").text
    viewer.act(lambda: viewer.find("#bits").click())
    viewer.act(lambda: viewer.find("#original").click())
    assert np.array_equal(viewer.seen(), exhibit.rgb)


def test_zoom(viewer):
    def scale():
        return int(viewer.find("#zoom").text.split()[0])

    whole = scale()
    viewer.find("#zoom-in").click()
    assert scale() == pytest.approx(1.5 * whole, abs=2)
    viewer.find("#zoom-fit").click()
    assert scale() == whole
    stage = viewer.find("#stage")
    stage.send_keys("+")
    assert scale() == pytest.approx(1.25 * whole, abs=2)
    wheel = (
        "arguments[0].dispatchEvent(new WheelEvent('wheel', "
        "{deltaY: -100, clientX: 300, clientY: 300, cancelable: true}))"
    )
    viewer.script(wheel, stage)
    assert scale() == pytest.approx(1.25 * whole * np.exp(1 / 3), abs=2)
    stage.send_keys("1")
    assert scale() == 100
    stage.send_keys("0")
    assert scale() == whole


def test_table_legend_and_values(viewer):
    def rows():
        return [row.text for row in viewer.browser.find_elements("css selector", "#bd-rows tr")]

    assert "model" in rows()[0] and "−50.0 %" in rows()[0]
    last = viewer.find("#bd-rows tr:last-child td:nth-of-type(3)")
    assert last.text == "–" and "common" in last.get_attribute("title")
    viewer.script(
        "const s = document.getElementById('anchor'); s.value = 0;"
        "s.dispatchEvent(new Event('change'))"
    )
    assert EVIL in rows()[0] and "+20.0 %" in rows()[0]
    line = viewer.find("#plot-2 [data-line='0']")
    assert line.is_displayed()
    viewer.find("[data-toggle='0']").click()
    assert not line.is_displayed()
    from selenium.webdriver import ActionChains

    # The pointer is on a marker: SVG uses have no size of their own for WebDriver.
    mark = viewer.script(
        "const u = document.querySelectorAll('#plot-2 [data-curve=\"2\"] use')[2];"
        "u.scrollIntoView({block: 'center'}); const b = u.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]"
    )
    actions = ActionChains(viewer.browser)
    actions.w3c_actions.pointer_action.move_to_location(*map(int, mark))
    actions.perform()
    assert viewer.find("#tip").text == "peer\n0.400 bpp, 26.07 dB"  # 40 + 6 log2(0.4 / 2)
    assert viewer.browser.title == build.TITLE


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_window(viewer, width):
    # Chromium's windows have a least width that emulated screens do not have.
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    viewer.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        assert viewer.script("return innerWidth") == width
        assert viewer.script("return document.documentElement.scrollWidth") <= width
        wide = """return [...document.querySelectorAll("button, select, input, figure, .stage")]
          .filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.id)"""
        assert viewer.script(wide) == []
    finally:
        viewer.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
