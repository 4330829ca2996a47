"""This module fetches published weights.

A file in the weights folder is whole and the expected one, or there is an error.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ssld import __version__
from ssld.errors import SsldError, WeightsError
from ssld.files import flush, read_json, sha256, write_json
from ssld.progress import Bar, note, progress
from ssld.weights import first_checksums

TRIES = 5  # a connection that fails or is cut is tried so often
WAIT = 1.0  # seconds before the second try, doubled each time
TIMEOUT = 60.0  # seconds without a byte after which a connection counts as cut
_BLOCK = 1 << 20

Answer = http.client.HTTPResponse | urllib.error.HTTPError
"""What a server answers; an error has the same parts."""


@dataclass(frozen=True)
class Published:
    """One file of weights that somebody published, and the sha256 that its card states, if it states one.

    `name` is what `ssld weights fetch` was asked for.
    """

    name: str
    url: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        """The published name of the file."""
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


def fetch(
    published: Published, folder: Path, checksum_file: Path, mirror: str | None = None, offline: bool = False
) -> dict[str, Any]:
    """Bring a file into `folder`, from `mirror` (a folder or a base address) or from its publisher; go on where one was
    cut.

    Returns file, sha256, bytes and status. The sha256 has to be the card's, or, where the card has none, the one that
    `checksum_file` recorded at the first time. A file of another one is kept beside as `.rejected`: where it was there
    already, it is fetched again. Raises WeightsError where what was fetched is another one, when the file cannot be
    had, and with `offline` instead of using a network.
    """
    path = folder / published.file
    if not published.file.strip("."):
        raise WeightsError(f"{published.name}: {published.url} names no file; mend the card")
    first_checksums.read(checksum_file)  # a damaged file is noticed before anything is downloaded
    if path.is_file():
        try:
            return _accept(path, path, published, checksum_file, "already there")
        except _Refused as error:
            if offline:
                raise
            note(f"{error.what}; it is fetched again")
    source = f"{mirror.rstrip('/')}/{published.file}" if mirror else published.url
    remote = source.startswith(("http://", "https://"))
    if remote and offline:
        raise WeightsError(
            f"{path}: is not there, and offline nothing is downloaded; `ssld weights fetch {published.name}` gets it "
            f"where there is a network, and --mirror names a folder that holds it"
        )
    part = path.with_name(path.name + ".part")
    with _locked(part):
        if remote:
            _download(source, part)
            _notes(part).unlink(missing_ok=True)
        else:
            _copy(Path(source), part)
        return _accept(part, path, published, checksum_file, "downloaded" if remote else "copied")


class _Refused(WeightsError):
    """The content of a file is not the expected one."""

    def __init__(self, what: str):
        super().__init__(f"{what}; find out which is right before you use it or change the sha256")
        self.what = what


def _accept(part: Path, path: Path, published: Published, checksum_file: Path, status: str) -> dict[str, Any]:
    """Check a whole file, record its sha256 if there is none yet, and give it its name."""
    checksums = first_checksums.read(checksum_file)
    digest, size = sha256(part), part.stat().st_size
    expected, authority = published.sha256, "its card"
    if not expected and published.url in checksums:
        expected, authority = checksums[published.url]["sha256"], str(checksum_file)
    if digest != expected:
        other = next((url for url, pin in checksums.items() if pin["sha256"] == digest), None)
        if other and part == path:
            raise WeightsError(f"{path}: is the file of {other}; give another --out for {published.url}")
        if expected:
            rejected = path.with_name(path.name + ".rejected")
            with _disk(rejected):
                os.replace(part, rejected)
            what = f"{path}: sha256 {digest} is not {expected} of {authority}: refused and kept as {rejected.name}"
            raise _Refused(what)
        first_checksums.add(checksum_file, published.url, digest, size)
    if part != path:
        with _disk(path):
            flush(part)
            os.replace(part, path)
            flush(path.parent)
    return {"file": str(path), "status": status, "url": published.url, "sha256": digest, "bytes": size}


def _copy(source: Path, part: Path) -> None:
    """Copy a file of a mirror that is a folder."""
    if not source.is_file():
        raise WeightsError(f"{source}: the mirror has no such file; put it there or leave the mirror out")
    with _disk(part):
        shutil.copyfile(source, part)


class _Cut(Exception):
    """The connection failed in a way in which another try may not fail."""


def _download(url: str, part: Path) -> None:
    """Bring `part` to the whole content of an address, from where it ends. Raises WeightsError when that fails."""
    for number in range(TRIES):
        try:
            return _go_on(url, part)
        except _Cut as error:
            size = part.stat().st_size if part.exists() else 0
            if number == TRIES - 1:
                raise WeightsError(f"{url}: {error}; {size:,} bytes are kept: the same command goes on there") from None
            wait = WAIT * 2**number
            note(f"{url}: {error}; goes on at byte {size:,} in {wait:.0f} s")
            time.sleep(wait)


def _go_on(url: str, part: Path) -> None:
    """Receive what is missing of a file, or all of it where the server cannot continue or has another file now."""
    size, old_identity = _bytes_and_identity(url, part)
    if size and size == old_identity["bytes"]:
        return
    with _open(url, size) as answer:
        new_identity = _identity(url, answer)
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        resumed = goes_on and new_identity == old_identity
        if size and not resumed:
            why = "the file changed since" if new_identity != old_identity else "the server cannot go on within a file"
            note(f"{url}: {why}; starting over")
            with _disk(part):
                part.unlink()
            if answer.status != 200:  # this answer is not the whole file
                return _go_on(url, part)
        with _disk(part):
            write_json(_notes(part), new_identity)
        _receive(answer, part, size if resumed else 0, new_identity["bytes"])


def _bytes_and_identity(url: str, part: Path) -> tuple[int, dict[str, Any]]:
    """Return the bytes that are there, and what the server said of the file then; nothing counts without both."""
    try:
        identity = read_json(_notes(part), "")
        size = part.stat().st_size
    except (OSError, SsldError):
        return 0, {}
    return (size, identity) if identity.get("url") == url else (0, {})


def _notes(part: Path) -> Path:
    """Return the file beside a partial file that says what the server said of it."""
    return part.with_name(part.name + ".json")


def _identity(url: str, answer: Answer) -> dict[str, Any]:
    """Return what tells one content of an address from another; `bytes` is the size of the whole, or None."""
    size = answer.headers.get("Content-Length")
    if answer.status == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    tags = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
    return {"url": url, **tags, "bytes": int(size) if size and size.isdecimal() else None}


def _open(url: str, start: int) -> Answer:
    """Ask for an address from byte `start` on."""
    headers = {"User-Agent": f"ssld/{__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the file is shorter than the part that is here
            return error
        error.close()
        message = f"the server says {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise _Cut(message) from None
        raise WeightsError(f"{url}: {message}; check the card's address, or give --mirror") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"no connection ({getattr(error, 'reason', error)})") from None


def _receive(answer: Answer, part: Path, start: int, total: int | None) -> None:
    """Write the content of an answer to the partial file. Raises _Cut where less than `total` bytes arrive."""
    bar = progress((total or 0) // 1_000_000, part.stem, start // 1_000_000, unit="MB")
    with _disk(part), part.open("ab" if start else "wb") as file, bar:
        received = _pump(answer, file, bar, start)
        if total is not None and received != total:
            raise _Cut(f"cut after {received:,} of {total:,} bytes")


def _pump(answer: Answer, file: IO[bytes], bar: Bar, received: int) -> int:
    """Write blocks until the answer ends, and return the bytes that the file then has."""
    while True:
        try:
            block = answer.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"cut after {received:,} bytes ({type(error).__name__})") from None
        if not block:
            return received
        file.write(block)
        received += len(block)
        bar.update(received // 1_000_000)


@contextmanager
def _disk(file: Path) -> Iterator[None]:
    """Turn an OSError of the disk into a WeightsError."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written ({error.strerror or error}); make room and repeat") from None


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Let one process at a time write a file. Raises WeightsError where another one does."""
    with _disk(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        lock = part.with_name(f".{part.name}.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WeightsError(f"{part}: another process downloads it; wait for it") from None
        try:
            yield
        finally:
            Path(lock.name).unlink(missing_ok=True)
