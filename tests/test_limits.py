"""What is refused before anything is allocated: too many pixels, too much memory, endless files."""

import io

import pytest

from ycc_jax.errors import LimitError
from ycc_jax.pictures import files, limits
from ycc_jax.pictures.memory import available_memory
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, MAX_FILE_BYTES

# ---- pixels


@pytest.mark.parametrize(
    "width, height, padded",
    [(1, 1, 64 * 64), (64, 64, 64 * 64), (65, 64, 128 * 64), (1, 300000, 64 * 300032)],
)
def test_pixels_count_with_padding(width, height, padded):
    limits.check_pixels("a.png", width, height, padded)
    limits.check_pixels("a.png", width, height, None)
    with pytest.raises(LimitError, match=f"a.png: expected at most {padded - 1} .* = {padded};"):
        limits.check_pixels("a.png", width, height, padded - 1)


def test_the_default_limit_holds_for_thin_pictures():
    limits.check_pixels("a.png", 8192, 8192, DEFAULT_MAX_PIXELS)
    for size in ((8193, 8192), (1, 67108864), (67108864, 1), (2**32 - 1, 2**32 - 1)):
        with pytest.raises(LimitError, match=f"found {size[0]} x {size[1]}, padded to"):
            limits.check_pixels("a.png", *size, DEFAULT_MAX_PIXELS)


# ---- memory


def test_memory_is_what_the_padded_picture_takes(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 64 * 300032 * 300)
    limits.check_memory("a.png", 1, 300000, 300)
    with pytest.raises(LimitError, match="a.png: .* fits the 5.8 GB of memory left, found 1 x 300"):
        limits.check_memory("a.png", 1, 300001 + 64, 300)
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    limits.check_memory("a.png", 2**32, 2**32, 300)


def written(root, contents):
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


MEMINFO = (
    "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB\nSwapFree: 96 kB\nHugePages: 0\n"
)
VERSION_1 = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000000\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 0\n",
    "sys/fs/cgroup/memory/jobs/1/memory.limit_in_bytes": "3000000\n",
    "sys/fs/cgroup/memory/jobs/1/memory.usage_in_bytes": "2500000\n",
    "sys/fs/cgroup/memory/jobs/1/memory.stat": "inactive_file 1\ntotal_inactive_file 100000\n",
}


@pytest.mark.parametrize(
    "contents, expected",
    [
        ({}, 4096 * 1024),
        ({"proc/self/cgroup": "4:cpu:/\n5:memory:/jobs/1\n0::/\n"} | VERSION_1, 600_000),
        ({"proc/self/cgroup": "5:cpu,memory:/\n"} | VERSION_1, 4096 * 1024),
        # In a container the path is the host's, and the root is the container's own group.
        (
            {
                "proc/self/cgroup": "0::/docker/4f\n",
                "sys/fs/cgroup/memory.max": "2000000\n",
                "sys/fs/cgroup/memory.current": "1500000\n",
                "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 200000\n",
            },
            700_000,
        ),
        # The tightest of the groups around counts; one may be used up already.
        (
            {
                "proc/self/cgroup": "0::/user/app\n",
                "sys/fs/cgroup/user/memory.max": "1000000\n",
                "sys/fs/cgroup/user/memory.current": "1200000\n",
                "sys/fs/cgroup/user/memory.stat": "inactive_file 0\n",
                "sys/fs/cgroup/user/app/memory.max": "max\n",
                "sys/fs/cgroup/user/app/memory.current": "1000\n",
                "sys/fs/cgroup/user/app/memory.stat": "inactive_file 0\n",
            },
            0,
        ),
    ],
    ids=["no groups", "version 1", "version 1 without limit", "container", "parents"],
)
def test_available_memory_of_linux(tmp_path, contents, expected):
    assert available_memory(written(tmp_path, {"proc/meminfo": MEMINFO} | contents)) == expected


def test_available_memory_elsewhere_is_what_is_installed(tmp_path, monkeypatch):
    sizes = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", sizes.__getitem__, raising=False)
    assert available_memory(tmp_path) == 4096000
    monkeypatch.delattr("os.sysconf")
    assert available_memory(tmp_path) is None


def test_this_machine_has_memory():
    assert available_memory() > 2**20


def test_wider_models_take_more():
    assert limits.encoding() == limits.encoding(64) >= 336 and limits.encoding(192) >= 875
    assert limits.decoding() == limits.decoding(64) >= 378 and limits.decoding(192) >= 835


# ---- bytes of files


def test_bytes_to_read_grow_with_the_limit_on_pixels(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 2**40)
    assert limits.max_file_bytes(1) == limits.max_file_bytes(DEFAULT_MAX_PIXELS) == MAX_FILE_BYTES
    # 16 bits in four channels, without compression.
    assert limits.max_file_bytes(10 * DEFAULT_MAX_PIXELS) > 80 * DEFAULT_MAX_PIXELS
    assert limits.max_file_bytes(None) == 2**38
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    assert limits.max_file_bytes(None) == MAX_FILE_BYTES


def test_files_are_read_up_to_their_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345678")
    assert files.read_bytes(path, 8) == b"12345678"
    assert files.read_stream("a", io.BytesIO(b"12345678"), 8) == b"12345678"
    with pytest.raises(LimitError, match="expected at most 7 bytes, found more"):
        files.read_bytes(path, 7)
    with pytest.raises(LimitError, match="standard input: expected at most 7 bytes"):
        files.read_stream("standard input", io.BytesIO(b"12345678"), 7)


def test_an_endless_device_ends():
    for read in (files.read_bytes, files.map_bytes):
        with pytest.raises(LimitError, match="/dev/zero: expected at most 1000 bytes"):
            read("/dev/zero", 1000)
