"""This module fetches published weights.

A file in the weights folder is whole and the expected one, or there is an error. A server is not trusted: what it may
send has a limit of size and of time, and a file whose checksum nobody states has to hold weights before its checksum is
recorded for good.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from ssld import __version__
from ssld.errors import SsldError, WeightsError
from ssld.files import flush, read_json, sha256, write_json
from ssld.progress import Bar, note, progress
from ssld.spec.names import fault_of
from ssld.weights import first_checksums, store

TRIES = 5  # a connection that fails or is cut is tried so often
WAIT = 1.0  # seconds before the second try, doubled each time
TIMEOUT = 60.0  # seconds without a byte after which a connection counts as cut
LONGEST = 12 * 3600.0  # seconds that a file may take in one command
LARGEST = 16 << 30  # bytes of a file: five times the largest published one, ResNeXt101_32x48d_wsl
REDIRECTS = (301, 302, 303, 307, 308)
HOPS = 5  # an address is redirected so often at most
_BLOCK = 1 << 20

Answer = http.client.HTTPResponse | urllib.error.HTTPError
"""What a server answers; an error has the same parts."""


@dataclass(frozen=True)
class Published:
    """Describe a file of weights that somebody published, with the sha256 that its card states, if it states one.

    `name` is what `ssld weights fetch` was asked for.
    """

    name: str
    url: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        """Return the published name of the file."""
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
    path = folder / _file_name(published)
    first_checksums.read(checksum_file)  # a damaged file is noticed before anything is downloaded
    if path.is_file():
        try:
            return _accept(path, path, published, checksum_file, "already there")
        except _Refused as error:
            if offline:
                raise
            note(f"{error.what}; it is fetched again")
    remote = _is_remote(mirror or published.url)
    name = quote(path.name) if remote else path.name
    source = f"{mirror.rstrip('/')}/{name}" if mirror else published.url
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


def _file_name(published: Published) -> str:
    """Return the published name of the file. Raises WeightsError where the address has none that a folder can hold."""
    try:
        fault = fault_of(published.file)
    except ValueError as error:
        fault = f"cannot be read ({error})"
    if fault:
        raise WeightsError(f"{published.name}: {published.url}: the name of the file {fault}; mend the card")
    return published.file


def _is_remote(source: str) -> bool:
    """Tell an address from a folder."""
    return source.lower().startswith(("http://", "https://"))


def _accept(part: Path, path: Path, published: Published, checksum_file: Path, status: str) -> dict[str, Any]:
    """Check a whole file, record its sha256 if there is none yet, and give it its name.

    A file that is pinned now has to hold weights: what a server sends in place of a file is not pinned for good.
    """
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
            what = f"{path}: sha256 {digest} is not {expected} of {authority}"
            raise _Refused(f"{what}: refused and kept as {_rejected(part, path)}")
        try:
            store.contents(part, path.suffix)
        except WeightsError as error:
            reason = str(error).removeprefix(f"{part}: ")
            raise WeightsError(
                f"{path}: no weights, refused and kept as {_rejected(part, path)}: {reason}; "
                f"look at it, and check {published.url}"
            ) from None
        first_checksums.add(checksum_file, published.url, digest, size)
    if part != path:
        with _disk(path):
            flush(part)
            os.replace(part, path)
            flush(path.parent)
    return {"file": str(path), "status": status, "url": published.url, "sha256": digest, "bytes": size}


def _rejected(part: Path, path: Path) -> str:
    """Put a file that is refused aside, and return its new name."""
    rejected = path.with_name(path.name + ".rejected")
    with _disk(rejected):
        os.replace(part, rejected)
    return rejected.name


def _copy(source: Path, part: Path) -> None:
    """Copy a file of a mirror that is a folder."""
    if not source.is_file():
        raise WeightsError(f"{source}: the mirror has no such file; put it there or leave the mirror out")
    with _disk(part):
        shutil.copyfile(source, part)


class _Cut(Exception):
    """Say that the connection failed in a way in which another try may not fail."""


class _Limit:
    """The time that one file may take. When it is over, the connection ends, wherever it waits."""

    def __init__(self, seconds: float):
        self.over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._socket: socket.socket | None = None

    def __enter__(self) -> _Limit:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._forget()

    def connect(self, *arguments: Any, **options: Any) -> socket.socket:
        """Do what `socket.create_connection` does, and keep a second handle of the connection."""
        connection = socket.create_connection(*arguments, **options)
        self._forget()
        self._socket = connection.dup()
        if self.over:
            raise TimeoutError("the time is over")
        return connection

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _end(self) -> None:
        self.over = True
        if self._socket is not None:
            with suppress(OSError):  # it has ended already
                self._socket.shutdown(socket.SHUT_RDWR)


def _download(url: str, part: Path) -> None:
    """Bring `part` to the whole content of an address, from where it ends. Raises WeightsError when that fails."""
    with _Limit(LONGEST) as limit:
        for number in range(TRIES):
            try:
                return _go_on(url, part, limit)
            except _Cut as error:
                size = part.stat().st_size if part.exists() else 0
                kept = f"{size:,} bytes are kept: the same command goes on there"
                if limit.over:
                    raise WeightsError(f"{url}: not whole after {LONGEST / 3600:g} hours; {kept}") from None
                if number == TRIES - 1:
                    raise WeightsError(f"{url}: {error}; {kept}") from None
                wait = WAIT * 2**number
                note(f"{url}: {error}; goes on at byte {size:,} in {wait:.0f} s")
                time.sleep(wait)


def _go_on(url: str, part: Path, limit: _Limit) -> None:
    """Receive what is missing of a file, or all of it where the server cannot continue or has another file now."""
    size, old_identity = _bytes_and_identity(url, part)
    if size and size == old_identity["bytes"]:
        return
    with _open(url, size, limit) as answer:
        new_identity = _identity(url, answer)
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        resumed = goes_on and new_identity == old_identity
        if size and not resumed:
            why = "the file changed since" if new_identity != old_identity else "the server cannot go on within a file"
            note(f"{url}: {why}; starting over")
            with _disk(part):
                part.unlink()
            if answer.status != 200:  # this answer is not the whole file
                return _go_on(url, part, limit)
        _check_answer(url, answer, 206 if resumed else 200)
        with _disk(part):
            write_json(_notes(part), new_identity)
        _receive(answer, part, size if resumed else 0, new_identity["bytes"], limit)


def _check_answer(url: str, answer: Answer, expected: int) -> None:
    """Raise WeightsError unless the content of an answer is bytes of the file, as it was published."""
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise WeightsError(f"{url}: the server sends it compressed ({coding[:40]}); give --mirror")
    if answer.status != expected:
        raise WeightsError(f"{url}: the server says {answer.status} and sends no whole file; give --mirror")
    if (_identity(url, answer)["bytes"] or 0) > LARGEST:
        raise _too_large(url)


def _too_large(url: str) -> WeightsError:
    return WeightsError(f"{url}: more than {LARGEST:,} bytes, which no weights have; check the address")


def _bytes_and_identity(url: str, part: Path) -> tuple[int, dict[str, Any]]:
    """Return the bytes that are there, and what the server said of the file then; nothing counts without both."""
    try:
        identity = read_json(_notes(part), "")
        size = part.stat().st_size
    except (OSError, SsldError):
        return 0, {}
    return (size, identity) if identity.get("url") == url and "bytes" in identity else (0, {})


def _notes(part: Path) -> Path:
    """Return the file beside a partial file that says what the server said of it."""
    return part.with_name(part.name + ".json")


def _identity(url: str, answer: Answer) -> dict[str, Any]:
    """Return what tells one content of an address from another; `bytes` is the size of the whole, or None."""
    size = answer.headers.get("Content-Length") or ""
    if answer.status == 206:
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
    tags = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
    is_number = size.isascii() and size.isdecimal() and len(size) < 20
    return {"url": url, **tags, "bytes": int(size) if is_number else None}


def _open(url: str, start: int, limit: _Limit) -> Answer:
    """Ask for an address from byte `start` on, and for those that it is redirected to."""
    address = url
    for _ in range(HOPS):
        answer = _ask(address, start, limit)
        if answer.status not in REDIRECTS:
            return answer
        with answer:
            address = _redirected(address, answer.headers.get("Location", ""))
    raise WeightsError(f"{url}: is redirected more than {HOPS} times; check the address, or give --mirror")


def _redirected(address: str, location: str) -> str:
    """Return where an address is redirected to. Raises WeightsError where that is less safe, or no address."""
    try:
        target = urljoin(address, location)
        schemes = urlsplit(address).scheme, urlsplit(target).scheme
    except ValueError as error:
        raise WeightsError(f"{address}: is redirected to what is no address ({error}); give --mirror") from None
    if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
        where = schemes[1][:20] or "no address"
        raise WeightsError(f"{address}: is redirected to {where}, which is not as safe; give --mirror")
    return target


def _ask(url: str, start: int, limit: _Limit) -> Answer:
    """Ask for one address from byte `start` on. Redirections and the status 416 are answers too."""
    headers = {"User-Agent": f"ssld/{__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={start}-"} if start else {}
    try:
        return _opener(limit).open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        # 416: the file is shorter than the part that is here
        if error.code in REDIRECTS or (error.code == 416 and start):
            return error
        error.close()
        message = f"the server says {error.code} {_line(error.reason)}"
        if error.code in (408, 429) or error.code >= 500:
            raise _Cut(message) from None
        raise WeightsError(f"{url}: {message}; check the card's address, or give --mirror") from None
    except (ValueError, OverflowError, http.client.InvalidURL) as error:
        raise WeightsError(f"{url}: is no address ({_line(error)}); mend the card, or --mirror") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"no connection ({_line(getattr(error, 'reason', error))})") from None


def _opener(limit: _Limit) -> urllib.request.OpenerDirector:
    """Return what opens addresses within a limit of time. It follows no redirection."""

    def made(kind: type[http.client.HTTPConnection]) -> Any:
        def connection(*arguments: Any, **options: Any) -> http.client.HTTPConnection:
            new = kind(*arguments, **options)
            new._create_connection = limit.connect  # type: ignore[attr-defined]  # the only way below TLS
            return new

        return connection

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(made(http.client.HTTPConnection), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(made(http.client.HTTPSConnection), request)

    class Stay(urllib.request.HTTPRedirectHandler):
        def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> None:
            """Do nothing: the inherited method reads whatever a server sends beside a redirection."""

        http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    return urllib.request.build_opener(Http, Https, Stay)


def _line(reason: object) -> str:
    """Return a reason on one line, of a length that can be read."""
    text = " ".join(str(reason).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def _receive(answer: Answer, part: Path, start: int, total: int | None, limit: _Limit) -> None:
    """Write the content of an answer to the partial file.

    Raises _Cut where less than `total` bytes arrive, or the time is over; WeightsError where more than LARGEST do.
    """
    bar = progress((total or 0) // 1_000_000, part.stem, start // 1_000_000, unit="MB")
    with _disk(part), part.open("ab" if start else "wb") as file, bar:
        received = _pump(answer, file, bar, start, total)
        if limit.over or (total is not None and received != total):
            raise _Cut(f"cut after {received:,} of {total or received:,} bytes")
    if received > LARGEST:
        part.unlink()
        raise _too_large(answer.geturl())


def _pump(answer: Answer, file: IO[bytes], bar: Bar, received: int, total: int | None) -> int:
    """Write blocks until the answer ends or is too large, and return the bytes that the file then has."""
    while received <= LARGEST and received != total:
        try:
            block = answer.read1(_BLOCK)  # `read` believes the size of a chunk, whatever it is
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Cut(f"cut after {received:,} bytes ({type(error).__name__})") from None
        if not block:
            break
        file.write(block)
        received += len(block)
        bar.update(received // 1_000_000)
    return received


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
