"""Reading and writing pictures: every mode is exact, warned of, or refused with a way out."""

import io
import os
import re
import struct
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from ycc_jax.errors import InputError, LimitError
from ycc_jax.pictures import images, limits

# `read_quietly` and `pytest.warns` look at warnings; elsewhere they are beside the point.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]


def saved(picture, format="PNG", **options):
    """A picture (array or Pillow image) as a file in memory."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    buffer.seek(0)
    return buffer


def read_quietly(*arguments, **options):
    """`read`, where a warning is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return images.read(*arguments, **options)


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(samples, depth, extra=b""):
    """A PNG made by hand, since Pillow writes no 16-bit colour. samples: (H, W, channels)."""
    height, width, channels = samples.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    dtype = ">u2" if depth == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(dtype).tobytes() for row in samples)
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff16(samples, order="<", planar=1, extra_samples=None):
    """An uncompressed 16-bit TIFF of one strip (or one per plane), made by hand."""
    height, width, channels = samples.shape
    planes = [samples[..., c] for c in range(channels)] if planar == 2 else [samples]
    strips = [plane.astype(order + "u2").tobytes() for plane in planes]
    entries = [(256, 3, [width]), (257, 3, [height]), (258, 3, [16] * channels), (259, 3, [1])]
    entries += [(262, 3, [2 if channels > 1 else 1]), (277, 3, [channels]), (278, 3, [height])]
    entries += [(284, 3, [planar])] + ([] if extra_samples is None else [(338, 3, [extra_samples])])
    entries += [(273, 4, [0] * len(strips)), (279, 4, [len(strip) for strip in strips])]
    entries.sort()
    values_at = 8 + 2 + 12 * len(entries) + 4
    tables = 4 * len(strips) + 2 * channels + 4 * len(strips)
    starts = [values_at + tables + sum(map(len, strips[:i])) for i in range(len(strips))]
    directory, values = struct.pack(order + "H", len(entries)), b""
    for tag, kind, numbers in entries:
        numbers = starts if tag == 273 else numbers
        packed = struct.pack(order + "HI"[kind == 4] * len(numbers), *numbers)
        if len(packed) > 4:
            field = struct.pack(order + "I", values_at + len(values))
            values += packed
        else:
            field = packed.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(numbers)) + field
    mark = b"II*\0" if order == "<" else b"MM\0*"
    header = mark + struct.pack(order + "I", 8)
    head = header + directory + bytes(4) + values.ljust(tables, b"\0")
    return io.BytesIO(head + b"".join(strips))


def to_8_bits(samples, peak=65535):
    return np.round(samples * (255 / peak)).astype(np.uint8)


# ---- formats and modes


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "BMP"])
@pytest.mark.parametrize("picture", [RGB, GREY], ids=["rgb", "grey"])
def test_lossless_formats_are_read_exactly(format, picture):
    found = read_quietly(saved(picture, format))
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_are_read_as_pillow_reads_them(format):
    file = saved(RGB, format)
    np.testing.assert_array_equal(read_quietly(file), np.asarray(Image.open(file).convert("RGB")))


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(RGB, "PNG").getvalue())
    np.testing.assert_array_equal(read_quietly(path), RGB)
    np.testing.assert_array_equal(read_quietly(str(path)), RGB)


def test_single_pixel():
    np.testing.assert_array_equal(read_quietly(saved(RGB[:1, :1])), RGB[:1, :1])


def test_bilevel_is_grey():
    bits = GREY > 127
    np.testing.assert_array_equal(read_quietly(saved(bits)), np.where(bits, 255, 0))


def test_palette_is_rgb():
    picture = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read_quietly(saved(picture)), np.asarray(picture.convert("RGB")))


# ---- transparency


@pytest.mark.parametrize("opaque", [RGB, GREY], ids=["rgb", "grey"])
def test_alpha_that_hides_nothing_is_accepted(opaque):
    with_alpha = np.dstack([opaque, np.full_like(GREY, 255)])
    np.testing.assert_array_equal(read_quietly(saved(with_alpha)), opaque)


