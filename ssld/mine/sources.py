"""The pool: folders, list files and tar files of images, as shards of items that are read one at a time."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ssld.data.lists import NOT_READ, SUFFIXES, read_list
from ssld.data.tree import hidden
from ssld.errors import DataError
from ssld.files import ArchiveHeaders
from ssld.paths import data_root_said

SHARD = 2048  # images of a folder or list that are scored together; a tar is one shard
LARGEST = 1 << 28  # bytes of a member of a tar
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
Found = tuple[str, str]  # path, and why the file must not be read ("" = it may)


@dataclass(frozen=True)
class Item:
    """Describe one image: `size` bytes of `file` from `start` on. A size below 0 means the whole file.

    `fault`: why it must not be read, "" where it may be.
    """

    name: str
    file: str
    start: int = 0
    size: int = -1
    fault: str = ""

    @property
    def whole(self) -> bool:
        """Return whether it is a file of its own."""
        return self.size < 0

    def read(self) -> bytes:
        """Return the encoded image. Raises OSError where the file is gone, or shorter than its tar said."""
        with open(self.file, "rb") as stream:
            stream.seek(self.start)
            data = stream.read(self.size)
        if 0 <= self.size != len(data):
            raise OSError("the tar ends within this image")
        return data


@dataclass(frozen=True)
class Shard:
    """Describe a piece of the pool.

    `identity` names it and what it holds; `files` are the images, those of a tar are not known before `items`.
    """

    identity: str
    tar: str = ""
    files: tuple[Found, ...] = ()

    def items(self) -> list[Item]:
        """Return its images in a fixed order. Raises DataError for a tar that is damaged or unsafe."""
        return _members(self.tar) if self.tar else [Item(file, file, fault=fault) for file, fault in self.files]


def shards(sources: Sequence[str | os.PathLike[str]]) -> list[Shard]:
    """Return the shards of all sources, in an order that does not depend on that of the sources.

    A source is a folder (every image and every .tar anywhere under it; hidden files are left out), a list file as
    recipes name them (labels are not looked at), or a .tar. Raises DataError for a source that is none of them, holds
    no image, or is a compressed tar.
    """
    found: dict[str, Shard] = {}
    for source in sources:
        path = Path(os.path.abspath(source))
        if path.name.lower().endswith(PACKED):
            raise DataError(f"{source}: a compressed tar cannot be read at any place; unpack it to a .tar")
        if path.is_dir():
            pieces = [*_folder(path)]
        elif path.suffix.lower() == ".tar" and path.is_file():
            pieces = [_tar(path)]
        elif path.is_file():
            files = read_list(path, path.parent)
            pieces = [*_pieces(path, [(os.path.abspath(files.path(i)), "") for i in range(len(files))])]
        else:
            raise DataError(f"{source}: no such folder, list file or .tar; {data_root_said(source)}check the path")
        if not pieces:
            raise DataError(f"{source}: no image and no .tar in it; give the folder of the images")
        found |= {piece.identity: piece for piece in pieces}
    return [found[identity] for identity in sorted(found)]


def _folder(root: Path) -> Iterator[Shard]:
    """Links are kept inside: one that leads out of the source, or to a folder, becomes an item that is not read."""
    files: list[Found] = []
    real = os.path.realpath(root)
    for here, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not hidden(name))
        linked = [name for name in folders if os.path.islink(os.path.join(here, name))]
        files += [(os.path.join(here, name), "a link to a folder is not followed") for name in linked]
        for name in names:
            path = os.path.join(here, name)
            if hidden(name) or not name.lower().endswith((*SUFFIXES, *NOT_READ, ".tar")):
                continue
            if path != path.strip() or "\n" in path or "\r" in path:
                files.append((path, "a list file cannot hold this name"))
            elif os.path.islink(path) and os.path.commonpath((real, os.path.realpath(path))) != real:
                files.append((path, "a link that leads out of the source"))
            elif name.lower().endswith(NOT_READ):
                files.append((path, f"{Path(name).suffix.lower()} is not read; save it as PNG or JPEG"))
            elif name.lower().endswith(".tar"):
                yield _tar(Path(path))
            else:
                files.append((path, ""))
    yield from _pieces(root, sorted(files))


def _pieces(source: Path, files: list[Found]) -> Iterator[Shard]:
    for number, start in enumerate(range(0, len(files), SHARD)):
        piece = tuple(files[start : start + SHARD])
        names = "\n".join(name for name, _ in piece).encode("utf-8", "surrogateescape")
        yield Shard(f"{source}#{number:06d}:{sha256(names).hexdigest()[:16]}", files=piece)


def _tar(path: Path) -> Shard:
    return Shard(f"{path}:{path.stat().st_size}", tar=str(path))


def _members(tar: str) -> list[Item]:
    items = []
    try:
        with ArchiveHeaders(tar) as headers, tarfile.open(fileobj=headers, mode="r:") as archive:
            for member in archive:
                parts = member.name.split("/")
                inside = [part for part in parts if part not in (".", "")]
                if member.name.startswith("/") or ".." in parts:
                    raise DataError(f"{tar}: member {member.name!r} leads out of the tar; do not trust this file")
                if parts[-1].lower().endswith(SUFFIXES) and not any(map(hidden, inside)) and not member.isdir():
                    name = f"{tar}:{member.name}"
                    items.append(Item(name, tar, member.offset_data, member.size, _fault(member)))
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{tar}: damaged or not a tar ({' '.join(str(error).split())}); fetch it again") from None
    return items


def _fault(member: tarfile.TarInfo) -> str:
    if not member.isreg() or member.issparse():
        return "a link or another special member of a tar"
    return f"larger than {LARGEST >> 20} MiB" if member.size > LARGEST else ""
