"""Pictures to bytes and back: sizes, processes, honest rates, and files that must be refused."""

import dataclasses
import importlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import ycc_jax
from ycc_jax import bitstream
from ycc_jax.codec import Codec
from ycc_jax.codec_model import export_model
from ycc_jax.entropy import backends, range_coder, rdo
from ycc_jax.entropy.symbols import Writer
from ycc_jax.entropy.tables import gaussian_tables, tables_from_pmf
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.metrics import bd_rate, psnr
from ycc_jax.models import build
from ycc_jax.operating_point import level_of
from ycc_jax.pictures.padding import pad_to_multiple


@pytest.mark.parametrize("height, width", [(1, 1), (17, 31), (64, 64), (333, 500)])
def test_any_size_decodes_to_the_encoders_own_picture(tiny_codec, photo, height, width):
    picture = photo[:height, 10 : 10 + width]
    data, expected = tiny_codec.encode_with_picture(picture, 30)
    found = tiny_codec.decode(data)
    assert found.shape == picture.shape and found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    header = ycc_jax.info(data)
    assert (header["width"], header["height"], header["quality"]) == (width, height, 30)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("minnen_gain", {}),
        ("dlec", {"matrix": "bt709", "color_range": "limited"}),
        ("dlec_gain", {"activation": "gdn"}),
    ],
)
def test_every_system_codes(name, arguments, photo, tmp_path):
    """Small, with random weights: the files are long, but they are files."""
    config = importlib.import_module(f"configs.{name}").get_config().unlock()
    config.model.update(N=8, M=12, **arguments)
    net = build(**config.model.to_dict())
    params = jax.jit(net.init)(jax.random.PRNGKey(1), np.zeros((1, 64, 64, 3)), np.zeros(1))
    # Factors that lift the random latent above the quantiser's step, so that symbols are not all 0.
    params = jax.tree.map(lambda p: p * 1.5, params["params"])
    export_model(tmp_path / "m", name=name, arguments=config.model.to_dict(), params=params)
    codec = ycc_jax.load(tmp_path / "m")
    picture = photo[:70, 100:200]
    data, expected = codec.encode_with_picture(picture, 100 if config.model.levels else None)
    np.testing.assert_array_equal(codec.decode(data), expected)
    header = ycc_jax.info(data)
    assert header["matrix"] == ("rgb" if "minnen" in name else codec.net.matrix)
    assert header["range"] == codec.net.color_range
    assert header["y_bytes"] > 20


def test_grey_stays_grey(tiny_codec, photo):
    grey = photo[:64, 200:300, 1]
    data, expected = tiny_codec.encode_with_picture(grey, 100)
    found = tiny_codec.decode(data)
    assert found.shape == grey.shape and ycc_jax.info(data)["channels"] == 1
    np.testing.assert_array_equal(found, expected)
    assert np.mean(np.square(found.astype(float) - grey)) < 100


def test_encode_is_deterministic_and_quality_is_continuous(tiny_codec, photo):
    picture = photo[:128, :128]
    assert tiny_codec.encode(picture, 41.7) == tiny_codec.encode(picture, 41.7)
    assert tiny_codec.encode(picture) == tiny_codec.encode(picture, 50)
    assert ycc_jax.info(tiny_codec.encode(picture, 41.7))["quality"] == pytest.approx(
        41.7, abs=1e-3
    )


def test_the_bundled_model_gives_every_rate(bundled, photo):
    """Bytes and PSNR_Y rise together over the whole range, also between the trained levels."""
    picture = photo[128:384, 128:384]
    sizes, decibels = [], []
    for quality in (0, 20, 35.5, 50, 71, 100):
        data = bundled.encode(picture, quality)
        sizes.append(len(data))
        decibels.append(psnr.psnr(picture, bundled.decode(data))["psnr-y"])
    assert sizes == sorted(sizes) and sizes[-1] > 5 * sizes[0]
    assert decibels == sorted(decibels) and decibels[-1] > decibels[0] + 8