def transparent_pictures():
    palette = Image.fromarray(RGB).quantize(16)
    alpha = RNG.integers(0, 256, GREY.shape, np.uint8)
    value, colour = int(GREY[2, 3]), tuple(int(v) for v in RGB[2, 3])
    return {
        "rgba": saved(np.dstack([RGB, alpha])),
        "la": saved(np.dstack([GREY, alpha])),
        "palette, one entry": saved(palette, transparency=3),
        "palette, table": saved(palette, transparency=bytes(range(0, 256, 16))),
        "rgb, one colour": saved(RGB, transparency=colour),
        "grey, one value": saved(GREY, transparency=value),
        "gif": saved(palette, "GIF", transparency=3),
        "rgba webp": saved(np.dstack([RGB, alpha]), "WEBP", lossless=True, exact=True),
    }


@pytest.mark.parametrize("name", transparent_pictures())
def test_transparency_needs_a_background(name):
    file = transparent_pictures()[name]
    with pytest.raises(InputError, match="--background white"):
        images.read(file)
    grey = "la" in name.split() or "grey" in name
    rgba = np.asarray(Image.open(file).convert("RGBA"), np.float64)
    alpha = rgba[..., 3:] / 255
    for background, colour in {"white": (255, 255, 255), "#ff8000": (255, 128, 0)}.items():
        file.seek(0)
        found = read_quietly(file, background=background)
        expected = alpha * rgba[..., :3] + (1 - alpha) * np.array(colour)
        if grey and background == "white":
            expected = expected[..., 0]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 0.502
        file.seek(0)


@pytest.mark.parametrize("name", ["whitish", "rgb(999,0,0)", "rgb(0%,110%,0%)", "#ff000080"])
def test_unknown_background_is_refused_even_if_it_is_not_needed(name):
    with pytest.raises(InputError, match=f"colour such as .* found '{re.escape(name)}'"):
        images.read(saved(RGB), background=name)


# ---- depth


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_is_rounded(channels):
    samples = RNG.integers(0, 65536, (9, 7, channels))
    samples[0] = 255  # 255 / 257 rounds to 1; cutting off the low byte makes it 0
    samples[1] = 65535
    if channels in (2, 4):
        samples[..., -1] = 65535
    colours = samples[..., : 1 if channels < 3 else 3]
    with pytest.warns(UserWarning, match="rounded to 8"):
        found = images.read(png(samples, 16))
    np.testing.assert_array_equal(found, to_8_bits(colours[..., 0] if channels < 3 else colours))


def test_16_bit_png_with_alpha_needs_a_background():
    samples = np.full((2, 2, 4), 65535)
    samples[0, 0, 3] = 0
    with pytest.raises(InputError, match="--background"), pytest.warns(UserWarning):
        images.read(png(samples, 16))


def test_16_bit_png_with_transparent_colour_is_refused():
    extra = chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))
    with pytest.raises(InputError, match="16 bits with a transparent colour"):
        images.read(png(np.ones((2, 2, 3)), 16, extra))


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_is_rounded(order, channels):
    samples = RNG.integers(0, 65536, (9, 7, channels))
    samples[..., 3:] = 65535
    with pytest.warns(UserWarning, match="rounded to 8"):
        found = images.read(tiff16(samples, order, extra_samples=2 if channels == 4 else None))
    expected = to_8_bits(samples[..., 0] if channels == 1 else samples[..., :3])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", [{"planar": 2}, {"extra_samples": 0}, {"extra_samples": 1}])
def test_16_bit_tiff_layouts_that_pillow_cannot_give_whole_are_refused(options):
    samples = RNG.integers(0, 65536, (4, 4, 4 if "extra_samples" in options else 3))
    with pytest.raises(InputError, match="found mode"):
        images.read(tiff16(samples, **options))


@pytest.mark.parametrize("peak", [1023, 65535])
def test_16_bit_ppm_is_rounded(peak):
    for kind, shape in (("P5", (4, 6)), ("P6", (4, 6, 3))):
        samples = RNG.integers(0, peak + 1, shape)
        file = io.BytesIO(f"{kind}\n6 4\n{peak}\n".encode() + samples.astype(">u2").tobytes())
        with pytest.warns(UserWarning, match="rounded to 8"):
            found = images.read(file)
        assert np.abs(found.astype(int) - to_8_bits(samples, peak)).max() <= (peak != 65535)


