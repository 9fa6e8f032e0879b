"""The command line, with a codec that needs no model: exit codes, streams, what gets written."""

import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ycc_jax import bitstream, cli, errors, model_commands, vocabulary
from ycc_jax.header import Header, WrittenBy, quantize_quality
from ycc_jax.pictures import files, images, limits

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
WRITER = WrittenBy((0, 1, 0), (0, 10, 2), "cpu")


def packed(content, **fields):
    """A stream in whose y section anything stands."""
    header = Header(writer=WRITER, **fields)
    return bitstream.pack(header, [bitstream.CodedTile(b"", content, 0)])


class FakeCodec:
    """Stores the pixels; refuses and records what the real one would."""

    def encode(self, array, quality=None, chroma=None, tile=None, effort=0, progress=None):
        return packed(
            array.tobytes(),
            width=array.shape[1],
            height=array.shape[0],
            quality=50.0 if quality is None else quality,
            weights_hash=b"fake",
            grey=array.ndim == 2,
        )

    def encode_with_picture(self, array, quality=None, **asked):
        return self.encode(array, quality, **asked), array

    def decode(self, data, max_pixels=vocabulary.DEFAULT_MAX_PIXELS, region=None):
        header, [tile], _ = bitstream.unpack(data, max_pixels)
        if header.weights_hash != b"fake":
            raise errors.ModelError(f"expected a stream of 'fake', found {header.weights_hash}")
        shape = (header.height, header.width) + (() if header.grey else (3,))
        return np.frombuffer(tile.y, np.uint8).reshape(shape)


def stream(width=7, height=5, weights_hash=b"else"):
    """A whole stream, of no picture."""
    return packed(b"", width=width, height=height, quality=50.0, weights_hash=weights_hash)


@pytest.fixture
def loads(monkeypatch):
    """Put the fake in the place of `ycc_jax.codec`; the list of models that were loaded."""
    loaded = []

    def load(model=None, backend="auto"):
        if model == "missing":
            raise errors.ModelError("expected a model, found no 'missing'")
        loaded.append(model)
        return FakeCodec()

    fake = types.ModuleType("ycc_jax.codec")
    fake.load = load
    monkeypatch.setitem(sys.modules, "ycc_jax.codec", fake)
    cache = types.ModuleType("ycc_jax.compilation_cache")
    cache.enable_compilation_cache = lambda: None
    monkeypatch.setitem(sys.modules, cache.__name__, cache)
    return loaded


@pytest.fixture
def folder(tmp_path, monkeypatch, loads):
    """A working directory that holds photo.png and the stream photo2.ycc."""
    monkeypatch.chdir(tmp_path)
    images.write(PICTURE, "photo.png")
    (tmp_path / "photo2.ycc").write_bytes(FakeCodec().encode(PICTURE))
    return tmp_path


