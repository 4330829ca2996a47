"""This module reads weights of PaddleClas 1.x: a folder, or a `.tar` of it, with a file that holds a LoDTensor a
variable.

All numbers are little endian (paddle/fluid/framework/lod_tensor.cc and tensor_util.cc, since 2018 unchanged):

    uint32  0, the version of what follows
    uint64  number of levels of detail (0 for weights), then for each its size in bytes as uint64, and so many bytes
    uint32  0, the version of what follows
    int32   size of the description, then the protobuf message VarType.TensorDesc: 1 type, 2 the shape, repeated
    ...     the numbers, row by row

The path of a file under the folder is the name of its variable; names contain `/` in some networks. Nothing is
unpacked: the numbers are read out of the archive, after every member of it was checked to be harmless.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from ssld.errors import WeightsError
from ssld.files import LONGEST_HEADER, ArchiveHeaders
from ssld.spec.printable import printable

LARGEST = 2 << 30  # a variable has at most so many bytes: five times the largest published one, the first fc of VGG
MOST = 100_000  # an archive has at most so many entries
_TYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 19: "<u8", 20: "u1", 21: "i1"}


@dataclass(frozen=True)
class StoredArray:
    """Describe an array in a file that is not read yet."""

    file: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Read the array. Raises WeightsError when the file became shorter meanwhile."""
        array = np.fromfile(self.file, self.dtype, prod(self.shape), offset=self.offset)
        if array.size != prod(self.shape):
            raise WeightsError(f"{self.file}: changed while it was read; do it again")
        return array.reshape(self.shape)


@dataclass(frozen=True)
class _Part:
    """Say where the content of a member of the archive, or of a file of the folder, lies."""

    name: str
    file: Path
    offset: int
    size: int


def listing(path: Path) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Return {variable: array}, and {name: what is wrong} of the files that hold no whole variable.

    Raises WeightsError, before a variable is read, when an entry is no plain file, leads out of the folder or is too
    large, when the archive is damaged, and when there is no variable.
    """
    try:
        arrays, wrong = _variables(list(_files(path) if path.is_dir() else _members(path)))
    except OSError as error:
        what = error.strerror or error
        raise WeightsError(f"{path}: cannot be read ({what}); check it, or get it from its publisher") from None
    if not arrays:
        raise WeightsError(f"{path}: holds no variable of PaddleClas 1.x; give the folder or the archive that does")
    return arrays, wrong


def _files(folder: Path) -> Iterator[_Part]:
    """Yield the files of a folder."""
    for place, folders, files in os.walk(folder, onerror=_give_up):
        for name in sorted(folders + files):
            file = Path(place, name)
            status = file.lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                kind = "a link" if stat.S_ISLNK(status.st_mode) else "no plain file"
                raise WeightsError(f"{folder}: {printable(str(file.relative_to(folder)))} is {kind}; remove it")
            if stat.S_ISREG(status.st_mode):
                yield _checked(_Part(file.relative_to(folder).as_posix(), file, 0, status.st_size), folder)


def _give_up(error: OSError) -> None:
    """Raise an error that `os.walk` would ignore."""
    raise error


def _members(archive: Path) -> Iterator[_Part]:
    """Yield the files of an archive."""
    names: set[str] = set()
    last = "its beginning"
    try:
        with ArchiveHeaders(archive) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for count, member in enumerate(tar):
                last, name = printable(member.name), _harmless(member, archive)
                if name in names or count == MOST:
                    why = "there twice" if name in names else f"more than the {MOST:,} entries that weights may have"
                    raise WeightsError(f"{archive}: {last} is {why}; get the archive from its publisher")
                if member.isreg():
                    names.add(name)
                    yield _checked(_Part(name, archive, member.offset_data, member.size), archive)
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("neither a header nor the end follows")
    except (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{archive}: truncated or damaged after {last} ({error}); download it again") from None


def _harmless(member: tarfile.TarInfo, archive: Path) -> str:
    """Return the normal form of a member's name.

    Raises WeightsError when it is no plain file or leads out of the archive.
    """
    kinds = {"a symbolic link": member.issym(), "a hard link": member.islnk(), "a device": member.isdev()}
    kinds["a sparse file"] = member.issparse()
    kinds["of an unknown kind"] = not (member.isreg() or member.isdir())
    kinds["a path out of the archive"] = member.name.startswith("/") or ".." in member.name.split("/")
    for kind, is_kind in kinds.items():
        if is_kind:
            name = printable(member.name)
            raise WeightsError(
                f"{archive}: {name} is {kind}, which no weights need; get the archive from its publisher"
            )
    return "/".join(part for part in member.name.split("/") if part not in ("", "."))


def _checked(part: _Part, where: Path) -> _Part:
    """Return a part. Raises WeightsError when it is too large."""
    if part.size > LARGEST:
        raise WeightsError(
            f"{where}: {printable(part.name)} is {part.size:,} bytes, weights have at most {LARGEST:,}; remove it"
        )
    return part


def _variables(parts: list[_Part]) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Read the headers of all parts; names begin at the deepest folder that holds every variable."""
    arrays, wrong = dict[str, StoredArray](), dict[str, str]()
    for part in parts:
        try:
            arrays[part.name] = _variable(part)
        except ValueError as error:
            wrong[part.name] = str(error)
    root = os.path.commonpath([os.path.dirname(name) for name in arrays]) + "/" if arrays else "/"
    short = {name: name.removeprefix(root) for name in (*arrays, *wrong)}
    return {short[name]: array for name, array in arrays.items()}, {short[name]: why for name, why in wrong.items()}


def _variable(part: _Part) -> StoredArray:
    """Read the header of one variable. Raises ValueError when the file holds no LoDTensor, or not a whole one."""
    with part.file.open("rb") as file:
        file.seek(part.offset)
        header = _Header(file, part.size)
        if header.number(4) != 0 or (levels := header.number(8)) > 8:
            raise ValueError("it is no LoDTensor")
        for _ in range(levels):
            header.take(header.number(8))
        if header.number(4) != 0:
            raise ValueError("it is no LoDTensor")
        code, shape = _description(header.take(header.number(4)))
        start = file.tell()
    if code not in _TYPES:
        raise ValueError(f"its numbers are of type {code}, which is not read here")
    dtype = np.dtype(_TYPES[code])
    if header.left != prod(shape) * dtype.itemsize:
        raise ValueError(f"truncated or damaged: {header.left:,} bytes for {list(shape)} of {dtype}")
    return StoredArray(part.file, start, dtype, shape)


class _Header:
    """It reads `size` bytes of a file and no more."""

    def __init__(self, file: IO[bytes], size: int):
        self.file, self.left = file, size

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises ValueError where the header ends before."""
        if count > min(self.left, LONGEST_HEADER):
            raise ValueError("truncated or damaged: it ends within its header")
        self.left -= count
        return self.file.read(count)

    def number(self, count: int) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(count), "little")


def _description(message: bytes) -> tuple[int, tuple[int, ...]]:
    """Return (type code, shape) of a VarType.TensorDesc.

    They are its fields 1 and 2, both of wire type 0, a number of 7 bits a byte.
    """
    code, shape, at = -1, [], 0
    while at < len(message):
        field, at = _varint(message, at)
        value, at = _varint(message, at)
        if field == 0x08:
            code = value
        elif field == 0x10 and value < 1 << 63:  # the highest bit is the sign, which means a shape that was not known
            shape.append(value)
        else:
            raise ValueError("damaged: its description holds more than a type and a shape")
    return code, tuple(shape)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if not message[at - 1] & 0x80:
            return value, at
    raise ValueError("damaged: its description ends within a number")
