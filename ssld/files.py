"""Files that are whole or not there, and their digests."""

import hashlib
import os
from pathlib import Path


def sha256(file: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(file: Path, text: str, errors: str = "strict") -> None:
    """Write under a temporary name, flush, rename: the file is the old or the new one, never half of it. OSError.

    `errors`: what becomes of text that is not UTF-8; `surrogateescape` gives file names back as they were read.
    """
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors=errors)
    flush(partial)
    partial.replace(file)
