"""Take images from anywhere: list files, arrays in memory, or a Python class or function of the user's.

The loaders see an `ImageSource` alone. `lists.FileList` is one; `from_arrays` and `from_samples` make the other one,
`Samples`. Every source has a fixed number of images in a fixed order, and an image is the same whenever it is read:
with that, batches are a pure function of (source, seed, step, batch), wherever the pixels come from.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image as pillow

from ssld.data.lists import UNLABELLED
from ssld.data.sampler import evenly
from ssld.errors import DataError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Image: TypeAlias = str | bytes | Pixels
"""Path of an image file; the bytes of one; or pixels, uint8 [H, W, 3] in the order R, G, B, or [H, W] of a grey image.
"""

MEMORY = 4 * 2**30  # bytes of images that are kept in memory unless the caller allows more
READ_TWICE = 4  # number of samples of which two reads are compared
ONE_AT_A_TIME = threading.RLock()  # user code may share files and buffers, also between two data sets
T = TypeVar("T")


class ImageSource(Protocol):
    """Say what a loader asks of a data set."""

    @property
    def labels(self) -> np.ndarray:
        """Return the labels, int64 [n]; -1 means unlabelled."""

    @property
    def title(self) -> str:
        """Return the data set's name in messages."""

    @property
    def remedy(self) -> str:
        """Say what the user can do about an image that cannot be read: the end of a message."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the name of one image in messages."""

    def image(self, index: int) -> Image:
        """Return one image.

        Reader threads call this. It raises DataError, which names the image, where it cannot be read.
        """

    def subset(self, index: np.ndarray) -> ImageSource:
        """Return the images at these positions (int64), in this order. They keep their names."""

    def digest(self) -> str:
        """Return a hexadecimal sha256 that names the data: other labels or other images have another one."""