# ---- refusals


@pytest.mark.parametrize(
    "mode, format",
    [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("F", "TIFF"), ("I", "TIFF")],
)
def test_unsupported_modes_name_the_way_out(mode, format):
    with pytest.raises(InputError, match=f"found mode {mode}.*convert it"):
        images.read(saved(Image.new(mode, (4, 4)), format))


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"just some text\n" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n" * 10]
)
def test_not_a_picture(content):
    with pytest.raises(InputError, match="expected a picture"):
        images.read(io.BytesIO(content))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "PPM", "BMP"])
def test_truncated_pictures_are_refused(format):
    noise = RNG.integers(0, 256, (64, 64, 3), np.uint8)
    content = saved(noise, format).getvalue()
    for part in (0.01, 0.1, 0.5, 0.9):
        with pytest.raises(InputError):
            images.read(io.BytesIO(content[: int(part * len(content))]))


def test_damaged_png_is_refused():
    content = bytearray(saved(RGB).getvalue())
    content[60] ^= 255
    with pytest.raises(InputError):
        images.read(io.BytesIO(bytes(content)))


def test_zero_size_is_refused():
    for content in (png(np.zeros((1, 0, 3)), 8).getvalue(), b"P6\n0 3\n255\n"):
        with pytest.raises(InputError):
            images.read(io.BytesIO(content))


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            images.read(path)


# ---- size limit


def test_size_limit_holds_before_decoding():
    # The header claims 60000 x 60000; there is next to nothing to decode.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(LimitError, match="at most 67108864 pixels with padding, .* = 3603841024"):
        images.read(io.BytesIO(bomb))
    with pytest.raises(LimitError, match="memory left, found 60000 x 60000"):
        images.read(io.BytesIO(bomb), max_pixels=None, bytes_per_pixel=2**20)


def test_size_limit_is_exact_and_counts_padding():
    assert read_quietly(saved(RGB), max_pixels=64 * 64).shape == (5, 7, 3)
    assert read_quietly(saved(RGB), max_pixels=None).shape == (5, 7, 3)
    with pytest.raises(LimitError, match="found 7 x 5, padded to 64 x 64 = 4096"):
        images.read(saved(RGB), max_pixels=64 * 64 - 1)
    with pytest.raises(LimitError, match="found 70 x 1, padded to 128 x 64"):
        images.read(saved(np.zeros((1, 70), np.uint8)), max_pixels=128 * 64 - 1)


def test_pillows_own_limit_neither_changes_nor_counts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(read_quietly(saved(RGB)), RGB)
    with pytest.warns(UserWarning, match="rounded"):
        images.read(png(RGB, 16))
    assert Image.MAX_IMAGE_PIXELS == 10


def test_limits_of_threads_do_not_touch_each_other():
    content = saved(RGB).getvalue()
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def is_accepted(max_pixels):
        try:
            images.read(io.BytesIO(content), max_pixels=max_pixels)
        except LimitError:
            return False
        return True

    limits_of_reads = [10, None] * 400
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            accepted = list(pool.map(is_accepted, limits_of_reads))
    finally:
        sys.setswitchinterval(interval)
    assert accepted == [False, True] * 400
    assert before == Image.MAX_IMAGE_PIXELS and warnings.filters == filters


