"""The integer prior as docs/bitstream.md tells it, written anew in NumPy's int64: no float, no JAX.

It decodes the golden streams to the same symbols and y_hat.
"""

import hashlib
import math
import zlib

import numpy as np
import pytest
from golden.streams import FOLDER, listed

from ycc_jax import bitstream, operating_point
from ycc_jax.codec_model import find_model, load_model
from ycc_jax.entropy.symbols import Reader
from ycc_jax.models import build
from ycc_jax.nets.context import TAPS
from ycc_jax.pictures.tiling import Tiling
from ycc_jax.wavefront import waves

FILES = listed()


def R(x, s):
    return (x + ((1 << np.asarray(s, np.int64)) >> 1)) >> s


def clip(x, a):
    return np.clip(x, -a, a)


def E(L, left):
    """2^L, channel by channel: mantissas and shifts."""
    pairs = []
    for value in clip(L, 32 * 4096).tolist():
        s, m = 14 + left - (value >> 12), round(2 ** (14 + (value & 4095) / 4096))
        pairs.append((32767, 0) if s < 0 else (0, 30) if s > 30 else (m, s))
    return np.array(pairs, np.int64).T


def inverse_width(L, left):
    pairs = []
    for m, s in E(np.clip(L, -12 * 4096, 14 * 4096), 0).T.tolist():
        u = (m << 24) >> s
        v = (1 << 48) // math.isqrt(u * u + (1 << 46))
        e = max(v.bit_length() - 15, 0)
        m, s = v >> e, 24 + left - e
        pairs.append((32767, 0) if s < 0 else (0, 30) if s > 30 else (m, s))
    return np.array(pairs, np.int64).T


def times(x, factor):
    return R(x * factor[0], factor[1])


