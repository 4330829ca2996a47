"""Finish a batch on a CPU in compiled code: decoded images are resized, cut, flipped, normalised and erased.

It takes a fifth of the time of DALI's resize and NumPy's normalisation, for the same bits. resample.c is compiled for
this processor when it is first needed, compared with the installed DALI, and kept in `paths.cache_root()` with its
sha256 behind it. What is kept there is loaded only while it is whole and nobody else can have changed it; otherwise it
is compiled anew. Where that cannot be done, one line says why and DALI resizes. A GPU has no use for it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from nvidia import dali
from nvidia.dali import fn, types

from ssld import paths
from ssld.data.graph import INTERPOLATION
from ssld.data.normalise import empty, scaling
from ssld.files import alone, clear, whole
from ssld.spec.printable import printable

SOURCE = Path(__file__).with_suffix(".c")
COMPILERS = ("cc", "gcc", "clang")  # the first that is installed, unless $CC names one
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno", "-fPIC", "-shared")
SEAL = hashlib.sha256().digest_size  # bytes of the sha256 behind the compiled code
JOB = 11  # numbers of int32 that one image's `struct job` of resample.c has
IMAGE = np.dtype([("pixels", np.uintp), ("height", np.int32), ("width", np.int32)])  # its `struct image`

Resample = Callable[[Sequence[np.ndarray], np.ndarray, np.ndarray], None]


class Missing(Exception):
    """Say why compiled code cannot be used, and what to do."""


def jobs(
    count: int, resized: Any, corner: Any = 0, flip: Any = 0, erase_anchor: Any = 0, erase_shape: Any = 0,
    shift: Any = 0,
) -> np.ndarray:  # fmt: skip
    """Return what is to be done with each of `count` images, int32 [n, JOB].

    An image is resized to (height, width); a square is cut out from its top-left corner; pixel (y, x) of it becomes
    that at (y, x) + `shift`, black outside; it is mirrored from left to right unless `flip` is 0; a box of whole pixels
    in it is erased.
    """
    table = np.empty((count, JOB), dtype=np.int32)
    table[:, 0:2] = resized
    table[:, 2:4] = corner
    table[:, 4] = flip
    table[:, 5:7] = erase_anchor
    table[:, 7:9] = erase_shape
    table[:, 9:11] = shift
    return table


def resampler(interpolation: str, mean: Sequence[float], std: Sequence[float], threads: int) -> Resample | None:
    """Return a function (images, jobs, out), or None where compiled code cannot be used; then a line has said why.

    images: uint8 [h, w, 3] each, RGB; jobs: see `jobs`; out, to fill: float32 [n, 3, size, size], (pixel - mean) / std;
    or uint8 [n, size, size, 3], resized and cut alone. mean, std: of RGB in 0..1.
    """
    library = _library()
    return None if library is None else _bound(library, interpolation, mean, std, threads)


def _bound(library: Any, interpolation: str, mean: Sequence[float], std: Sequence[float], threads: int) -> Resample:
    middle, scale = scaling(mean, std)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ssld-resample") if threads > 1 else None

    def part(images: Sequence[np.ndarray], jobs: np.ndarray, out: np.ndarray) -> None:
        structs = np.array([(image.ctypes.data, *image.shape[:2]) for image in images], dtype=IMAGE)
        look = (middle.ctypes.data, scale.ctypes.data) if out.dtype == np.float32 else (None, None)
        shape = (len(images), out.shape[2], int(interpolation == "cubic"))
        if library.ssld_resample(structs.ctypes.data, jobs.ctypes.data, *shape, *look, out.ctypes.data):
            raise MemoryError(f"resizing {len(images)} images")

    def resample(images: Sequence[np.ndarray], jobs: np.ndarray, out: np.ndarray) -> None:
        if pool is None:
            part(images, jobs, out)
            return
        edges = np.linspace(0, len(images), threads + 1).astype(int).tolist()
        list(pool.map(lambda a, b: part(images[a:b], jobs[a:b], out[a:b]), edges[:-1], edges[1:]))

    return resample


def finish(resample: Resample, size: int) -> Callable[[Sequence[Any]], Any]:
    """Return a function from the outputs of `graph.decode_graph` to a Paddle tensor of finished images."""

    def to_paddle(outputs: Sequence[Any]) -> Any:
        decoded, job_list = outputs  # valid until the graph runs again
        finished = empty((len(decoded), 3, size, size))
        resample(_arrays(decoded), _array(job_list), finished)
        return paddle.utils.dlpack.from_dlpack(finished)

    return to_paddle


def hand_on(resample: Resample, size: int) -> Callable[[Sequence[Any]], tuple[np.ndarray, ...]]:
    """Return a function from the outputs of `graph.decode_graph` to what `graph.train_graph` takes with `resized`."""

    def to_graph(outputs: Sequence[Any]) -> tuple[np.ndarray, ...]:
        decoded, job_list, *more = outputs
        resized = np.empty((len(decoded), size, size, 3), dtype=np.uint8)
        resample(_arrays(decoded), _array(job_list), resized)
        return (resized, *map(_array, more))

    return to_graph


def _arrays(decoded: Any) -> list[np.ndarray]:
    return [np.asarray(decoded[i]) for i in range(len(decoded))]


def _array(output: Any) -> np.ndarray:
    return np.asarray(output.as_tensor())


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        return library()
    except (Missing, OSError, RuntimeError) as error:  # RuntimeError: no home folder
        reason = str(error)
        if not isinstance(error, Missing):
            what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else reason
            reason = f"{what}; set XDG_CACHE_HOME to a folder for compiled code"
        _tell(f"images are resized by DALI, for the same pixels in more time: {reason}")
        return None


def _tell(line: str) -> None:
    """Write a line on standard error, of several ranks once."""
    if os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        sys.stderr.write(f"{printable(line)}\n")


def library() -> Any:
    """Return the compiled code, from the cache, or compiled and compared with DALI.

    It raises Missing or OSError where that cannot be done.
    """
    place = paths.cache_root() / "compiled" / f"{_key()}.so"
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(place.parent):  # of several ranks one compiles
        reason = distrust(place) if os.path.lexists(place) else ""
        if reason:
            _tell(f"{place}: {reason}; it is compiled anew")
        if reason is not None:
            clear(place.parent)
            with whole(place) as partial:
                _compile(partial)
                if not agrees(_opened(partial)):
                    what = f"DALI {dali.__version__} rounds otherwise than {SOURCE.name}"
                    raise Missing(f"{what}; use the version of setup.py")
                with open(partial, "ab") as stream:  # what is loaded may grow, but not change
                    stream.write(hashlib.sha256(partial.read_bytes()).digest())
                partial.chmod(0o700)
            if reason := distrust(place):
                raise Missing(f"{place}: {reason}; set XDG_CACHE_HOME to a folder of your own")
    return _opened(place)


def distrust(file: Path) -> str | None:
    """Return, in words, why compiled code is not loaded, or None where it may be.

    It may be where file and folder belong to the user of this process, nobody else can write to them, and the file ends
    with the sha256 of what stands before it. Loading half a library would end the process with a signal.
    """
    if not stat.S_ISREG(file.lstat().st_mode):
        return "it is no file"
    for path in (file.parent, file):
        state = path.lstat()
        if state.st_uid != os.geteuid():
            return f"{path.name} belongs to another user"
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"other users can write to {path.name} (mode {stat.S_IMODE(state.st_mode):o})"
    content = file.read_bytes()
    if hashlib.sha256(content[:-SEAL]).digest() != content[-SEAL:]:
        return "it is damaged (sha256)"
    return None


def _key() -> str:
    """Return a key of all that the compiled code and its agreement depend on."""
    description = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    processor = sorted(line for line in description if line.startswith(("model name", "flags", "Features", "CPU p")))
    parts = [SOURCE.read_bytes(), repr((FLAGS, dali.__version__, processor, SEAL)).encode()]
    return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


def _compile(to: Path) -> None:
    compiler = shlex.split(os.environ.get("CC", "")) or [name for name in COMPILERS if shutil.which(name)][:1]
    if not compiler:
        raise Missing(f"no C compiler ({', '.join(COMPILERS)}); install one or set CC")
    command = [*compiler, *FLAGS, str(SOURCE), "-o", str(to), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{compiler[0]} does not run ({error}); set CC to a C compiler") from None
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}")
        raise Missing(f"{compiler[0]} cannot compile {SOURCE.name} ({reason.strip()}); set CC to another one")


def _opened(file: Path) -> Any:
    opened = ctypes.CDLL(str(file))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    opened.ssld_resample.argtypes = [pointer, pointer, number, number, number, pointer, pointer, pointer]
    return opened


def agrees(library: Any) -> bool:
    """Say whether the library gives the bits of DALI's resize for noisy images, shrunk and enlarged.

    Every fourth is shrunk to half its size, where many sums end in one half.
    """
    rng = np.random.default_rng(0)
    count, size = 64, 96
    resized = rng.integers(size, 3 * size, (count, 2))
    sizes = np.where(np.arange(count)[:, None] % 4, rng.integers(8, 6 * size, (count, 2)), 2 * resized)
    corner = rng.integers(0, resized - size + 1)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in sizes]
    for interpolation in INTERPOLATION:
        finished = np.empty((count, 3, size, size), dtype=np.float32)
        _bound(library, interpolation, (0, 0, 0), (1 / 255,) * 3, 1)(images, jobs(count, resized, corner), finished)
        by_dali = resized_by_dali(images, resized, interpolation)
        for image, (top, left), reference in zip(finished, corner, by_dali, strict=True):
            if not np.array_equal(image.transpose(1, 2, 0), reference[top : top + size, left : left + size]):
                return False
    return True


def resized_by_dali(images: Sequence[np.ndarray], resized: np.ndarray, interpolation: str) -> list[np.ndarray]:
    """Resize images by the resize of `graph`: uint8 [h, w, 3] each."""

    @dali.pipeline_def(batch_size=len(images), num_threads=1, device_id=None, prefetch_queue_depth=1)
    def graph() -> Any:
        arrays = (images, list(resized.astype(np.float32)))
        image, shape = fn.external_source(
            lambda: arrays, num_outputs=2, batch=True, dtype=[types.UINT8, types.FLOAT], ndim=[3, 1], layout=["HWC", ""]
        )
        return fn.resize(image, size=shape, interp_type=INTERPOLATION[interpolation], antialias=True)

    pipe = graph()
    pipe.build()
    (outputs,) = pipe.run()
    return [np.array(outputs[i]) for i in range(len(images))]