class Endless(io.RawIOBase):
    """A stream of a PNG's first bytes for ever; `given` counts them."""

    given = 0

    def read(self, size=-1):
        assert size > 0, "all of an endless stream was asked for"
        self.given += size
        return (b"\x89PNG\r\n\x1a\n" * (size // 8 + 1))[:size]


def test_an_endless_stream_is_a_limit_error(monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 2**25)
    monkeypatch.setattr(limits, "available_memory", lambda: 2**28)
    for max_pixels in (100, None):
        stream = Endless()
        with pytest.raises(LimitError, match="bytes, found more"):
            images.read(stream, max_pixels=max_pixels)
        assert stream.given <= 2**27


def test_bits_per_sample_that_lie_cost_nothing():
    """Pillow takes as many of them as there are samples; the largest of all was 4294967295."""
    file = bytearray(tiff16(np.zeros((4, 4, 3))).getvalue())
    entry = file.index(struct.pack("<HHI", 258, 3, 3))
    at = len(file)
    file[entry : entry + 12] = struct.pack("<HHII", 258, 4, 4, at)
    file += struct.pack("<4I", 8, 8, 8, 2**32 - 1)
    start = time.process_time()
    with pytest.raises(InputError):
        images.read(io.BytesIO(bytes(file)))
    assert time.process_time() - start < 2


# ---- metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(RGB, format, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    file.seek(0)
    np.testing.assert_array_equal(images.read(file), expected)


def test_orientation_of_16_bit_and_transparent_pictures():
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = np.full_like(GREY, 255)
    with pytest.warns(UserWarning, match="EXIF"):
        found = images.read(saved(np.dstack([RGB, alpha]), exif=exif))
    np.testing.assert_array_equal(found, np.rot90(RGB, -1))
    samples = RNG.integers(0, 65536, (4, 6, 3))
    file = png(samples, 16, chunk(b"eXIf", exif.tobytes()[6:]))
    with pytest.warns(UserWarning, match="rounded"):
        found = images.read(file)
    np.testing.assert_array_equal(found, np.rot90(to_8_bits(samples), -1))


def test_broken_exif_does_not_stop_the_picture():
    file = saved(RGB, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    np.testing.assert_array_equal(images.read(file), RGB)


def test_metadata_loss_is_told_once():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = saved(RGB, "JPEG", quality=95, exif=exif, icc_profile=srgb, xmp=b"<x:xmpmeta/>")
    with pytest.warns(UserWarning) as caught:
        images.read(file)
    assert [str(warning.message) for warning in caught] == [
        "picture: metadata is not kept (EXIF, ICC profile, XMP)"
    ]


def icc_profile(space, name, tags):
    """A minimal ICC profile of version 2. tags: signature -> content."""
    name = name.encode() + b"\0"
    white = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(80),
        b"wtpt": b"XYZ " + bytes(4) + white,
        **tags,
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    header = struct.pack(">I4sI", start + len(body), bytes(4), 0x02400000) + b"mntr" + space
    header = (header + b"XYZ " + bytes(12) + b"acsp").ljust(68, b"\0") + white
    return header.ljust(128, b"\0") + table + body


def gamma_curve(gamma):
    return b"curv" + struct.pack(">4xIHxx", 1, round(gamma * 256))


def rgb_profile(name, gamma):
    """The primaries of sRGB (in D50, IEC 61966-2-1), another curve, any name."""
    colorants = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    tags = {}
    for channel, xyz in zip("rgb", colorants, strict=True):
        fixed = struct.pack(">3i", *(round(65536 * value) for value in xyz))
        tags[f"{channel}XYZ".encode()] = b"XYZ " + bytes(4) + fixed
        tags[f"{channel}TRC".encode()] = gamma_curve(gamma)
    return icc_profile(b"RGB ", name, tags)


def encoded(light):
    """sRGB's transfer function, on 0..255."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def decoded(codes):
    codes = np.asarray(codes) / 255
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def swapped_profile():
    """sRGB with the red and blue primaries exchanged, under another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_profile_is_converted_to_srgb():
    with pytest.warns(UserWarning, match="converted from 'swap"):
        found = images.read(saved(RGB, icc_profile=swapped_profile()))
    assert np.abs(found.astype(int) - RGB[..., ::-1]).max() <= 1


def test_grey_profile_is_converted_and_stays_grey():
    profile = icc_profile(b"GRAY", "grey 1.8", {b"kTRC": gamma_curve(1.8)})
    with pytest.warns(UserWarning, match="converted from 'grey 1.8' to sRGB"):
        found = images.read(saved(GREY, icc_profile=profile))
    assert found.shape == GREY.shape
    # The colour library interpolates.
    assert np.abs(found - encoded((GREY / 255) ** 1.8)).max() <= 2


def test_a_profile_is_judged_by_what_it_does_not_by_its_name():
    linear = saved(RGB, icc_profile=rgb_profile("Linear sRGB", 1.0))
    with pytest.warns(UserWarning, match="converted from 'Linear sRGB' to sRGB"):
        found = images.read(linear)
    assert np.abs(found - encoded(RGB / 255)).max() <= 2

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    nameless = bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    with pytest.warns(UserWarning) as caught:
        np.testing.assert_array_equal(images.read(saved(RGB, icc_profile=nameless)), RGB)
    assert ["converted" in str(warning.message) for warning in caught] == [False]


# ---- colour by chunks of PNG


def chrm(chromaticities):
    """The chunk of red, green, blue and white."""
    red, green, blue, white = chromaticities
    numbers = [round(100000 * value) for point in (white, red, green, blue) for value in point]
    return chunk(b"cHRM", struct.pack(">8I", *numbers))


def gama(gamma):
    return chunk(b"gAMA", struct.pack(">I", round(100000 * gamma)))


SRGB_CHUNK, CICP_SRGB = chunk(b"sRGB", b"\0"), chunk(b"cICP", bytes([1, 13, 0, 1]))
SRGB_POINTS = [(0.64, 0.33), (0.3, 0.6), (0.15, 0.06), (0.3127, 0.329)]
SWAPPED_POINTS = [SRGB_POINTS[i] for i in (2, 1, 0, 3)]


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.6])
@pytest.mark.parametrize("picture", [RGB, GREY[..., None]], ids=["rgb", "grey"])
def test_png_gamma_is_undone(gamma, picture):
    with pytest.warns(UserWarning, match=r"converted from gamma .* \(gAMA\) to sRGB"):
        found = images.read(png(picture, 8, gama(gamma) + chrm(SRGB_POINTS)))
    expected = encoded((np.squeeze(picture) / 255) ** (1 / gamma))
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 0.502


def test_png_primaries_are_converted():
    with pytest.warns(UserWarning, match=r"curve of sRGB and other primaries \(cHRM\)"):
        found = images.read(png(RGB, 8, chrm(SWAPPED_POINTS)))
    assert np.abs(found.astype(int) - RGB[..., ::-1]).max() <= 1
    with pytest.warns(UserWarning, match=r"gamma 1 \(gAMA\) and other primaries \(cHRM\)"):
        found = images.read(png(RGB, 8, gama(1) + chrm(SWAPPED_POINTS)))
    assert np.abs(found - encoded(RGB[..., ::-1] / 255)).max() <= 1
    # Grey has no primaries, and white stays white from any white point.
    np.testing.assert_array_equal(read_quietly(png(GREY[..., None], 8, chrm(SWAPPED_POINTS))), GREY)
    with pytest.warns(UserWarning, match="cHRM"):
        d50 = images.read(
            png(np.full((1, 1, 3), 255), 8, chrm([*SRGB_POINTS[:3], (0.3457, 0.3585)]))
        )
    assert d50.min() >= 254


@pytest.mark.parametrize(
    "extra",
    [
        gama(0.45455),
        gama(0.45455) + chrm(SRGB_POINTS),
        SRGB_CHUNK + gama(1),
        CICP_SRGB + gama(1),
        chunk(b"cICP", bytes([1, 1, 0, 1])),  # BT.709 as in video
        gama(0),
    ],
)
def test_png_chunks_that_say_srgb_change_nothing(extra):
    np.testing.assert_array_equal(read_quietly(png(RGB, 8, extra)), RGB)


def test_the_first_that_is_there_counts_cicp_profile_srgb_gamma():
    def iccp(profile):
        return chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))

    linear = iccp(rgb_profile("Linear", 1.0))
    with pytest.warns(UserWarning, match="metadata is not kept") as caught:
        np.testing.assert_array_equal(images.read(png(RGB, 8, CICP_SRGB + linear + gama(1))), RGB)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="converted from 'Linear'"):
        found = images.read(png(RGB, 8, linear + gama(0.6)))
    assert np.abs(found - encoded(RGB / 255)).max() <= 2