class Reference:
    """The prior of a model at one level."""

    def __init__(self, model, net, quality, chroma):
        self.net = net
        self.frozen = {key: value.astype(np.int64) for key, value in model.frozen.items()}
        self.axes = []
        if net.grid:
            self.axes.append((quality * (net.levels - 1), np.arange(net.levels) * 51200))
        if net.chroma_weights:
            self.axes.append((chroma, self.frozen["chroma"]))
        zeros = np.zeros(net.M, np.int64)
        self.unit = self.at("unit") if net.level_aware else zeros
        left = 8 - int(self.frozen.get("exponent/seen", 8))
        self.of_seen = (inverse_width if net.level_aware else E)(self.unit, left)

    def at(self, name):
        table = self.frozen[name]
        for place, knots in self.axes:
            place = min(max(place, knots[0]), knots[-1])
            i = max(k for k in range(len(knots) - 1) if knots[k] <= place)
            a, b = int(knots[i]), int(knots[i + 1])
            t = ((place - a) * 4096 + ((b - a) >> 1)) // (b - a)
            table = table[i] * (4096 - t) + table[i + 1] * t
        return R(table, 12 * len(self.axes))

    def layer(self, name, x):
        kernel, bias, shift = (self.frozen[f"{name}/{k}"] for k in ("kernel", "bias", "shift"))
        if f"{name}/level" in self.frozen:
            bias = bias + self.at(f"{name}/level")
        side = math.isqrt(len(kernel))
        total = bias
        if side == 1:
            total = total + x @ kernel[0]
        else:
            (h, w, _), half = x.shape, side // 2
            padded = np.pad(x, ((half, half), (half, half), (0, 0)))
            for tap in range(side * side):
                i, j = divmod(tap, side)
                total = total + padded[i : i + h, j : j + w] @ kernel[tap]
        assert np.abs(total).max() < 2**31
        x, last = R(total, shift), name.rpartition("/")[2]
        if last == "output" or (last == "hyper_2" and not self.net.has_nets):
            return x
        x = clip(x, 16319 if last.startswith("hidden") else 2047)
        if last in ("hyper_0", "hyper_1", "hidden_0", "hidden_1"):
            negative = 0 if self.net.hyperprior == "scale" else R(655 * x, 16)
            x = np.where(x < 0, negative, x)
        return x

    def hyper(self, z):
        L = self.at("inverse_z") if self.net.grid else np.zeros(self.net.N, np.int64)
        z_hat = 256 * clip(z.astype(np.int64), 2**20) + self.frozen["offset"]
        x = clip(times(z_hat, E(L, 8 - int(self.frozen["exponent/z"]))), 2047)
        for name in ("hyper_0", "hyper_1"):
            x = self.layer(name, x)
            h, w, C = x.shape
            found = np.zeros((2 * h, 2 * w, C // 4), np.int64)
            for i in (0, 1):
                for j in (0, 1):
                    start = (2 * i + j) * (C // 4)
                    found[i::2, j::2] = x[..., start : start + C // 4]
            x = found
        return self.layer("hyper_2", x)

    def seen(self, y_hat, channels=slice(None)):
        return clip(times(clip(y_hat, 2**23), self.of_seen[:, channels]), 2047)

    def parameters(self, features, prefix, channels):
        x = features
        if self.net.has_nets:
            for name in ("hidden_0", "hidden_1", "output"):
                x = self.layer(prefix + name, x)
        m = channels.stop - channels.start
        scales = [x[..., k : k + m] for k in range(0, x.shape[-1], m)]
        mean = 0 * scales[0] if self.net.hyperprior == "scale" else scales.pop()
        if self.net.level_aware:
            factor = E(self.unit, int(self.frozen["exponent/mean"]) - 8)[:, channels]
            mean = times(clip(mean, 32767), factor)
            unit = R((16 * self.unit[channels] + 208694) * 1442, 16)
            places = [unit + clip(x, 16643) for x in scales]
        else:
            mean, places = clip(mean, 2**23), [self.place(x) for x in scales]
        return mean, self.index(*places)

    def place(self, scale):
        found = []
        for x in np.clip(scale, 1, 2**23).ravel().tolist():
            o = x.bit_length() - 1
            f = (x << 12 >> o) & 4095
            fraction = round(65536 * math.log2(1 + (f + 0.5) / 4096))
            found.append((o - int(self.frozen["exponent/scale"])) * 65536 + fraction)
        return R((np.array(found).reshape(scale.shape) + 208694) * 1442, 16)

    def index(self, left, right=None):
        if right is None:
            return np.clip((left + 128) >> 8, 0, 63)
        left, right = np.clip(left, 0, 63 * 256), np.clip(right, 0, 63 * 256)
        left, right = np.maximum(left, right - 5768), np.maximum(right, left - 5768)
        d = np.abs(right - left)
        skew = sum((d >= k).astype(int) for k in (301, 907, 1533, 2194, 2911, 3710, 4637))
        U = 256 * 63 / math.log(256 / 0.11)
        w = np.round(2 * U * np.log(np.cosh(d / (2 * U)))).astype(int)
        return 15 * self.index((left + right + w + 1) >> 1) + 7 + np.sign(right - left) * skew

    def y_hat(self, z, exchange):
        net, hyper = self.net, self.hyper(z)
        h, w, _ = hyper.shape
        found = np.zeros((h, w, net.M), np.int64)

        def code(place, features, prefix=""):
            mean, index = self.parameters(features, prefix, place[2])
            symbols = exchange(place, mean, index.astype(np.int32)).astype(np.int64)
            found[place] = clip(256 * symbols + mean, 2**30)

        if net.context == "autoregressive":
            for rows, columns in waves(h, w):
                near = np.zeros((len(rows), len(TAPS), net.M), np.int64)
                for k, (i, j) in enumerate(TAPS):
                    for n, (row, column) in enumerate(zip(rows + i, columns + j, strict=True)):
                        if row >= 0 and 0 <= column < w:
                            near[n, k] = self.seen(found[row, column])
                context = self.layer("context", near.reshape(len(rows), -1))
                features = np.concatenate([hyper[rows, columns], context], -1)
                code((rows, columns, slice(0, net.M)), features)
            return found
        coded = np.zeros_like(found)
        for step in net.steps:
            features, prefix = hyper, ""
            channels = slice(step.start, step.stop)
            if net.context == "grouped":
                prefix = f"group_{step.start}/"
                parts = [hyper]
                if step.start:
                    parts.append(self.layer(prefix + "channel_context", coded[..., : step.start]))
                spatial = self.layer(prefix + "spatial_context", coded[..., channels])
                features = np.concatenate([*parts, spatial * (step.phase > 0)], -1)
            rows, columns = np.nonzero(step.mask(h, w))
            code((rows, columns, channels), features[rows, columns], prefix)
            here = (rows, columns, channels)
            coded[here] = self.seen(found[here], channels)
        return found


@pytest.mark.parametrize("file", [f for f in FILES if not f.startswith("factorized")])
def test_the_documented_arithmetic_decodes_the_golden_streams(file):
    entry, data = FILES[file], (FOLDER / file).read_bytes()
    folder = FOLDER / "models" / entry["model"]
    model = load_model(folder if folder.is_dir() else find_model(entry["model"]))
    net = build(**model.arguments)
    header, tiles, crc = bitstream.unpack(data)
    quality = header.quality if net.levels else None
    steps = operating_point.steps_of(operating_point.choose(net, quality, header.chroma))
    prior, symbols, y_hat = Reference(model, net, *steps), hashlib.sha256(), hashlib.sha256()
    areas = Tiling(header.height, header.width, net.stride, header.tile).tiles
    for number, (area, tile) in enumerate(zip(areas, tiles, strict=True)):
        shape = (area.shape[0] // 64, area.shape[1] // 64, net.N)
        seed = zlib.crc32(number.to_bytes(4, "little"), crc)
        reader = Reader(tile.z, tile.y, shape, model.tables, "native", seed)
        symbols.update(np.ascontiguousarray(reader.z, "<i4"))

        def exchange(place, mean, index, reader=reader):
            found = reader(place, mean, index)
            symbols.update(np.ascontiguousarray(found, "<i4"))
            return found

        found = prior.y_hat(reader.z, exchange)
        reader.finish(tile.symbols_crc)
        y_hat.update((found / 256).astype("<f4"))
    assert {"symbols": symbols.hexdigest(), "y_hat": y_hat.hexdigest()} == {
        key: entry[key] for key in ("symbols", "y_hat")
    }