@pytest.fixture
def ycc(capfd):
    """Run `ycc` in this process: exit code, standard output, standard error."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return run


class Pipe(io.BytesIO):
    """What a test puts in the place of sys.stdin or sys.stdout."""

    @property
    def buffer(self):
        return self


def assert_one_line_error(err, *parts):
    assert err.startswith("ycc: error: ") and err.count("\n") == 1 and "Traceback" not in err
    for part in parts:
        assert part in err


# ---- what works


def test_encode_and_decode_give_the_picture_back(folder, ycc, loads):
    code, out, err = ycc("encode", "photo.png", "-o", "p.ycc", "-q", "33.3", "-m", "some")
    size = os.path.getsize("p.ycc")
    assert (code, out) == (0, "")
    assert (
        err.startswith(f"p.ycc: {size} bytes, {8 * size / 35:.3f} bpp, ") and err.count("\n") == 1
    )
    code, out, err = ycc("decode", "p.ycc", "-o", "p.tif", "--model", "some")
    assert (code, out) == (0, "") and err.startswith("p.tif: 7 x 5 pixels")
    np.testing.assert_array_equal(images.read("p.tif"), PICTURE)
    header = bitstream.unpack(files.read_bytes("p.ycc")).header
    assert header.quality == quantize_quality(33.3)
    assert loads == ["some", "some"]


def test_default_names_and_default_quality_and_model(folder, ycc, loads):
    assert ycc("encode", "photo.png", "--quiet") == (0, "", "")
    assert ycc("decode", "photo2.ycc", "--quiet") == (0, "", "")
    np.testing.assert_array_equal(images.read("photo2.png"), PICTURE)
    assert bitstream.info(files.read_bytes("photo.ycc"))["quality"] == 50.0
    assert loads == [None, None]


def test_grey_stays_grey(folder, ycc):
    images.write(PICTURE[..., 0], "grey.png")
    assert ycc("encode", "grey.png")[0] == ycc("decode", "grey.ycc", "-o", "back.png")[0] == 0
    np.testing.assert_array_equal(images.read("back.png"), PICTURE[..., 0])


def test_verbose_prints_the_header_to_standard_error(folder, ycc):
    code, out, err = ycc("encode", "photo.png", "-v")
    assert (code, out) == (0, "") and "  weights_hash: 66616b65\n" in err and "encode: " in err


def test_standard_input_and_output(folder, monkeypatch, ycc):
    stream = Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe((folder / "photo.png").read_bytes()))
    monkeypatch.setattr(sys, "stdout", stream)
    assert ycc("encode", "-", "-q", "1")[0] == 0
    picture = Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe(stream.getvalue()))
    monkeypatch.setattr(sys, "stdout", picture)
    assert ycc("decode", "-", "-o", "-", "--quiet")[0] == 0
    assert Image.open(picture).format == "PNG"
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), PICTURE)
    assert sorted(os.listdir()) == ["photo.png", "photo2.ycc"]


def test_a_file_named_minus_has_a_way(folder, ycc):
    assert ycc("encode", "photo.png", "-o", "./-")[0] == 0
    assert ycc("info", "./-")[0] == 0


def test_verify_decodes_every_file_and_writes_none(folder, ycc):
    assert ycc("encode", "photo.png", "-o", "a.ycc")[0] == 0
    data = files.read_bytes("a.ycc")
    files.write_bytes("torn.ycc", data[:-1])
    files.write_bytes("other.ycc", stream())
    before = sorted(os.listdir())
    code, out, err = ycc("verify", "a.ycc")
    assert (code, out, err) == (0, "", "a.ycc: 7 x 5 pixels, whole\n")
    code, out, err = ycc("verify", "other.ycc", "torn.ycc", "a.ycc", "none.ycc")
    lines = err.splitlines()
    assert code == 4 and out == "" and len(lines) == 4
    assert lines[0].startswith("ycc: error: other.ycc: expected a stream of 'fake'")
    assert lines[1].startswith("ycc: error: torn.ycc: truncated")
    assert lines[2] == "a.ycc: 7 x 5 pixels, whole"
    assert lines[3].startswith("ycc: error: none.ycc: cannot be read")
    assert ycc("verify", "torn.ycc", "--quiet")[0] == 3
    assert sorted(os.listdir()) == before


def test_encode_verify_puts_no_file_in_place_that_decodes_otherwise(folder, ycc, monkeypatch):
    assert ycc("encode", "photo.png", "-o", "a.ycc", "--verify")[0] == 0
    before = files.read_bytes("a.ycc")
    decode = FakeCodec.decode
    monkeypatch.setattr(FakeCodec, "decode", lambda *a, **b: 255 - decode(*a, **b))
    code, _, err = ycc("encode", "photo.png", "-o", "a.ycc", "-q", "20", "--verify")
    assert code == 3 and "expected the encoder's picture" in err
    assert files.read_bytes("a.ycc") == before
    assert ycc("encode", "photo.png", "-o", "a.ycc", "-q", "20")[0] == 0


def test_info(folder, ycc):
    code, out, err = ycc("info", "photo2.ycc", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == bitstream.info(files.read_bytes("photo2.ycc"))
    code, out, err = ycc("info", "photo2.ycc")
    assert (code, err) == (0, "") and "width: 7\nheight: 5\n" in out


def test_info_has_no_size_limit_and_needs_no_model(folder, ycc, loads):
    files.write_bytes("huge.ycc", stream(2**31, 2**31))
    assert ycc("info", "huge.ycc")[0] == 0
    assert loads == []


def test_help_and_version(ycc):
    for arguments in (["--help"], ["-h"], ["encode", "--help"], ["--version"]):
        code, out, err = ycc(*arguments)
        assert (code, err) == (0, "") and "ycc" in out
    assert ycc()[0] == 2


def test_warnings_are_one_line_each(folder, ycc):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(PICTURE).save("exif.png", exif=exif)
    code, _, err = ycc("encode", "exif.png", "--quiet")
    assert (code, err) == (0, "ycc: warning: exif.png: metadata is not kept (EXIF)\n")


def test_background(folder, ycc):
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save("clear.png")
    code, _, err = ycc("encode", "clear.png")
    assert code == 2
    assert_one_line_error(err, "--background white")
    assert ycc("encode", "clear.png", "--background", "white")[0] == 0
    assert ycc("decode", "clear.ycc", "-o", "white.png")[0] == 0
    assert (images.read("white.png") == 255).all()


# ---- what is refused, and that nothing is touched


def damaged(data):
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


@pytest.mark.parametrize(
    "code, arguments",
    [
        (2, ["encode", "none.png", "-o", "old"]),
        (2, ["encode", "text", "-o", "old"]),
        (2, ["encode", "photo.png", "-o", "old", "-q", "100.1"]),
        (2, ["encode", "photo.png", "-o", "old", "-q", "-1"]),
        (2, ["encode", "photo.png", "-o", "old", "-q", "nan"]),
        (2, ["encode", "photo.png", "-o", "old", "-q", "high"]),
        (2, ["encode", "photo.png", "-o", "old", "--background", "whitish"]),
        (2, ["encode", "photo.png", "-o", "old", "--chroma", "0"]),
        (2, ["encode", "photo.png", "-o", "old", "--frame", "0"]),
        (2, ["encode", "photo.png", "-o", "old", "--depth", "10"]),
        (2, ["encode", "photo.png", "-o", "old", "--range", "full"]),
        (2, ["encode", "raw.yuv", "-o", "old"]),
        (2, ["encode", "raw.yuv", "-o", "old", "--size", "7by5"]),
        (2, ["encode", "raw.yuv", "-o", "old", "--size", "8x6"]),
        (5, ["encode", "raw.yuv", "-o", "old", "--size", "7x5", "--max-pixels", "34"]),
        (2, ["encode", "raw.yuv", "-o", "old", "--size", "7x5", "--background", "white"]),
        (2, ["encode", "photo.png", "-o", "old", "--size", "7x5"]),
        (2, ["decode", "photo2.ycc", "-o", "old.y4m"]),
        (2, ["import-compressai", "raw.yuv", "--model", "mbt2018", "-o", "-"]),
        (2, ["import-compressai", "raw.yuv", "--model", "mbt2019", "-o", "new"]),
        (2, ["import-compressai", "raw.yuv", "--model", "mbt2018", "-o", ""]),
        (2, ["encode", "photo.png", "-o", "none/new.ycc"]),
        (2, ["encode", "photo.png", "-o", ""]),
        (2, ["encode", "photo.png", "-o", "new/"]),
        (2, ["encode", "photo.png", "-o", "old", "--max-pixels", "-1"]),
        (5, ["encode", "photo.png", "-o", "old", "--max-pixels", "34"]),
        (2, ["encode"]),
        (2, ["transcode"]),
        (2, ["decode", "none.ycc", "-o", "old.png"]),
        (2, ["decode", "photo2.ycc", "-o", "old.jpg"]),
        (2, ["decode", "wide.ycc", "-o", "new.webp"]),
        (2, ["decode", "high.ycc", "-o", "new.webp"]),
        (3, ["decode", "photo.png", "-o", "old.png"]),
        (3, ["decode", "truncated.ycc", "-o", "old.png"]),
        (3, ["decode", "damaged.ycc", "-o", "old.png"]),
        (5, ["decode", "photo2.ycc", "-o", "old.png", "--max-pixels", "34"]),
        (2, ["info", "none.ycc"]),
        (3, ["info", "photo.png"]),
    ],
)
def test_refusals_come_before_the_model_and_leave_the_output(folder, ycc, loads, code, arguments):
    good = (folder / "photo2.ycc").read_bytes()
    contents = {
        "text": b"not a picture",
        "raw.yuv": bytes(35 + 2 * 12),
        "truncated.ycc": good[:-1],
        "damaged.ycc": damaged(good),
        "wide.ycc": stream(width=16384, height=1),
        "high.ycc": stream(width=1, height=16384),
        "old": b"old",
        "old.png": b"old",
        "old.jpg": b"old",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    before = sorted(os.listdir())
    found, out, err = ycc(*arguments)
    assert (found, out, loads) == (code, "", [])
    assert_one_line_error(err)
    assert sorted(os.listdir()) == before
    assert all((folder / name).read_bytes() == content for name, content in contents.items())


def test_model_errors_exit_4(folder, ycc):
    other = packed(PICTURE.tobytes(), width=7, height=5, quality=50.0, weights_hash=b"else")
    files.write_bytes("other.ycc", other)
    for arguments in (
        ["encode", "photo.png", "-m", "missing"],
        ["decode", "photo2.ycc", "-m", "missing"],
        ["decode", "other.ycc"],
    ):
        code, _, err = ycc(*arguments)
        assert code == 4
        assert_one_line_error(err, "expected")
    assert sorted(os.listdir()) == ["other.ycc", "photo.png", "photo2.ycc"]


def test_zero_max_pixels_is_no_limit_but_memory(folder, ycc, loads, monkeypatch):
    assert ycc("decode", "photo2.ycc", "--max-pixels", "0")[0] == 0
    loads.clear()
    files.write_bytes("huge.ycc", stream(2**32 - 1, 2**32 - 1, weights_hash=b"fake"))
    assert os.path.getsize("huge.ycc") < 40
    code, _, err = ycc("decode", "huge.ycc", "--max-pixels", "0")
    assert (code, loads) == (5, [])
    assert_one_line_error(err, "huge.ycc: expected a picture that fits", "memory left")

    # What the codec will take counts, not what the file does.
    images.write(np.zeros((3000, 1), np.uint8), "thin.png")
    files.write_bytes("thin.yuv", bytes(3000 + 2 * 1500))
    files.write_bytes("thin.y4m", b"YUV4MPEG2 W1 H3000\nFRAME\n" + bytes(3000 + 2 * 1500))
    monkeypatch.setattr(limits, "available_memory", lambda: 64 * 3008 * limits.encoding() - 1)
    for arguments in (["thin.png"], ["thin.y4m"], ["thin.yuv", "--size", "1x3000"]):
        code, _, err = ycc("encode", *arguments, "-o", "new.ycc", "--max-pixels", "0")
        assert (code, loads) == (5, [])
        assert_one_line_error(err, "found 1 x 3000, padded to 64 x 3008")


@pytest.mark.parametrize("command", [["encode"], ["encode", "--size", "7x5"], ["decode"], ["info"]])
def test_input_without_end(folder, monkeypatch, ycc, loads, command):
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", 2**20)
    with open("/dev/zero", "rb") as zeros:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=zeros))
        code, out, err = ycc(*command, "-")
    assert (code, out, loads) == (5, "", [])
    assert_one_line_error(err, "standard input: expected at most", "bytes, found more")
    if "--size" not in command:
        code, out, err = ycc(*command, "/dev/zero")
        assert (code, out, loads) == (5, "", [])
        assert_one_line_error(err, "/dev/zero: expected at most", "bytes, found more")


@pytest.mark.parametrize("link", [None, os.symlink, os.link], ids=["same", "symlink", "hardlink"])
def test_output_that_is_the_input_is_refused(folder, ycc, link):
    if link:
        link("photo.png", "other.png")
    for name in ("other.png" if link else "photo.png", "./photo.png", folder / "photo.png"):
        code, _, err = ycc("encode", "photo.png", "-o", name)
        assert code == 2
        assert_one_line_error(err, "same file")
    np.testing.assert_array_equal(images.read("photo.png"), PICTURE)
    assert ycc("encode", "photo2.ycc")[0] == 2  # its default output is itself


def test_default_output_never_overwrites_but_a_given_one_does(folder, ycc, loads):
    assert ycc("encode", "photo.png")[0] == 0
    before = (folder / "photo.png").read_bytes()
    code, _, err = ycc("decode", "photo.ycc")
    assert code == 2 and len(loads) == 1
    assert_one_line_error(err, "photo.png", "exists", "-o")
    assert (folder / "photo.png").read_bytes() == before
    assert ycc("decode", "photo2.ycc", "-o", "photo.png")[0] == 0


# ---- faults of the world outside


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    """Both ways to write a file: on file systems that give a nameless file a name, and others."""

    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    if request.param == "named":
        monkeypatch.setattr(os, "link", refuse)


def test_failed_write_leaves_the_old_file_and_no_other(folder, ycc, monkeypatch, way):
    (folder / "old.ycc").write_bytes(b"old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    code, _, err = ycc("encode", "photo.png", "-o", "old.ycc")
    assert code == 1
    assert_one_line_error(err, "No space left on device", "old.ycc")
    assert ".tmp" not in err
    assert (folder / "old.ycc").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["old.ycc", "photo.png", "photo2.ycc"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_interrupt_exits_130_and_leaves_nothing(folder, ycc, monkeypatch, way, call):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    (folder / "old.ycc").write_bytes(b"old")
    monkeypatch.setattr(os, call, interrupt)
    code, _, err = ycc("encode", "photo.png", "-o", "old.ycc")
    assert code == 130 and "Traceback" not in err
    assert (folder / "old.ycc").read_bytes() == b"old"
    assert sorted(os.listdir()) == ["old.ycc", "photo.png", "photo2.ycc"]


def has_nameless_files(folder):
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
        return True
    except (AttributeError, OSError):
        return False


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_leaves_nothing_for_ever(tmp_path, call):
    """Of Linux's nameless files nothing; a kill just before the rename, until the next write."""
    old = tmp_path / "old.ycc"
    old.write_bytes(b"old")
    program = f"""
import os, signal
from ycc_jax.pictures import files
os.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
files.write_bytes({str(old)!r}, b"new")
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert old.read_bytes() == b"old"
    nameless = has_nameless_files(tmp_path)
    left = 0 if nameless and call == "fsync" else 1
    assert len(os.listdir(tmp_path)) == 1 + left
    files.write_bytes(old, b"newer")
    assert old.read_bytes() == b"newer"
    assert not nameless or os.listdir(tmp_path) == ["old.ycc"]


def test_of_several_writers_of_one_file_none_fails_and_nothing_is_left(tmp_path, monkeypatch, way):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "out"
    contents = [bytes([65 + i]) * 5000 for i in range(4)]
    files.write_bytes(path, contents[0])

    def write(content):
        for _ in range(100):
            files.write_bytes(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == ["out"]


def test_names_of_255_bytes(folder, ycc, way, loads):
    name = "\u00e9" * 125 + "x.ycc"
    assert len(os.fsencode(name)) == 255
    for _ in range(2):  # a new file, and an existing one
        assert ycc("encode", "photo.png", "-o", name)[0] == 0
        assert files.read_bytes(name) == FakeCodec().encode(PICTURE)
    code, _, err = ycc("encode", "photo.png", "-o", "x" + name)
    assert code == 1 and len(loads) == 2
    assert_one_line_error(err, name, "File name too long")


def test_the_error_of_an_import_names_the_folder_that_was_asked_for(folder, ycc, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device", str(folder / ".new.x7f3/arrays.npz"))

    fake = types.ModuleType("ycc_jax.compressai")
    fake.import_checkpoint = no_space
    monkeypatch.setitem(sys.modules, "ycc_jax.compressai", fake)
    code, _, err = ycc("import-compressai", "a.npz", "--model", "mbt2018", "-o", "new")
    assert (code, err) == (1, "ycc: error: new: No space left on device\n")


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="names of open files")
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_open_files_and_pipes_are_written_to_by_their_names(folder, ycc, name):
    expected = FakeCodec().encode(PICTURE)
    reading, writing = os.pipe()
    os.symlink(f"/dev/fd/{writing}", "link")  # as /dev/stdout is one
    assert ycc("encode", "photo.png", "-o", name.format(writing), "--quiet") == (0, "", "")
    assert os.read(reading, 10**6) == expected
    # Of a picture without an ending: PNG, as of standard output.
    assert ycc("decode", "photo2.ycc", "-o", name.format(writing), "--quiet") == (0, "", "")
    np.testing.assert_array_equal(images.read(io.BytesIO(os.read(reading, 10**6))), PICTURE)
    os.close(reading)
    os.close(writing)
    os.unlink("link")
    # A regular file is written on from where it is, with what another wrote kept.
    (folder / "log").write_bytes(b"before ")
    with open("log", "ab") as log:
        number = log.fileno()
        os.symlink(f"/dev/fd/{number}", "link")
        assert ycc("encode", "photo.png", "-o", name.format(number))[0] == 0
        log.write(b" after")
    assert (folder / "log").read_bytes() == b"before " + expected + b" after"
    code, _, err = ycc("encode", "photo.png", "-o", name.format(number))
    assert code == 1  # closed
    assert_one_line_error(err, "Bad file descriptor")


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_links_and_devices(folder):
    umask = os.umask(0o027)
    try:
        files.write_bytes("new", b"new")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o640
    os.chmod("new", 0o604)
    os.symlink("new", "link")
    files.write_bytes("link", b"newer")
    assert os.path.islink("link") and (folder / "new").read_bytes() == b"newer"
    assert stat.S_IMODE(os.stat("new").st_mode) == 0o604
    files.write_bytes(os.devnull, b"nothing")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(OSError):
        files.write_bytes(folder, b"a folder")


# ---- a process of its own


def start(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "ycc_jax.cli", *arguments], **options)


def test_reader_that_goes_away_is_no_traceback(tmp_path):
    (tmp_path / "a.ycc").write_bytes(stream())
    reading, writing = os.pipe()
    os.close(reading)
    process = start("info", str(tmp_path / "a.ycc"), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 1)


@pytest.mark.skipif(os.name != "posix", reason="closed by the process before it")
@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "a.ycc"],
        ["encode", "none.png", "-o", "-"],
        ["encode", "none.png", "-o", "/dev/stdout"],
        ["decode", "a.ycc", "-o", "-"],
        ["bd-rate", "none.json", "none.json"],
        ["eval", "--images", "none", "-o", "new.json"],
        ["report", "none.json", "-o", "-"],
    ],
)
def test_a_closed_standard_output_is_told_before_any_work(tmp_path, arguments):
    """Before the input is looked for, and before a model: there is none of this stream."""
    (tmp_path / "a.ycc").write_bytes(stream())
    arguments = [str(tmp_path / word) if word == "a.ycc" else word for word in arguments]
    process = start(*arguments, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert_one_line_error(error, "/dev/stdout" if "/dev/stdout" in arguments else "standard output")


def test_a_closed_standard_output_or_input_matters_to_those_that_use_it(folder, ycc, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert cli.main(["encode", "photo.png", "-o", "new.ycc", "--quiet"]) == 0
    assert files.read_bytes("new.ycc") == FakeCodec().encode(PICTURE)
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = ycc("info", "-")
    assert code == 2
    assert_one_line_error(err, "standard input: expected it open")


def test_importing_the_command_line_imports_nothing_heavy():
    program = "import sys, ycc_jax.cli; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "ycc_jax" in loaded
    assert not {"jax", "jaxlib", "flax", "numpy", "PIL", "numba", "tensorflow"} & set(loaded)


def test_models_to_import_are_those_that_can_be():
    from ycc_jax.compressai import MODELS

    (choice,) = [p.type for p in model_commands.import_compressai.params if p.name == "model"]
    assert set(choice.choices) == set(MODELS)


def test_help_is_quick():
    """About 0.1 s of the processor's time, which other programs lengthen less than the clock's."""
    seconds = []
    for _ in range(5):
        before = os.times()
        assert start("--help", stdout=subprocess.DEVNULL).wait() == 0
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))  # of ended children: user, system
    assert 0 < min(seconds) < 0.3