def test_cicp_of_other_primaries_is_converted():
    # BT.2087's matrix from BT.2020 to BT.709, printed to four digits.
    matrix = np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    )
    with pytest.warns(UserWarning, match="converted from primaries 9 and transfer function 13"):
        found = images.read(png(RGB, 8, chunk(b"cICP", bytes([9, 13, 0, 1]))))
    assert np.abs(found - encoded(decoded(RGB) @ matrix.T)).max() <= 1
    with pytest.warns(UserWarning, match="transfer function 8"):
        found = images.read(png(RGB, 8, chunk(b"cICP", bytes([1, 8, 0, 1]))))
    assert np.abs(found - encoded(RGB / 255)).max() <= 0.502


@pytest.mark.parametrize(
    "points, found",
    [
        ((9, 16, 0, 1), "PQ"),
        ((9, 18, 0, 1), "HLG"),
        ((1, 13, 0, 0), "range 0"),
        ((1, 13, 1, 1), "matrix 1"),
        ((22, 13, 0, 1), "primaries 22"),
        ((1, 13, 0), "3"),
    ],
)
def test_cicp_without_an_exact_form_in_srgb_is_refused(points, found):
    with pytest.raises(InputError, match=f"expected .* found.*{found}"):
        images.read(png(RGB, 8, chunk(b"cICP", bytes(points))))


