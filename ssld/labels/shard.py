"""This module reads and writes a file of records: checked block by block, written whole or not at all.

    8 bytes      b"ssldlab1"
    uint32 x 2   bytes of a record, number of records
    uint32 x b   CRC-32 of each block of BLOCK records; b = ceil(records / BLOCK)
    the records

All numbers are little endian. A damaged block costs its own records only: `read` names it, and they are computed again.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from ssld import files
from ssld.errors import DataError

MAGIC = b"ssldlab1"
HEAD = struct.Struct("<8sII")
BLOCK = 1024  # so many records share a checksum
RECORDS = 8 * BLOCK  # the records of a shard, which a killed writer has to compute again


def write(file: Path, records: np.ndarray) -> None:
    """Write uint8 [n, size], whole or not at all. Raises OSError when that fails."""
    sums = np.array([zlib.crc32(block) for block in _blocks(records)], "<u4")
    with files.whole(file) as partial:
        partial.write_bytes(HEAD.pack(MAGIC, records.shape[1], len(records)) + sums.tobytes() + records.tobytes())


def read(file: Path, size: int, count: int) -> tuple[np.ndarray, list[int]]:
    """Return the uint8 [count, size] records of a file, and the numbers of its damaged blocks.

    Of a missing or short file, and of one of another layout, all blocks are damaged, and the records are zeros.
    """
    blocks = -(-count // BLOCK)
    nothing = np.zeros((count, size), np.uint8), list(range(blocks))
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return nothing
    start = HEAD.size + 4 * blocks
    if len(data) != start + count * size or HEAD.unpack_from(data) != (MAGIC, size, count):
        return nothing
    sums = np.frombuffer(data, "<u4", blocks, HEAD.size)
    records = np.frombuffer(data, np.uint8, offset=start).reshape(count, size).copy()
    return records, [n for n, block in enumerate(_blocks(records)) if zlib.crc32(block) != sums[n]]


def read_whole(file: Path, size: int, count: int) -> np.ndarray:
    """Return the records of a file. Raises DataError, which names the first damaged block."""
    records, damaged = read(file, size, count)
    if damaged:
        which = f"records {damaged[0] * BLOCK} to {min(count, (damaged[0] + 1) * BLOCK) - 1}"
        raise DataError(f"{file}: block {damaged[0]} ({which}) is damaged or missing; `ssld label` writes it anew")
    return records


def _blocks(records: np.ndarray) -> list[bytes]:
    """Return the bytes of each block."""
    return [records[start : start + BLOCK].tobytes() for start in range(0, len(records), BLOCK)]
