"""The committed streams decode as they always did, and no damage to them gives a picture."""

import binascii
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden.streams import FOLDER, distances, golden_codec, listed, observed, samples, stored_pixels

from ycc_jax import bitstream
from ycc_jax.errors import YccError

FILES = listed()
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def golden():
    """Model -> codec, each loaded and compiled once."""
    codecs = {}

    def of(model):
        if model not in codecs:
            codecs[model] = golden_codec(model)
        return codecs[model]

    return of


@pytest.fixture(scope="session")
def pixels():
    return stored_pixels()


def test_there_is_one_of_every_kind():
    found = [bitstream.info((FOLDER / file).read_bytes()) for file in FILES]
    assert sorted(FILES) == sorted(path.name for path in FOLDER.glob("*.ycc"))
    assert len(found) >= 20
    kinds = {(f["channels"], f["planes"], f["depth"]) for f in found}
    assert kinds == {(1, False, 8), (3, False, 8), (3, True, 8), (3, True, 10)}
    assert {f["tile"] for f in found} == {None, 64, 128}
    assert {0, 100} < {f["quality"] for f in found}
    assert {(1, 1)} < {(f["width"], f["height"]) for f in found}
    assert any(f["chunks"] for f in found)
    arguments = [golden_arguments(entry["model"]) for entry in FILES.values()]
    for name, values in {
        "context": {"none", "autoregressive", "grouped"},
        "hyperprior": {"none", "scale", "mean_scale"},
        "likelihood": {"gaussian", "asymmetric_gaussian"},
        "level_aware": {True, False},
        "subsampling": {"444", "420"},
        "transform": {"joint", "dlec"},
    }.items():
        assert {found.get(name) for found in arguments} - {None} >= values - {None}, name


def golden_arguments(model):
    from ycc_jax.models import build

    path = FOLDER / "models" / model / "model.json"
    if not path.exists():
        return {}
    return dataclasses.asdict(build(**json.loads(path.read_text())["arguments"]))


@pytest.mark.parametrize("file", FILES)
def test_it_decodes_as_when_it_was_written(file, golden, pixels):
    entry = FILES[file]
    codec, stages = observed(golden(entry["model"]))
    found = samples(codec.decode((FOLDER / file).read_bytes()))
    assert stages.hashes() == {"symbols": entry["symbols"], "y_hat": entry["y_hat"]}
    expected = [pixels[f"{file}/{n}"] for n in range(len(found))]
    assert distances(found, expected).max() <= 1


@pytest.mark.parametrize("file", FILES)
def test_no_prefix_and_no_bit_flip_passes_the_container(file):
    data = (FOLDER / file).read_bytes()
    bitstream.unpack(data)
    for length in range(len(data)):
        with pytest.raises(YccError):
            bitstream.unpack(data[:length])
    for bit in range(8 * len(data)):
        with pytest.raises(YccError):
            bitstream.unpack(flipped(data, bit))


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("file", ["dlec_gain-q0.ycc", "grouped-chunk.ycc"])
def test_no_bit_flip_with_repaired_checksums_gives_a_picture(file, golden):
    """What another CRC-16 of the sections lets through, the checksum of the symbols stops."""
    codec = golden(FILES[file]["model"])
    header, (tile,), _ = bitstream.unpack((FOLDER / file).read_bytes())
    right = codec.decode(bitstream.pack(header, [tile]))
    sections = len(tile.z) + len(tile.y)
    same = 0
    for bit in range(0, 8 * sections, 3):
        both = flipped(tile.z + tile.y, bit)
        changed = tile._replace(z=both[: len(tile.z)], y=both[len(tile.z) :])
        try:
            picture = codec.decode(bitstream.pack(header, [changed]))
        except YccError:
            continue
        # The coder's last bits may have several values that say the same symbols.
        np.testing.assert_array_equal(picture, right)
        same += 1
    assert same <= 3
    for changed in (
        dataclasses.replace(header, quality=header.quality + 1 / 512),
        dataclasses.replace(header, width=header.width - 1),
        dataclasses.replace(header, grey=True),
        dataclasses.replace(header, chunks=()) if header.chunks else None,
    ):
        if changed:
            with pytest.raises(YccError):
                codec.decode(bitstream.pack(changed, [tile]))


def test_no_bit_flip_of_head_or_index_with_a_repaired_checksum_gives_a_picture(golden):
    """The symbols' checksum starts from the head, which so cannot say something else."""
    file = "dlec_gain-q0.ycc"
    codec, data = golden(FILES[file]["model"]), (FOLDER / file).read_bytes()
    front = bitstream.info(data)["overhead_bytes"]
    for bit in range(8 * (front - 2)):
        changed = flipped(data, bit)[: front - 2]
        crc = binascii.crc_hqx(changed, 0xFFFF).to_bytes(2, "little")
        with pytest.raises(YccError):
            codec.decode(changed + crc + data[front:])


@pytest.mark.parametrize("instructions", ["AVX", "AVX2"])
def test_other_instruction_sets_compute_the_same(instructions, tmp_path):
    """In a process of its own, whose programs are compiled for the older processors."""
    files = ["mean_scale.ycc", "dlec_gain-q0.ycc"]
    code = (
        "import sys, json\n"
        "from golden.streams import *\n"
        "found = {}\n"
        f"for file in {files}:\n"
        "    codec, stages = observed(golden_codec(listed()[file]['model']))\n"
        "    codec.decode((FOLDER / file).read_bytes())\n"
        "    found[file] = stages.hashes()\n"
        "print(json.dumps(found))\n"
    )
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_cpu_max_isa={instructions}",
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")])
        ),
    }
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for file, hashes in json.loads(result.stdout).items():
        assert FILES[file] == {"model": FILES[file]["model"], **hashes}, file