@runtime_checkable
class Indexed(Protocol):
    """Describe a data set in the "map style": `samples[i]` is the i-th of `len(samples)` samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


@dataclass(frozen=True)
class Samples:
    """Hold the images of `from_arrays` or `from_samples`: an `ImageSource`.

    read: gives the image of a position in the whole data set; labels: int64 [n], -1 = unlabelled; title: the data set's
    name in messages; positions: int64 [n], where the images stand in the whole data set.
    """

    read: Callable[[int], Image]
    labels: np.ndarray
    title: str
    positions: np.ndarray

    @property
    def remedy(self) -> str:
        return "mend it or leave it out"

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, index: int) -> str:
        """Return `image 17 of TITLE`, counted from 0 in the whole data set, in a subset too."""
        return _name(int(self.positions[index]), self.title)

    def image(self, index: int) -> Image:
        """Return one image as the caller gave it.

        It raises DataError, which names the image, where the user's code reads the image and fails.
        """
        return self.read(int(self.positions[index]))

    def subset(self, index: np.ndarray) -> Samples:
        """Return the images at these positions, in this order."""
        return Samples(self.read, self.labels[index], self.title, self.positions[index])

    def digest(self) -> str:
        """Return sha256 over the labels and every image: pixels with their shape, encoded bytes, or the path.

        The content of a file that a sample names by its path is not read. Every image is read once, one after the
        other: keep the result.
        """
        content = hashlib.sha256(f"{len(self)} images\n".encode() + self.labels.astype("<i8").tobytes())
        for index in range(len(self)):
            image = self.image(index)
            if isinstance(image, np.ndarray):
                kind, data = f"pixels {image.shape}", image.tobytes()
            else:
                kind, data = ("path", os.fsencode(image)) if isinstance(image, str) else ("bytes", image)
            content.update(f"{kind} {len(data)}\n".encode() + data)
        return content.hexdigest()


def from_arrays(
    images: Pixels | Sequence[Pixels],
    labels: Sequence[int | None] | np.ndarray | None = None,
    *,
    classes: int | None = None,
    name: str = "arrays",
) -> Samples:
    """Make a data set for `Loader` and `EvalLoader` of images in memory.

    images: uint8 [n, H, W, 3] in the order R, G, B, or [n, H, W] of grey images; or a list of such images, of any
        sizes. They are not copied, and must not be changed while a loader uses them.
    labels: n whole numbers, None or -1 = unlabelled; without them all images are unlabelled.
    classes: how many classes there are, where that is known: a label beyond them is refused.
    name: of the data set, in messages.

    The batches have the bits of those of PNG files with these pixels. Nothing is decompressed: a reader thread puts the
    header of an uncompressed PNM file before the pixels, and DALI copies them out again. An image of 500 x 375 pixels
    costs about as much processor time as a JPEG file of which the crop alone is decoded (1.08 and 1.00 ms from the
    image to the batch, at 224 x 224 pixels, where a PNG file takes 3.8 ms), one of 32 x 32 less (0.05 and 0.07 ms).

    It raises DataError, one line that names the image, for another dtype or shape, and for what is no label.
    """
    if isinstance(images, np.ndarray) and images.dtype != object:
        if images.dtype != np.uint8:
            raise DataError(f"{name}: {_of_dtype(images)}")
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3) or 0 in images.shape[1:]:
            raise DataError(f"{name}: images of shape {list(images.shape)}; give [n, H, W, 3], or [n, H, W] if grey")
        return _samples(images.__getitem__, _labels(labels, len(images), classes, name), name)
    pixels: list[Pixels] = []
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            where = _name(number, name)
            raise DataError(f"{where}: a {type(image).__name__}; give a NumPy array, or use `from_samples`")
        pixels.append(cast(Pixels, _image(image, _name(number, name))))
    return _samples(pixels.__getitem__, _labels(labels, len(pixels), classes, name), name)


def from_samples(
    samples: object,
    labels: Sequence[int | None] | np.ndarray | None = None,
    *,
    classes: int | None = None,
    name: str | None = None,
    memory: int = MEMORY,
) -> Samples:
    """Make a data set for `Loader` and `EvalLoader` of a class or function of one's own.

    A sample is `(image, label)` or `{"image": image, "label": label}`. The image: uint8 [H, W, 3] or [H, W]; a Pillow
    image of mode RGB or L; the path of an image file, relative to the current folder; or the bytes of one. The label: a
    whole number; None, -1 or no key = unlabelled. Other keys are not looked at.

    samples: one of two forms, or a function without parameters that returns one (a generator function, a class).

    - An object with `__len__` and `__getitem__` is read by index, in the loader's order, when a batch needs it. Its
      `__getitem__` is called in a reader thread, by one thread at a time: what takes long there is not spread over
      the cores, so return the path or the bytes of a file instead of decoding it. A sample must be the same whenever it
      is read: augmentation belongs to the loader, which draws it from the seed. Some samples are read twice at the
      beginning to see that. Without `labels` every sample is read once at the beginning for the sake of its label.
    - Any other iterable is read once, here, into memory; `memory` is the most bytes that its images may take.

    labels: the labels of all samples, where they are known beforehand; classes, name: as in `from_arrays`.

    It raises DataError, one line that names the image: its code raises an exception (here, or later from the loader);
    it is no image or has no right label; two reads differ; the images do not fit into `memory`.
    """
    title = name or str(getattr(samples, "__name__", type(samples).__name__))
    if callable(samples) and not _is_indexed(samples) and not isinstance(samples, Iterable):
        samples = _call(samples, title)
    if _is_indexed(samples):
        return _lazy(cast(Indexed, samples), labels, classes, title)
    if not isinstance(samples, Iterable) or isinstance(samples, (Mapping, str, bytes)):
        kind = type(samples).__name__
        raise DataError(
            f"{title}: a {kind} holds no samples; give an object with __len__ and __getitem__, or a generator"
        )
    images, own = _in_memory(samples, title, memory)
    labels_in_use = _labels(own if labels is None else labels, len(images), classes, title)
    for number, (label, label_in_use) in enumerate(zip(own, labels_in_use.tolist(), strict=True)):
        _agree(label, label_in_use, _name(number, title))
    return _samples(images.__getitem__, labels_in_use, title)


@dataclass(frozen=True)
class Joined:
    """Join several data sets, one after the other: an `ImageSource`.

    positions: int64 [n], of the images in all of them.
    """

    parts: tuple[ImageSource, ...]
    labels: np.ndarray
    positions: np.ndarray

    @property
    def title(self) -> str:
        return " + ".join(part.title for part in self.parts)

    @property
    def remedy(self) -> str:
        return "mend it or leave it out"

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, index: int) -> str:
        part, number = self._find(index)
        return part.name(number)

    def image(self, index: int) -> Image:
        part, number = self._find(index)
        return part.image(number)

    def subset(self, index: np.ndarray) -> Joined:
        """Return the images at these positions, in this order."""
        return Joined(self.parts, self.labels[index], self.positions[index])

    def digest(self) -> str:
        """Return sha256 over the digests of the parts and over which of their images these are."""
        content = hashlib.sha256("\n".join(part.digest() for part in self.parts).encode())
        content.update(self.positions.astype("<i8").tobytes())
        return content.hexdigest()

    def _find(self, index: int) -> tuple[ImageSource, int]:
        """Return the data set that an image is of, and its position there."""
        number = int(self.positions[index])
        for part in self.parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(index)


def joined(parts: Sequence[ImageSource]) -> ImageSource:
    """Return several data sets as one, in their order."""
    if len(parts) == 1:
        return parts[0]
    labels = np.concatenate([part.labels for part in parts])
    return Joined(tuple(parts), labels, np.arange(len(labels)))


def pnm(pixels: Pixels) -> Pixels:
    """Write pixels as a binary PNM file, uint8 [bytes]: P6 of [H, W, 3], P5 of [H, W] (netpbm's ppm(5), pgm(5)).

    Nothing is compressed: it costs one copy.
    """
    height, width = pixels.shape[:2]
    header = f"P{6 if pixels.ndim == 3 else 5}\n{width} {height}\n255\n".encode()
    data = np.empty(len(header) + pixels.size, dtype=np.uint8)
    data[: len(header)] = np.frombuffer(header, dtype=np.uint8)
    data[len(header) :].reshape(pixels.shape)[...] = pixels
    return data


def _samples(reader: Callable[[int], Image], labels: np.ndarray, title: str) -> Samples:
    if not len(labels):
        raise DataError(f"{title}: there is no image; give at least one")
    return Samples(reader, labels, title, np.arange(len(labels)))


def _is_indexed(samples: object) -> bool:
    """Say whether it is in the map style. `paddle.io.IterableDataset` has the two methods, but they raise."""
    if not isinstance(samples, Indexed) or isinstance(samples, (type, Mapping, str, bytes)):
        return False
    try:
        len(samples)
    except Exception:  # noqa: BLE001 - it is the user's code, and may raise anything
        return not isinstance(samples, Iterable)
    return True


def _lazy(samples: Indexed, labels: object, classes: int | None, title: str) -> Samples:
    """Make a data set that reads one sample at a time, by its index."""
    count = _call(lambda: len(samples), title)

    def sample(number: int) -> tuple[Image, int]:
        where = _name(number, title)
        with ONE_AT_A_TIME:
            image, label = _parts(_call(lambda: samples[number], where), where)
            return _image(image, where, copy=True), _label(label, where, classes)

    labels_in_use = _labels(
        [sample(number)[1] for number in range(count)] if labels is None else labels, count, classes, title
    )

    def read(number: int) -> Image:
        image, label = sample(number)
        _agree(label, int(labels_in_use[number]), _name(number, title))
        return image

    for number in evenly(READ_TWICE, count).tolist():
        if not _same(read(number), read(number)):
            advice = "give the stored image: the loader crops and flips it by its own seed"
            raise DataError(f"{_name(number, title)}: two reads give different images; {advice}")
    return _samples(read, labels_in_use, title)


def _in_memory(samples: Iterable[object], title: str, memory: int) -> tuple[list[Image], list[int]]:
    images: list[Image] = []
    labels: list[int] = []
    size, iterator = 0, _call(lambda: iter(samples), title)
    for number, sample in enumerate(_named(iterator, title)):
        where = _name(number, title)
        image, label = _parts(sample, where)
        images.append(_image(image, where, copy=True))
        labels.append(_label(label, where))
        size += images[-1].nbytes if isinstance(images[-1], np.ndarray) else len(images[-1])
        if size > memory:
            advice = "give an object with __len__ and __getitem__, paths, or a larger `memory`"
            raise DataError(f"{where}: the images so far do not fit into {memory / 2**30:.3g} GiB of memory; {advice}")
    return images, labels


def _named(iterator: Iterator[object], title: str) -> Iterator[object]:
    """Yield the samples; an exception of the user's code becomes a DataError that names the sample."""
    end, number = object(), 0
    while (sample := _call(lambda: next(iterator, end), _name(number, title))) is not end:
        yield sample
        number += 1


def _call(code: Callable[[], T], where: str) -> T:
    """Return what the user's code returns. Whatever it raises becomes a DataError.

    Other exceptions would end a loader without a name, and StopIteration would end it in silence.
    """
    try:
        return code()
    except Exception as error:
        reason = " ".join(str(error).split())
        line = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise DataError(f"{where}: the data set's code raises {line}; mend it") from error


def _name(number: int, title: str) -> str:
    return f"image {number} of {title}"


def _parts(sample: object, where: str) -> tuple[object, object]:
    """Return image and label of a sample, without a look at them."""
    if isinstance(sample, Mapping) and "image" in sample:
        return sample["image"], sample.get("label")
    if isinstance(sample, (tuple, list)) and len(sample) == 2:
        return sample[0], sample[1]
    advice = 'give (image, label) or {"image": image, "label": label}, with None for no label'
    raise DataError(f"{where}: a {type(sample).__name__} is no sample; {advice}")


def _image(image: object, where: str, copy: bool = False) -> Image:
    """Check the image and return it. copy: copy the pixels, because their owner may use the memory again."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)
    if isinstance(image, pillow.Image):
        if image.mode not in ("RGB", "L"):
            raise DataError(f"{where}: a Pillow image of mode {image.mode}; give image.convert('RGB')")
        return _call(lambda: np.array(image), where)
    if not isinstance(image, np.ndarray):
        kind = type(image).__name__
        raise DataError(f"{where}: a {kind} is no image; give a uint8 array, the path or the bytes of an image file")
    if image.dtype != np.uint8:
        raise DataError(f"{where}: {_of_dtype(image)}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise DataError(f"{where}: pixels of shape {list(image.shape)}; give [H, W, 3], or [H, W] of a grey image")
    return image.copy() if copy else image


def _of_dtype(pixels: np.ndarray) -> str:
    scaled = "(255 * x).round().astype('uint8')"
    return f"pixels of type {pixels.dtype}; give uint8 from 0 to 255 (of floats x from 0 to 1: {scaled})"


def _labels(labels: object, count: int, classes: int | None, title: str) -> np.ndarray:
    """Check the labels and return them as int64 [count]."""
    if labels is None:
        return np.full(count, UNLABELLED, dtype=np.int64)
    if not isinstance(labels, Iterable) or isinstance(labels, (Mapping, str, bytes)):
        raise DataError(
            f"{title}: labels are a {type(labels).__name__}; give a list of whole numbers or an array of them"
        )
    values = labels.tolist() if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" else list(labels)
    if len(values) != count:
        raise DataError(
            f"{title}: {len(values)} labels for {count} images; give one for each, None where there is none"
        )
    return np.array([_label(label, _name(i, title), classes) for i, label in enumerate(values)], dtype=np.int64)


def _label(label: object, where: str, classes: int | None = None) -> int:
    if label is None:
        return UNLABELLED
    if not isinstance(label, (int, np.integer)) or isinstance(label, bool):
        shown = " ".join(repr(label).split())[:40]
        raise DataError(f"{where}: label {shown} is no whole number; give 0, 1, 2 ..., or None where there is none")
    number, top = int(label), 2**63 if classes is None else classes
    if UNLABELLED <= number < top:
        return number
    allowed = "labels start at 0" if classes is None else f"there are {classes} classes, labels 0..{classes - 1}"
    raise DataError(f"{where}: label {number} is out of range; {allowed}, None or -1 means unlabelled")


def _agree(own: int, label_in_use: int, where: str) -> None:
    """Raise DataError where a sample has another label than the one that is in use; one of the two may be left open."""
    if UNLABELLED not in (own, label_in_use) and own != label_in_use:
        raise DataError(f"{where}: its label is {own}, but {label_in_use} was given before; give the same label always")


def _same(first: Image, second: Image) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.array_equal(first, second)
    return type(first) is type(second) and first == second
