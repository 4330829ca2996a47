"""Write files that are whole or not there, and compute their digests."""

import errno
import fcntl
import hashlib
import io
import json
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LONGEST_HEADER = 1 << 20  # bytes of a header of an archive


def sha256(file: Path) -> str:
    """Return the hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def open_regular(file: str | os.PathLike[str], mode: str = "r", **options: Any) -> IO[Any]:
    """Open a file to read it, as `open` does.

    Raises OSError as `open` does, and for what is no regular file: a pipe would wait for ever, a device never end.
    """
    kind = os.stat(file).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise OSError(errno.EINVAL, "no regular file", os.fspath(file))
    return open(file, mode, **options)


class ArchiveHeaders(io.FileIO):
    """An archive of which only headers are read.

    It raises OSError for what is no regular file, and where it should read more at a time than the longest name of a
    file needs: an archive may claim a header of any size, which would fill the memory.
    """

    def __init__(self, file: str | os.PathLike[str]):
        open_regular(file, "rb").close()
        super().__init__(os.fspath(file))

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LONGEST_HEADER:
            raise OSError(errno.EFBIG, f"a header of {size:,} bytes", str(self.name))
        return super().read(size) or b""


def json_digest(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a value as JSON with its keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(file: Path, suffix: str = ".partial") -> Iterator[Path]:
    """Yield a temporary name to write under, then flush and rename the file.

    It is the old or the new one, never half of it. Processes that may write the same file at once need a `suffix` each.
    Raises OSError where the disk does not take it.
    """
    partial = file.with_name(file.name + suffix)
    yield partial
    flush(partial)
    partial.replace(file)


def write_whole(file: Path, text: str, errors: str = "strict") -> None:
    """Write text, whole or not at all. Raises OSError where the disk does not take it.

    `errors` says what becomes of text that is not UTF-8; `surrogateescape` writes file names back as they were read.
    """
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


# A file system without locks answers with one of these errors, and no process is kept out there.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def alone(folder: Path, patience: float = math.inf) -> Iterator[None]:
    """Keep other processes out of the same block for the same folder.

    The lock ends with the process, however that ends. Raises BlockingIOError where another process is still in the
    block after `patience` seconds.
    """
    descriptor, end = os.open(folder, os.O_RDONLY), time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                break
        yield
    finally:
        os.close(descriptor)
