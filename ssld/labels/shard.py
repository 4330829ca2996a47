"""This module reads and writes a file of records: checked block by block, written whole or not at all.

    8 bytes      b"ssldlab2"
    uint32 x 2   bytes of a record, number of records
    32 bytes     sha256 of the name of these records: the digest of the manifest, the view and the number of the shard
    uint32 x b   CRC-32 of each block of BLOCK records; b = ceil(records / BLOCK)
    the records

All numbers are little endian. A damaged block costs its own records only: `read` names it, and they are computed again.
A file that begins with b"ssldlab1" is of an early version: it lacks the 32 bytes, and is taken for what its path says.
"""

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

from ssld import files
from ssld.errors import DataError
from ssld.files import open_regular

MAGIC, OLD_MAGIC = b"ssldlab2", b"ssldlab1"
HEAD = struct.Struct("<8sII")
NAME = 32  # bytes of the sha256 of a name
BLOCK = 1024  # so many records share a checksum
RECORDS = 8 * BLOCK  # the records of a shard, which a killed writer has to compute again


def write(file: Path, records: np.ndarray, name: str) -> None:
    """Write uint8 [n, size], whole or not at all. Raises OSError when that fails.

    `name` says which records these are.
    """
    sums = np.array([zlib.crc32(block) for block in _blocks(records)], "<u4")
    head = HEAD.pack(MAGIC, records.shape[1], len(records)) + _digest(name)
    with files.whole(file) as partial:
        partial.write_bytes(head + sums.tobytes() + records.tobytes())


def read(file: Path, size: int, count: int, name: str) -> tuple[np.ndarray, list[int]]:
    """Return the uint8 [count, size] records of a file, and the numbers of its damaged blocks.

    Of a missing or short file, of one that cannot be read, and of one of another layout or name, all blocks are
    damaged, and the records are zeros.
    """
    blocks = -(-count // BLOCK)
    nothing = np.zeros((count, size), np.uint8), list(range(blocks))
    try:
        with open_regular(file, "rb") as stream:
            data = stream.read()
    except OSError:
        return nothing
    heads = {MAGIC: HEAD.pack(MAGIC, size, count) + _digest(name), OLD_MAGIC: HEAD.pack(OLD_MAGIC, size, count)}
    head = heads.get(data[: len(MAGIC)])
    if head is None or not data.startswith(head) or len(data) != len(head) + 4 * blocks + count * size:
        return nothing
    sums = np.frombuffer(data, "<u4", blocks, len(head))
    records = np.frombuffer(data, np.uint8, offset=len(head) + 4 * blocks).reshape(count, size).copy()
    return records, [n for n, block in enumerate(_blocks(records)) if zlib.crc32(block) != sums[n]]


def says_its_name(file: Path) -> bool:
    """Return whether a file says which records it holds. Those of early versions do not."""
    try:
        with open_regular(file, "rb") as stream:
            return stream.read(len(MAGIC)) != OLD_MAGIC
    except OSError:
        return True  # nothing is read from it


def read_whole(file: Path, size: int, count: int, name: str) -> np.ndarray:
    """Return the records of a file. Raises DataError, which names the first damaged block."""
    records, damaged = read(file, size, count, name)
    if damaged:
        which = f"records {damaged[0] * BLOCK} to {min(count, (damaged[0] + 1) * BLOCK) - 1}"
        raise DataError(f"{file}: block {damaged[0]} ({which}) is damaged or missing; `ssld label` writes it anew")
    return records


def _digest(name: str) -> bytes:
    """Return the sha256 of a name."""
    return hashlib.sha256(name.encode()).digest()


def _blocks(records: np.ndarray) -> list[bytes]:
    """Return the bytes of each block."""
    return [records[start : start + BLOCK].tobytes() for start in range(0, len(records), BLOCK)]
