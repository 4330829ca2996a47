"""Write files that are whole or not there, and compute their digests."""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssld.errors import SsldError

FULL = (errno.ENOSPC, errno.EDQUOT)
PARTIAL = re.compile(r"\.partial(-\d+)?(?=/|$)")  # end of the names of what is not whole yet


def sha256(file: Path) -> str:
    """Return the hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


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


def place_of(error: BaseException, place: str | Path) -> str:
    """Return the file that an error of the system names, or `place` where it names none."""
    name = getattr(error, "filename", None)
    return PARTIAL.sub("", os.fsdecode(name)) if isinstance(name, (str, bytes, os.PathLike)) and name else str(place)


def reason_of(error: BaseException) -> str:
    """Return the reason of an error of the system in words, on one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def writing(place: str | Path, kind: type[SsldError], advice: str) -> Iterator[None]:
    """Turn an error of the system inside into an error of this `kind`, of one line.

    It names the file that the system names. That need not lie in `place`: a library may write somewhere else, as into
    the home folder. `advice` is what to do about `place`.
    """
    try:
        yield
    except OSError as error:
        raise kind(told(error, place, advice)) from error


def told(error: BaseException, place: str | Path, advice: str) -> str:
    """Return the line of `writing`."""
    file = place_of(error, place)
    if not os.path.abspath(file).startswith(os.path.abspath(place)):
        return f"{file}: {reason_of(error)}; mend that and repeat the command"
    full = getattr(error, "errno", None) in FULL or any(f"os error {number})" in str(error) for number in FULL)
    what = "the disk is full; free some space" if full else f"cannot be written ({reason_of(error)})"
    return f"{file}: {what}; {advice}"
