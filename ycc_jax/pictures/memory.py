"""How much memory this process can still use, by what the operating system says of itself."""

import os
from collections.abc import Iterator
from pathlib import Path

# Of a control group, in the names of version 2 and of version 1: the limit, what is used, and in
# memory.stat the cached files that the kernel drops first.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory(root: str | os.PathLike = "/") -> int | None:
    """Bytes that this process can still use; None where the system does not tell.

    On Linux: free memory, what the kernel can free for us, and swap, but no more than the limits of
    the process's control groups (a container's limit) leave. Elsewhere: all that is installed.

    Args:
      root: the folder that holds proc/ and sys/.
    """
    left = [*_of_machine(Path(root)), *_of_groups(Path(root))]
    return max(0, min(left)) if left else None


def _of_machine(root: Path) -> list[int]:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return [1024 * (kibibytes["MemAvailable"] + kibibytes["SwapFree"])]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return []


def _of_groups(root: Path) -> Iterator[int]:
    """What the limit of each control group that the process is in leaves."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # "0::/path" in version 2, "4:memory:/path" in version 1
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and "memory" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
        group = mounted / path.lstrip("/")
        # A container may see its own group as the root, under a path that is not there.
        for folder in (group, *group.parents):
            yield from _of_group(folder)
            if folder == mounted:
                break


def _of_group(folder: Path) -> Iterator[int]:
    for limit, used, cached in _GROUP_FILES:
        try:
            lines = (folder / "memory.stat").read_text().splitlines()
            reclaimable = int(dict(line.split() for line in lines)[cached])
            most, current = ((folder / name).read_text().strip() for name in (limit, used))
            if most != "max":  # no limit
                yield int(most) - int(current) + reclaimable
        except (OSError, KeyError, ValueError):
            continue
