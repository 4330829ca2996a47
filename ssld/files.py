"""Write files that are whole or not there, read them back or say what is wrong with them, and compute their digests.

Every file of a run, a cache, a mining or an export is written and read here: one function for each format. A JSON file
ends with `checksum`, the sha256 of the rest; one without it was written by an earlier version, and is read as it is.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import fcntl
import glob
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from ssld.errors import LONGEST, RunError, SsldError
from ssld.faults import moment

if TYPE_CHECKING:
    import numpy as np

CHECKSUM = "checksum"  # the last key of a JSON file
LONGEST_HEADER = 1 << 20  # bytes of a header of an archive
FOLDER = "is a folder"
FULL = (errno.ENOSPC, errno.EDQUOT)
PARTIAL = re.compile(r"\.?([^/]*)\.partial-\d+(?=/|$)")  # the name of what is not whole yet, see `unfinished`
SETTLED = 2_000_000_000  # nanoseconds after which another change of a file cannot have the same time

JsonTree: TypeAlias = dict[str, Any]
"""A mapping as JSON has it. What its values are, only its reader knows."""

_KNOWN: dict[tuple[int, ...], str] = {}  # maps the identity of a file to its sha256

# --- digests


def sha256(file: Path) -> str:
    """Return the hexadecimal digest of a file's content.

    A file whose size and times are those of an earlier call is not read again. Raises OSError where it cannot be read,
    and for what is no regular file.
    """
    state = os.stat(file)
    identity = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if identity in _KNOWN:
        return _KNOWN[identity]
    digest = hashlib.sha256()
    with open_regular(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > SETTLED:
        _KNOWN[identity] = digest.hexdigest()
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a value as JSON with its keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(new_tree: object, old_tree: object, key: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (key, new value, old value) of each leaf in which two JSON trees differ; a leaf that is missing is None."""
    if isinstance(new_tree, dict) and isinstance(old_tree, dict):
        for name in [*new_tree, *(name for name in old_tree if name not in new_tree)]:
            yield from differences(new_tree.get(name), old_tree.get(name), f"{key}.{name}" if key else name)
    elif json.loads(json.dumps(new_tree)) != old_tree:
        yield key, new_tree, old_tree


def first_difference(new_tree: object, old_tree: object) -> str:
    """Return in words, in brackets, the first key in which two JSON trees differ, or "" where they are equal."""
    for key, new_value, old_value in differences(new_tree, old_tree):
        return f" ({key} is {short(old_value)} there and {short(new_value)} here)"
    return ""


def short(value: object) -> str:
    """Return a value as JSON, cut where it is long."""
    text = json.dumps(value)
    if len(text) <= 60:
        return text
    return json.dumps(f"{value[:11]}...") if isinstance(value, str) else f"{text[:12]}..."