def test_primaries_that_span_nothing_are_ignored_with_a_warning():
    for points in ([(0.3, 0.3)] * 4, [(0.64, 0), *SRGB_POINTS[1:]]):
        with pytest.warns(UserWarning, match="unusable cHRM chunk"):
            np.testing.assert_array_equal(images.read(png(RGB, 8, chrm(points))), RGB)


def test_unusable_profile_is_ignored_with_a_warning():
    for picture, icc in ((RGB, b"no profile"), (GREY, swapped_profile())):
        with pytest.warns(UserWarning, match="unusable ICC profile"):
            np.testing.assert_array_equal(images.read(saved(picture, icc_profile=icc)), picture)


def test_first_frame_of_several():
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    for format in ("PNG", "TIFF"):
        file = saved(frames[0], format, save_all=True, append_images=frames[1:])
        with pytest.warns(UserWarning, match="first of 2 pictures"):
            np.testing.assert_array_equal(images.read(file), RGB)


# ---- writing


@pytest.mark.parametrize("ending", ["png", "PNG", "tif", "tiff", "ppm", "pnm", "bmp", "webp"])
@pytest.mark.parametrize("picture", [RGB, GREY, RGB[:1, :1]], ids=["rgb", "grey", "1x1"])
def test_written_pictures_are_exact(tmp_path, ending, picture):
    path = tmp_path / f"out.{ending}"
    images.write(picture, path)
    found = read_quietly(path)
    if ending == "webp" and picture.ndim == 2:  # WebP has no grey
        picture = np.dstack([picture] * 3)
    np.testing.assert_array_equal(found, picture)
    assert os.listdir(tmp_path) == [path.name]


def test_write_to_a_file_object():
    for options in ({}, {"format": "TIFF"}):
        buffer = io.BytesIO()
        images.write(RGB, buffer, **options)
        assert Image.open(buffer).format == options.get("format", "PNG")


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.ycc", "a.PNG.bak"])
def test_unknown_ending_names_the_known_ones(tmp_path, name):
    with pytest.raises(InputError, match=r"\.png \.tif"):
        images.write(RGB, tmp_path / name)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "array",
    [RGB.astype(np.float32), RGB[..., :2], RGB[None], np.zeros((2, 2, 4), np.uint8), np.uint8(1)],
)
def test_write_refuses_other_arrays(array):
    with pytest.raises(InputError, match="expected a uint8 array"):
        images.write(array, io.BytesIO())


def test_write_refuses_what_the_format_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="WEBP can hold"):
        images.write(np.zeros((1, 16384, 3), np.uint8), tmp_path / "wide.webp")
    with pytest.raises(InputError, match="PNG can hold"):
        images.write(np.zeros((0, 4, 3), np.uint8), tmp_path / "empty.png")
    with pytest.raises(InputError, match="found 'JPEG'"):
        images.write(RGB, io.BytesIO(), format="JPEG")
    assert not os.listdir(tmp_path)
