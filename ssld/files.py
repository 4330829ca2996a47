"""Files that are whole or not there, and their digests."""

import errno
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sha256(file: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """sha256, in hexadecimal, of a value as JSON with its keys sorted."""
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
    """A temporary name to write under; then flush and rename: the file is the old or the new one, never half of it.

    Processes that may write the same file at once need a `suffix` each. OSError where the disk does not take it.
    """
    partial = file.with_name(file.name + suffix)
    yield partial
    flush(partial)
    partial.replace(file)


def write_whole(file: Path, text: str, errors: str = "strict") -> None:
    """Write text, whole or not at all. OSError.

    `errors`: what becomes of text that is not UTF-8; `surrogateescape` gives file names back as they were read.
    """
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # file systems that have none: nobody is kept out


@contextmanager
def alone(folder: Path, patience: float = math.inf) -> Iterator[None]:
    """Until it is left, no other process gets in for the same folder. However a process ends, others then can.

    BlockingIOError where another one is still in after `patience` seconds.
    """
    held, end = os.open(folder, os.O_RDONLY), time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        os.close(held)