def test_optimised_quantisation_pays(bundled, photo):
    """Against plain rounding: fewer bits at equal PSNR_Y, by the BD-rate over the whole range."""
    picture, curves = photo[128:320, 128:320], []
    for worth in (float("inf"), rdo.BITS_PER_SQUARED_STEP):
        streams = [bundled.encode(picture, quality, worth=worth) for quality in (10, 35, 60, 85)]
        decibels = [psnr.psnr(picture, bundled.decode(data))["psnr-y"] for data in streams]
        curves += [[len(data) for data in streams], decibels]
    assert bd_rate.bd_rate(*curves)[0] < 0


def test_estimated_bits_are_the_files_bits(bundled, photo):
    """The model's forward pass against real bytes on a real photograph: 1 % plus the header."""
    picture = np.asarray(photo[:, :448])
    for quality in (15, 75):
        # Plain rounding, as the forward pass rounds.
        data = bundled.encode(picture, quality, worth=float("inf"))
        x = pad_to_multiple(picture, 64)[None].astype(np.float32) / 255
        params, level = {"params": bundled.model.params}, level_of(bundled.net, quality, 0.25)
        out = jax.jit(bundled.net.apply)(params, x, level)
        estimate = float(out["bits_y"][0] + out["bits_z"][0]) / 8
        coded = len(data) - ycc_jax.info(data)["overhead_bytes"]
        assert abs(coded - estimate) < 0.01 * estimate, (quality, coded, estimate)


def test_one_process_encodes_and_another_decodes(tiny_codec, tiny_run, photo, tmp_path):
    """Through the command line, on an odd size; the picture is bit for bit the encoder's own."""
    picture = photo[50:183, 100:301]
    source, stream, out = (tmp_path / name for name in ("in.png", "k.ycc", "out.png"))
    Image.fromarray(picture).save(source)
    model = str(tiny_run[0] / "model")
    for arguments in (
        ("encode", str(source), "-o", str(stream), "-q", "62.5", "-m", model),
        ("decode", str(stream), "-o", str(out), "-m", model),
    ):
        subprocess.run([sys.executable, "-m", "ycc_jax", *arguments], check=True, timeout=300)
    data, expected = tiny_codec.encode_with_picture(picture, 62.5)
    assert stream.read_bytes() == data
    np.testing.assert_array_equal(np.asarray(Image.open(out)), expected)


@pytest.mark.skipif(
    "tfc" not in backends.available_backends(),
    reason="TensorFlow Compression is not installed; the other test environment has it",
)
def test_both_coders_write_the_same_file(tiny_codec, photo):
    native, tfc = (Codec(tiny_codec.model, backend=backend) for backend in ("native", "tfc"))
    picture = photo[:100, :100]
    for tile in (0, 64):
        data = native.encode(picture, 100, tile=tile)
        assert tfc.encode(picture, 100, tile=tile) == data
        np.testing.assert_array_equal(tfc.decode(data), native.decode(data))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_other_arrays_are_refused(tiny_codec, picture):
    with pytest.raises(InputError, match="expected a uint8 picture .* found"):
        tiny_codec.encode(picture)


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan"), "50"])
def test_quality_out_of_range_is_refused(tiny_codec, photo, quality):
    with pytest.raises(InputError):
        tiny_codec.encode(photo, quality)


def test_a_single_rate_model_takes_no_quality(tiny_codec, photo):
    arguments = {**tiny_codec.model.arguments, "levels": 0, "level_aware": False}
    single = Codec(dataclasses.replace(tiny_codec.model, arguments=arguments))
    with pytest.raises(InputError, match="single rate"):
        single.encode(photo, 30)


def test_a_file_of_another_model_is_refused(tiny_codec, bundled, photo):
    data = tiny_codec.encode(photo[:64, :64])
    with pytest.raises(ModelError, match="weights hash"):
        bundled.decode(data)
    retrained = Codec(dataclasses.replace(tiny_codec.model, weights_hash=b"abcd"))
    with pytest.raises(ModelError, match="weights hash .* found 61626364"):
        retrained.decode(data)


