import importlib

import numpy as np
import pytest
from PIL import Image

from ycc_jax.metrics import bd_rate, psnr

KEYS = "psnr-rgb psnr-rgb-mean psnr-y psnr-cb psnr-cr psnr-411 psnr-411-mse".split()

# (bpp, PSNR_Y) on Kodak, mean of 24 images.
# Published: tensorflow/compression, results/image_compression/kodak/PSNR_sRGB_Y, Minnen 2018.
MINNEN2018 = (
    [0.071997, 0.153354, 0.264381, 0.428511, 0.635404, 0.904279, 1.258828, 1.98205, 2.992778],
    [27.110375, 29.212094, 31.346775, 33.543478, 35.637747, 37.857125]
    + [40.122851, 43.581031, 47.253899],
)
# Measured: Pillow 13.0 (libjpeg-turbo), 4:2:0, progressive, optimize.
JPEG420 = (
    [0.15427, 0.268375, 0.369492, 0.45818, 0.614995, 0.743439, 0.923418, 1.192576]
    + [1.50437, 2.206967],
    [25.570509, 28.06866, 29.391486, 30.323798, 31.648753, 32.580495, 33.737512, 35.260322]
    + [36.898707, 40.109143],
)
# Measured: Pillow 13.0 (libwebp).
WEBP = (
    [0.154521, 0.217424, 0.326443, 0.47621, 0.672735, 0.877265, 1.447547, 2.798228],
    [27.671283, 28.871215, 30.488494, 32.265632, 34.252458, 35.920691, 39.681986, 45.274538],
)


@pytest.fixture
def noisy(photo, rng):
    noise = np.rint(rng.normal(0, [2, 4, 8], photo.shape))
    return np.clip(photo + noise, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_skimage(photo, noisy):
    skimage_metrics = importlib.import_module("skimage.metrics")
    reference = skimage_metrics.peak_signal_noise_ratio
    ycc, noisy_ycc = (np.asarray(Image.fromarray(x).convert("YCbCr")) for x in (photo, noisy))
    planes = [reference(ycc[..., i], noisy_ycc[..., i]) for i in range(3)]
    mse = [np.mean((ycc[..., i] - noisy_ycc[..., i].astype(float)) ** 2) for i in range(3)]
    expected = {
        "psnr-rgb": reference(photo, noisy),
        "psnr-rgb-mean": np.mean([reference(photo[..., i], noisy[..., i]) for i in range(3)]),
        "psnr-y": planes[0],
        "psnr-cb": planes[1],
        "psnr-cr": planes[2],
        "psnr-411": (4 * planes[0] + planes[1] + planes[2]) / 6,
        "psnr-411-mse": 10 * np.log10(255**2 / ((4 * mse[0] + mse[1] + mse[2]) / 6)),
    }
    found = psnr.psnr(photo, noisy)
    assert list(found) == KEYS == list(psnr.KEYS)
    assert found == pytest.approx(expected, abs=1e-9)


def test_luma_is_pillows(photo):
    np.testing.assert_array_equal(
        psnr.luma(photo), np.asarray(Image.fromarray(photo).convert("YCbCr"))[..., 0]
    )


def test_named_functions_are_the_entries(photo, noisy):
    found = psnr.psnr(photo, noisy)
    assert len(set(found.values())) == len(KEYS)


def test_one_level_everywhere_is_48_db():
    # Brown, one level apart: MSE 1 in R, G, B and Y, and 0 in chroma.
    a = np.full((4, 5, 3), (150, 100, 50), np.uint8)
    found = psnr.psnr(a, a + 1)
    for key in ("psnr-rgb", "psnr-rgb-mean", "psnr-y"):
        assert found[key] == pytest.approx(48.1308, abs=1e-4)
    assert found["psnr-411-mse"] == pytest.approx(48.1308 + 10 * np.log10(6 / 4), abs=1e-4)
    # As if one sample of 4 x 5 were off by one level.
    exact = 48.1308 + 10 * np.log10(4 * 5)
    assert found["psnr-cb"] == found["psnr-cr"] == pytest.approx(exact, abs=1e-4)
    assert found["psnr-411"] == pytest.approx((4 * 48.1308 + 2 * exact) / 6, abs=1e-4)


@pytest.mark.filterwarnings("error")
def test_no_error_is_just_below_the_smallest(photo):
    photo = photo[:40, :50]
    exact = psnr.psnr(photo, photo)
    assert all(np.isfinite(value) for value in exact.values())
    # The smallest error of a plane is one sample off by one level, and of three planes one of 3 n.
    decoded = photo.copy()
    decoded[3, 4, 1] ^= 1
    found = psnr.psnr(photo, decoded)
    assert found["psnr-rgb"] == pytest.approx(exact["psnr-rgb"], abs=1e-9)
    assert found["psnr-rgb-mean"] == pytest.approx(exact["psnr-rgb-mean"], abs=1e-9)
    assert all(found[key] <= exact[key] + 1e-9 for key in KEYS)


def test_a_grey_picture_has_no_chroma(photo):
    grey = np.repeat(photo[:40, :50, :1], 3, axis=-1)
    found = psnr.psnr(grey, photo[:40, :50])
    assert [key for key in KEYS if found[key] is None] == KEYS[3:] == list(psnr.CHROMA_KEYS)
    assert found["psnr-rgb"] < 40
    # It is the original that tells, so that all codecs have the same pictures in a mean.
    assert None not in psnr.psnr(photo[:40, :50], grey).values()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "decoded must be uint8 .*found float32"),
        (np.zeros((4, 5), np.uint8), r"decoded must be uint8 \(H, W, 3\), found uint8 \(4, 5\)"),
        (np.zeros((4, 5, 4), np.uint8), "decoded must be uint8"),
        (np.zeros((5, 4, 3), np.uint8), r"reference is \(4, 5, 3\) but decoded is \(5, 4, 3\)"),
    ],
)
def test_distortion_refuses_bad_pictures(bad, message):
    with pytest.raises(ValueError, match=message):
        psnr.psnr(np.zeros((4, 5, 3), np.uint8), bad)


