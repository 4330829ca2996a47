"""Published weights -> a file in the weights folder that is whole and the one that was pinned, or an error."""

from __future__ import annotations

import fcntl
import http.client
import json
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
from ssld.errors import WeightsError
from ssld.files import flush, sha256
from ssld.progress import Bar, note, progress
from ssld.weights import pins

TRIES = 5  # of a connection that fails or is cut
WAIT = 1.0  # seconds before the second one, doubled each time
TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Published:
    """One file of weights that somebody published, and the sha256 that its card states, if any.

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
    wanted: Published, folder: Path, pinned: Path, mirror: str | None = None, offline: bool = False
) -> dict[str, Any]:
    """Bring a file into `folder`, from `mirror` (a folder or a base address) or else its publisher; resumes.

    Returns file, sha256, bytes and status. The sha256 has to be the card's, else the one that the file `pinned` noted
    at the first time. Raises WeightsError when it is not (the file is then kept beside as `.rejected`), when the file
    cannot be had, and with `offline` instead of using a network.
    """
    path = folder / wanted.file
    if not wanted.file.strip("."):
        raise WeightsError(f"{wanted.name}: {wanted.url} names no file; mend the card")
    pins.read(pinned)  # a damaged one is found before anything is downloaded
    if path.is_file():
        return _accept(path, path, wanted, pinned, "already there")
    source = f"{mirror.rstrip('/')}/{wanted.file}" if mirror else wanted.url
    remote = source.startswith(("http://", "https://"))
    if remote and offline:
        raise WeightsError(
            f"{path}: is not there, and offline nothing is downloaded; `ssld weights fetch {wanted.name}` gets it "
            f"where there is a network, and --mirror names a folder that holds it"
        )
    part = path.with_name(path.name + ".part")
    with _locked(part):
        if remote:
            _download(source, part)
            _notes(part).unlink(missing_ok=True)
        else:
            _copy(Path(source), part)
        return _accept(part, path, wanted, pinned, "downloaded" if remote else "copied")


def _accept(part: Path, path: Path, wanted: Published, pinned: Path, status: str) -> dict[str, Any]:
    """Check a whole file, pin it if nobody did, and give it its name."""
    known = pins.read(pinned)
    digest, size = sha256(part), part.stat().st_size
    expected, said_by = wanted.sha256, "its card"
    if not expected and wanted.url in known:
        expected, said_by = known[wanted.url]["sha256"], str(pinned)
    if digest != expected:
        other = next((url for url, pin in known.items() if pin["sha256"] == digest), None)
        if other and part == path:
            raise WeightsError(f"{path}: is the file of {other}; give another --out for {wanted.url}")
        if expected:
            rejected = path.with_name(path.name + ".rejected")
            with _disk(rejected):
                os.replace(part, rejected)
            raise WeightsError(
                f"{path}: sha256 {digest} is not {expected} of {said_by}: refused and kept as {rejected.name}; "
                "find out which is right before you use it or change the sha256"
            )
        pins.add(pinned, wanted.url, digest, size)
    if part != path:
        with _disk(path):
            flush(part)
            os.replace(part, path)
            flush(path.parent)
    return {"file": str(path), "status": status, "url": wanted.url, "sha256": digest, "bytes": size}


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise WeightsError(f"{source}: the mirror has no such file; put it there or leave the mirror out")
    with _disk(part):
        shutil.copyfile(source, part)


class _Cut(Exception):
    """The connection failed in a way that another try may not."""


def _download(url: str, part: Path) -> None:
    """Bring `part` to the whole content of an address, from where it ends. Raises WeightsError when that fails."""
    for number in range(TRIES):
        try:
            return _go_on(url, part)
        except _Cut as error:
            have = part.stat().st_size if part.exists() else 0
            if number == TRIES - 1:
                raise WeightsError(f"{url}: {error}; {have:,} bytes are kept: the same command goes on there") from None
            wait = WAIT * 2**number
            note(f"{url}: {error}; goes on at byte {have:,} in {wait:.0f} s")
            time.sleep(wait)


def _go_on(url: str, part: Path) -> None:
    have, before = _begun(url, part)
    if have and have == before["bytes"]:
        return
    with _open(url, have) as answer:
        now = _identity(url, answer)
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        resumed = goes_on and now == before
        if have and not resumed:
            why = "the file changed since" if now != before else "the server cannot go on within a file"
            note(f"{url}: {why}; starting over")
            with _disk(part):
                part.unlink()
            if answer.status != 200:  # the answer is not the whole file
                return _go_on(url, part)
        with _disk(part):
            _notes(part).write_text(json.dumps(now), encoding="utf-8")
        _receive(answer, part, have if resumed else 0, now["bytes"])


def _begun(url: str, part: Path) -> tuple[int, dict[str, Any]]:
    """(bytes that are there, what the server said of the file then); nothing counts without both."""
    try:
        before = json.loads(_notes(part).read_text(encoding="utf-8"))
        have = part.stat().st_size
    except (OSError, ValueError):
        return 0, {}
    return (have, before) if before.get("url") == url else (0, {})


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _identity(url: str, answer: Any) -> dict[str, Any]:
    """What tells one content of an address from another; `bytes` is the size of the whole, or None."""
    size = answer.headers.get("Content-Length")
    if answer.status == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    tags = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
    return {"url": url, **tags, "bytes": int(size) if size and size.isdecimal() else None}


def _open(url: str, start: int) -> Any:
    headers = {"User-Agent": f"ssld/{__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the file is shorter than what is there
            return error
        error.close()
        told = f"the server says {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise _Cut(told) from None
        raise WeightsError(f"{url}: {told}; check the card's address, or give --mirror") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"no connection ({getattr(error, 'reason', error)})") from None


def _receive(answer: Any, part: Path, start: int, total: int | None) -> None:
    bar = progress((total or 0) // 1_000_000, part.stem, start // 1_000_000, unit="MB")
    with _disk(part), part.open("ab" if start else "wb") as file, bar:
        done = _pump(answer, file, bar, start)
        if total is not None and done != total:
            raise _Cut(f"cut after {done:,} of {total:,} bytes")


def _pump(answer: Any, file: IO[bytes], bar: Bar, done: int) -> int:
    while True:
        try:
            block = answer.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"cut after {done:,} bytes ({type(error).__name__})") from None
        if not block:
            return done
        file.write(block)
        done += len(block)
        bar.update(done // 1_000_000)


@contextmanager
def _disk(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written ({error.strerror or error}); make room and repeat") from None


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """One process at a time writes a file."""
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