def test_a_huge_picture_is_refused_before_anything_is_computed(tiny_codec, photo, monkeypatch):
    data = tiny_codec.encode(photo[:64, :64])
    monkeypatch.setattr(range_coder, "Decoder", None)
    with pytest.raises(LimitError):
        tiny_codec.decode(data, max_pixels=64 * 64 - 1)


def test_symbols_changed_under_a_valid_checksum_are_noticed(tiny_codec, photo):
    """Valid container, other symbols: what a drift of probabilities between machines gives."""
    data = tiny_codec.encode(photo[:64, :64], 80)
    header, [tile], _ = bitstream.unpack(data)
    for y in (tile.y[:-1], tile.y[:40] + b"\x55" + tile.y[41:], b"", tile.y + b"\0"):
        with pytest.raises(CorruptStreamError):
            tiny_codec.decode(bitstream.pack(header, [tile._replace(y=y)]))


def test_drift_of_the_probabilities_is_an_error_not_a_wrong_picture(tiny_codec, photo):
    data = tiny_codec.encode(photo[:64, :64], 80)
    other = Codec(tiny_codec.model)
    step = other.stages.prior.parameters

    def drifted(*arguments):
        mean, index = step(*arguments)
        index = np.array(index)
        index[0, 3] ^= 1  # one table entry of one channel, at the first position of each wave
        return mean, index

    other.stages.prior.parameters = drifted
    with pytest.raises(CorruptStreamError, match="expected the symbols that the encoder coded"):
        other.decode(data)


def test_a_header_of_another_colour_is_refused(tiny_codec, photo):
    header, tiles, _ = bitstream.unpack(tiny_codec.encode(photo[:64, :64]))
    data = bitstream.pack(dataclasses.replace(header, matrix="bt709"), tiles)
    with pytest.raises(CorruptStreamError, match="colours bt601 full, found bt709 full"):
        tiny_codec.decode(data)


def test_what_memory_cannot_hold_is_refused_before_anything_is_computed(
    tiny_codec, photo, monkeypatch
):
    picture = photo[:64, :90]
    data = tiny_codec.encode(picture)
    monkeypatch.setattr("ycc_jax.pictures.limits.available_memory", lambda: 64 * 128 * 100)
    for stage in ("analyse", "y_hat"):
        monkeypatch.setattr(tiny_codec.stages, stage, None)
    with pytest.raises(LimitError, match="picture: .* found 90 x 64, padded to 128 x 64"):
        tiny_codec.decode(data, max_pixels=None)
    with pytest.raises(LimitError, match="picture: .* found 90 x 64, padded to 128 x 64"):
        tiny_codec.encode(picture)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 99 GB")])
def test_running_out_of_memory_is_a_limit(tiny_codec, photo, monkeypatch, error):
    data = tiny_codec.encode(photo[:64, :90])

    def fails(*_):
        raise error

    monkeypatch.setattr(tiny_codec.stages, "_synthesise", fails)
    with pytest.raises(LimitError, match="found 90 x 64"):
        tiny_codec.decode(data)


def test_weights_that_overflow_are_an_error_not_a_picture(tiny_codec, photo, monkeypatch):
    data = tiny_codec.encode(photo[:64, :64])
    synthesise = tiny_codec.stages._synthesise
    monkeypatch.setattr(tiny_codec.stages, "_synthesise", lambda *a: synthesise(*a) * np.nan)
    with pytest.raises(ModelError, match="expected finite values"):
        tiny_codec.decode(data)


def test_symbols_crc_is_over_little_endian_int32():
    import zlib

    raw = b"\x01\0\0\0\xfe\xff\xff\xff" + b"\x07\0\0\0"
    z, y = np.array([[[1, -2]]], np.int32), np.array([[[7.2]]], np.float32)
    tables = tables_from_pmf([[0.4, 0.4], [0.4, 0.4]], [0, -2])
    writer = Writer(z, y, {"z": tables, "y": gaussian_tables()}, float("inf"))
    position = np.array([0])
    place = position, position, slice(None)
    symbols = writer(place, np.zeros((1, 1), np.int32), np.full((1, 1), 40, np.int32))
    assert symbols.tolist() == [[7]] and writer.crc == zlib.crc32(raw)
