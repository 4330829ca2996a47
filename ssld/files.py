"""Write files that are whole or not there, read them back or say what is wrong with them, and compute their digests.

Every file of a run, a cache, a mining or an export is written and read here: one function for each format. A JSON file
ends with `checksum`, the sha256 of the rest; one without it was written by an earlier version, and is read as it is.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssld.errors import LONGEST, RunError, SsldError

if TYPE_CHECKING:
    import numpy as np

CHECKSUM = "checksum"  # the last key of a JSON file
PARTIAL = ".partial"  # what is not whole yet has this ending, perhaps with the number of its process behind it
SETTLED = 2_000_000_000  # nanoseconds after which another change of a file cannot have the same time

_KNOWN: dict[tuple[int, ...], str] = {}  # maps the identity of a file to its sha256

# --- digests


def sha256(file: Path) -> str:
    """Return the hexadecimal digest of a file's content.

    A file whose size and times are those of an earlier call is not read again.
    """
    state = os.stat(file)
    identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if identity in _KNOWN:
        return _KNOWN[identity]
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED:
        _KNOWN[identity] = digest.hexdigest()
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a value as JSON with its keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- writing


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(file: Path, suffix: str = "", one_of_many: bool = False) -> Iterator[Path]:
    """Yield a temporary name to write under, then flush and rename the file.

    It is the old or the new one, never half of it, even after a power cut. The new name is on the disk when the block
    ends; of `one_of_many` files it may still be lost in a power cut. Processes that may write the same file at once
    need a `suffix` each. Raises OSError where the disk does not take it; what was written so far is then removed.
    """
    partial = file.with_name(f"{file.name}{PARTIAL}{suffix}")
    try:
        yield partial
        flush(partial)
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if not one_of_many:
        flush(file.parent)


def write_whole(file: Path, text: str, errors: str = "strict") -> None:
    """Write text, whole or not at all. Raises OSError where the disk does not take it.

    `errors` says what becomes of text that is not UTF-8; `surrogateescape` writes file names back as they were read.
    """
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


def write_json(file: Path, tree: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with its checksum, whole or not at all. Raises OSError as `whole` does."""
    write_whole(file, json_text(tree))


def json_text(tree: Mapping[str, Any]) -> str:
    """Return a mapping as the text of a JSON file, whose last key is its checksum."""
    plain = json.loads(json.dumps(tree))
    return json.dumps({**plain, CHECKSUM: json_digest(plain)}, indent=1) + "\n"


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all. Raises OSError where the disk does not take it."""
    with whole(target) as partial:
        shutil.copyfile(source, partial)


def put_in_place(partial: Path, folder: Path) -> None:
    """Flush a filled folder and give it its name. A folder that has the name is set aside first and removed last.

    Raises OSError where the disk does not take it.
    """
    for path in (*partial.rglob("*"), partial):
        flush(path)
    previous = folder.with_name(f".{folder.name}.previous{PARTIAL}")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    partial.rename(folder)
    flush(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def is_unused(folder: Path) -> bool:
    """Return whether a folder is not there, or holds nothing but what a process left that was killed while it wrote."""
    return not folder.exists() or (folder.is_dir() and all(map(is_leftover, folder.iterdir())))


def is_leftover(path: Path) -> bool:
    """Return whether a name is one of `whole`, of a file that was never finished."""
    return re.search(rf"{re.escape(PARTIAL)}(-\d+)?$", path.name) is not None


# --- one process at a time

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


# --- reading


def damaged(file: Path, reason: object, advice: str, error: type[SsldError] = RunError) -> SsldError:
    """Return the error of a file that cannot be used: `file: what; what to do`, or without an `advice` `file: what`."""
    if isinstance(reason, FileNotFoundError):
        what = "no such file"
    elif isinstance(reason, OSError):
        what = f"cannot be read ({reason.strerror or reason})"
    else:
        what = f"damaged ({' '.join(str(reason).split())[:LONGEST]})"
    return error(f"{file}: {what}{f'; {advice}' if advice else ''}")


def check_content(file: Path, digest: str, advice: str = "", error: type[SsldError] = RunError) -> None:
    """Check that a file is there and has a sha256. Raises `error`, whose message ends with `advice`, otherwise."""
    try:
        if sha256(file) == digest:
            return
    except OSError as reason:
        raise damaged(file, reason, advice, error) from None
    raise damaged(file, "its sha256 is that of another content", advice, error)


def read_text(file: Path, advice: str, error: type[SsldError] = RunError) -> str:
    """Return the text of a file. Raises `error`, whose message ends with `advice`, where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as reason:
        raise damaged(file, reason, advice, error) from None


def read_json(file: Path, advice: str, error: type[SsldError] = RunError) -> dict[str, Any]:
    """Return the mapping that a JSON file holds, without its checksum.

    Raises `error`, whose message ends with `advice`, where it cannot be read, is no mapping, or has another checksum.
    """
    text = read_text(file, advice, error)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise damaged(file, f"no JSON: {reason}" if text.strip() else "empty", advice, error) from None
    if not isinstance(tree, dict):
        raise damaged(file, "holds no mapping", advice, error)
    content = dict(list(tree.items())[:-1])
    if tree and list(tree.values())[-1] == json_digest(content):
        return content
    if CHECKSUM in tree:
        raise damaged(file, "its checksum is that of another content", advice, error)
    return tree


def read_lines(file: Path, advice: str, error: type[SsldError] = RunError) -> tuple[list[dict[str, Any]], bytes]:
    """Return the mappings of a file with one JSON mapping a line, and what stands behind the last line feed.

    That is nothing, unless a process was killed while it wrote a line. Where it is whole, it is among the mappings.
    Raises `error`, whose message ends with `advice`, for any other line that is no mapping.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as reason:
        raise damaged(file, reason, advice, error) from None
    trees = []
    for number, line in enumerate(lines, 1):
        try:
            tree = json.loads(line) if line else None
        except (ValueError, RecursionError):
            tree = None
        if isinstance(tree, dict):
            trees.append(tree)
        elif number < len(lines):
            raise damaged(file, f"line {number} is no record", advice, error)
    return trees, lines[-1]


def read_table(
    file: Path, columns: Collection[str], advice: str, error: type[SsldError] = RunError
) -> list[dict[str, str]]:
    """Return the rows of a CSV file, text by column.

    Raises `error`, whose message ends with `advice`, where it cannot be read, one of `columns` is missing, or a row has
    not as many cells as there are columns.
    """
    reader = csv.DictReader(io.StringIO(read_text(file, advice, error), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as reason:
        raise damaged(file, reason, advice, error) from None
    names = reader.fieldnames or ()
    if missing := [name for name in columns if name not in names]:
        raise damaged(file, f"no column {missing[0]}", advice, error)
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise damaged(file, f"row {number} has not {len(names)} cells", advice, error)
    return rows


def read_arrays(file: Path, advice: str, error: type[SsldError] = RunError) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file. Raises `error`, whose message ends with `advice`, where it is damaged."""
    import numpy as np

    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as reason:  # noqa: BLE001 - what NumPy and zipfile raise for damaged bytes has no common kind
        raise damaged(file, reason, advice, error) from None