# --- writing


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(file: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name to write under, then rename the file; with `durable` wait before that for the disk.

    It is the old or the new one, never half of it; with `durable` this holds after a power cut too. Where the block
    fails, nothing is left under the temporary name; what a kill leaves there, `clear` removes. Raises OSError where the
    disk does not take it, and where a device or a pipe has the name, because it would be replaced.
    """
    check_replaceable(file)
    partial = unfinished(file)
    with held(partial):
        try:
            moment("begun", file)
            yield partial
            moment("written", file)
            if durable:
                flush(partial)
            partial.replace(file)
            moment("renamed", file)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def check_replaceable(file: Path) -> None:
    """Raise OSError where something has the name of a file that is neither a file nor a link."""
    if what := obstacle(file):
        is_folder = what == FOLDER
        number, reason = (errno.EISDIR, os.strerror(errno.EISDIR)) if is_folder else (errno.EINVAL, "no regular file")
        raise OSError(number, reason, str(file))


def obstacle(file: Path) -> str | None:
    """Return, in words, what has the name of a file and is neither a file nor a link, or None.

    No file replaces it, because somebody may need it: it is to be removed by hand.
    """
    try:
        kind = file.lstat().st_mode
    except OSError:
        return None
    if stat.S_ISREG(kind) or stat.S_ISLNK(kind):
        return None
    return FOLDER if stat.S_ISDIR(kind) else "is no regular file"


def unfinished(path: Path) -> Path:
    """Return the name of a file or folder that this process has not finished."""
    return path.with_name(f"{path.name}.partial-{os.getpid()}")


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Make an empty file, and let `clear` see that a process is writing it, as long as this process is in the block."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have not finished in a folder: what `unfinished` names, and no process holds.

    With a `name` it is what should have got this name. Where a file system has no locks, nothing is removed.
    """
    for path in folder.glob(f"{'*' if name is None else glob.escape(name)}.partial-*"):
        if PARTIAL.search(path.name) and not _is_held(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def is_empty(folder: Path, but: Collection[str] = ()) -> bool:
    """Return whether a path is a folder of nothing but `but` and what killed processes have not finished."""
    return folder.is_dir() and all(path.name in but or PARTIAL.search(path.name) for path in folder.iterdir())


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # it is gone, or not ours
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> None:
    """Let two folders exchange their names, in one step where the system can do that (renameat2(2)). Raises OSError."""
    here, in_exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None or renameat2(here, os.fsencode(one), here, os.fsencode(other), in_exchange):
        between = unfinished(one)
        other.rename(between)
        one.rename(other)
        between.rename(one)


def put_in_place(partial: Path, folder: Path) -> None:
    """Flush a filled folder and give it its name, in one step. A folder that has the name gets the name of `partial`.

    Raises OSError where the disk does not take it.
    """
    moment("written", folder)
    for path in (*partial.rglob("*"), partial):
        flush(path)
    if folder.exists():
        exchange(partial, folder)
    else:
        partial.rename(folder)
    moment("renamed", folder)
    flush(folder.parent)


def write_whole(file: Path, text: str, errors: str = "strict") -> None:
    """Write text, whole or not at all, and wait until its name is on the disk. Raises OSError where that fails.

    What killed processes have left of this file is removed. `errors` says what becomes of text that is not UTF-8;
    `surrogateescape` writes file names back as they were read.
    """
    with whole(file) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)
    clear(file.parent, file.name)
    flush(file.parent)


def write_json(file: Path, tree: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with its checksum, whole or not at all. Raises OSError as `whole` does."""
    write_whole(file, json_text(tree))


def json_text(tree: Mapping[str, Any]) -> str:
    """Return a mapping as the text of a JSON file, whose last key is its checksum."""
    plain = json.loads(json.dumps(tree))
    return json.dumps({**plain, CHECKSUM: json_digest(plain)}, indent=1) + "\n"


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all, and wait until its name is on the disk. Raises OSError where that fails."""
    with whole(target) as partial:
        shutil.copyfile(source, partial)
    flush(target.parent)


# --- one process at a time

# A file system without locks answers with one of these errors, and no process is kept out there.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def alone(folder: Path, patience: float = math.inf) -> Iterator[None]:
    """Keep other processes out of the same block for the same file or folder.

    The lock ends with the process, however that ends. Raises BlockingIOError where another process is still in the
    block after `patience` seconds. On a file system without locks nobody is kept out.
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


# --- errors of the system


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest of those that hold it where it is not there yet."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def check_writable(folder: Path, kind: type[SsldError], advice: str) -> None:
    """Raise an error of this `kind` where a folder cannot be written to, or not be made. Nothing is written."""
    place = existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise kind(f"{place}: cannot be written to; {advice}")


def check_target(file: Path, kind: type[SsldError], advice: str) -> None:
    """Raise an error of this `kind` where a file cannot be written. Nothing is written."""
    check_writable(file.parent, kind, advice)
    with writing(file, kind, advice):
        check_replaceable(file)


def place_of(error: BaseException, place: str | Path) -> str:
    """Return the file that an error of the system names, as it will be called when it is whole, or else `place`."""
    name = getattr(error, "filename", None)
    return PARTIAL.sub(r"\1", os.fsdecode(name)) if isinstance(name, str | bytes | Path) and name else str(place)


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
    one, other = os.path.join(os.path.abspath(file), ""), os.path.join(os.path.abspath(place), "")
    if not (one.startswith(other) or other.startswith(one)):
        return f"{file}: {reason_of(error)}; mend that and repeat the command"
    full = getattr(error, "errno", None) in FULL or any(f"os error {number})" in str(error) for number in FULL)
    what = "the disk is full; free some space" if full else f"cannot be written ({reason_of(error)})"
    if isinstance(error, IsADirectoryError):
        what = f"{FOLDER}; remove it"
    return f"{file}: {what}; {advice}"


# --- reading


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


def damaged(file: Path, reason: object, advice: str, error: type[SsldError] = RunError) -> SsldError:
    """Return the error of a file that cannot be used: `file: what; what to do`, or without an `advice` `file: what`."""
    if isinstance(reason, FileNotFoundError):
        what = "no such file"
    elif isinstance(reason, OSError):
        what = f"cannot be read ({reason_of(reason)})"
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
        with open_regular(file, encoding="utf-8") as stream:
            return str(stream.read())
    except (OSError, ValueError) as reason:
        raise damaged(file, reason, advice, error) from None


def read_json(file: Path, advice: str, error: type[SsldError] = RunError) -> JsonTree:
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


def read_lines(file: Path, advice: str, error: type[SsldError] = RunError) -> tuple[list[JsonTree], bytes]:
    """Return the mappings of a file with one JSON mapping a line, and what stands behind the last line feed.

    That is nothing, unless a process was killed while it wrote a line. Where it is whole, it is among the mappings.
    Raises `error`, whose message ends with `advice`, for any other line that is no mapping.
    """
    try:
        with open_regular(file, "rb") as stream:
            lines = stream.read().split(b"\n")
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
        with open_regular(file, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as reason:  # noqa: BLE001 - what NumPy and zipfile raise for damaged bytes has no common kind
        raise damaged(file, reason, advice, error) from None