def test_bd_rate_against_itself_is_zero():
    percent, interval = bd_rate.bd_rate(*JPEG420, *JPEG420)
    assert percent == pytest.approx(0, abs=1e-12)
    assert interval == (JPEG420[1][0], JPEG420[1][-1])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 3.0])
def test_bd_rate_of_scaled_rates_is_the_factor(factor):
    rate, metric = MINNEN2018
    percent, _ = bd_rate.bd_rate(rate, metric, factor * np.array(rate), metric)
    assert percent == pytest.approx(100 * (factor - 1))


def test_bd_rate_of_straight_lines_is_exact():
    # log rate = metric and log rate = metric / 2 + 1 over [2, 5]: mean difference 1 - 3.5 / 2.
    a, b = np.arange(1.0, 6.0), np.arange(2.0, 8.0)
    percent, interval = bd_rate.bd_rate(np.exp(a), a, np.exp(b / 2 + 1), b)
    assert interval == (2, 5)
    assert percent == pytest.approx(100 * (np.exp(1 - 3.5 / 2) - 1))


@pytest.mark.parametrize(("curve", "published"), [(JPEG420, 110.1), (WEBP, 32.9)])
def test_bd_rate_of_published_curves(curve, published):
    percent, (low, high) = bd_rate.bd_rate(*MINNEN2018, *curve)
    assert percent == pytest.approx(published, abs=0.05)
    assert (low, high) == (max(curve[1][0], 27.110375), curve[1][-1])


def test_bd_rate_takes_points_in_any_order(rng):
    order = rng.permutation(len(JPEG420[0]))
    shuffled = [np.array(values)[order] for values in JPEG420]
    assert bd_rate.bd_rate(*MINNEN2018, *shuffled) == bd_rate.bd_rate(*MINNEN2018, *JPEG420)


def test_bd_rate_wants_half_of_the_shorter_curve():
    rate, metric = np.exp(np.arange(5.0)), np.arange(5.0)
    percent, interval = bd_rate.bd_rate(rate, metric, 2 * rate, metric + 2)
    assert interval == (2, 4) and percent == pytest.approx(100 * (2 * np.exp(-2) - 1))
    with pytest.raises(ValueError, match="found 49%"):
        bd_rate.bd_rate(rate, metric, 2 * rate, metric + 2.05)
    # A short curve inside a long one has all of itself in common.
    bd_rate.bd_rate(rate, metric, rate, metric / 8 + 2)


@pytest.mark.parametrize(
    ("rate", "metric", "message"),
    [
        ([1, 2, 3], [30, 31, 32], "curve b: BD-rate needs at least 4 points, found 3"),
        ([1, 2, 3, 4], [30, 32, 31, 33], r"curve b: .* rise strictly .* \[30.0, 32.0, 31.0, 33.0"),
        ([1, 2, 3, 4], [30, 31, 31, 33], "curve b: .* rise strictly"),
        ([1, 2, 3, 4], [60, 61, 62, 63], r"no common .*a covers \[25.57.*b covers \[60, 63\]"),
        (
            [1, 2, 3, 4],
            [39, 40, 41, 42],
            r"at least 50% of the shorter .* found 37%: a covers \[25",
        ),
        ([0, 2, 3, 4], [30, 31, 32, 33], "curve b: rates must be positive"),
        ([1, 2, 3, 4], [30, 31, 32, np.inf], "curve b: .*finite"),
        ([1, 2, 3, 4], [30, 31, 32], r"curve b: shapes \(4,\) and \(3,\)"),
    ],
)
def test_bd_rate_refuses_bad_curves(rate, metric, message):
    with pytest.raises(ValueError, match=message):
        bd_rate.bd_rate(*JPEG420, rate, metric)
