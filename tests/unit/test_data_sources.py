"""Data sets of one's own: arrays, classes and functions give the batches that image files of the same pixels give."""

import io
import re
import threading
import time
import zipfile

import numpy as np
import paddle
import pytest
from PIL import Image

from ssld.data import Augment, EvalLoader, FileList, Loader, from_arrays, from_samples, resample
from ssld.data.sources import pnm
from ssld.errors import DataError
from tests.unit.test_data_pipeline import RAW, make, photo, same, take
from tests.unit.test_docs import section

COUNT = 24
LABELS = [-1 if i % 5 == 4 else i % 4 for i in range(COUNT)]


def picture(number):
    """One of as many sizes as there are images; every third is grey; some begin with what a header could end in."""
    pixels = photo(number, 20 + 3 * number, 70 - 2 * number)
    pixels = pixels[..., 1] if number % 3 == 0 else pixels
    pixels.reshape(-1)[:4] = (10, 32, 35, 13)[number % 4]  # line feed, space, #, carriage return
    return pixels


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def pictures():
    return [picture(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def files(tmp_path_factory, pictures):
    root = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(pictures):
        (root / f"{number}.png").write_bytes(png(pixels))
    return FileList([f"{number}.png" for number in range(COUNT)], np.array(LABELS), str(root))


class Photos:
    """A data set in the map style that notes who reads what."""

    def __init__(self, images, labels=LABELS):
        self.images, self.labels, self.reads = images, labels, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        assert type(index) is int
        self.reads.append(index)
        return self.images[index], self.labels[index]


def sources(pictures, files):
    """The same data set in every form."""

    def generate():
        for number, pixels in enumerate(pictures):
            yield {"image": pixels, "label": None if LABELS[number] < 0 else LABELS[number], "id": f"no. {number}"}

    mixed = [(png(p) if i % 2 else files.path(i), LABELS[i]) for i, p in enumerate(pictures)]
    return {
        "arrays": from_arrays(pictures, LABELS),
        "class": from_samples(Photos(pictures)),
        "generator": from_samples(generate()),
        "function": from_samples(generate),
        "paths and bytes": from_samples(mixed),
        "pillow": from_samples([(Image.fromarray(p), label) for p, label in zip(pictures, LABELS, strict=True)]),
    }


LOOKS = {
    "crops and flips": Augment(),
    "randaugment": Augment(auto="randaugment", erase=0.5),
    "autoaugment": Augment(auto="autoaugment"),
    "erasing and mixing": Augment(erase=0.5, mixup=0.4, cutmix=1.0),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "by DALI"])
@pytest.mark.parametrize("look", LOOKS)
def test_every_form_of_a_data_set_gives_the_batches_of_its_png_files_bit_for_bit(
    pictures, files, monkeypatch, look, compiled
):
    if not compiled:
        monkeypatch.setattr(resample, "_library", lambda: None)
    options = {"augment": LOOKS[look], "interpolation": "cubic", "seed": 3}
    wanted = take(make(files, **options).batches(0, 4))
    assert all(batch["image"].any() for batch in wanted)
    for form, source in sources(pictures, files).items():
        assert same(take(make(source, threads=3, **options).batches(0, 4)), wanted), form


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "by DALI"])
def test_every_form_of_a_data_set_is_evaluated_as_its_png_files_are(pictures, files, monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(resample, "_library", lambda: None)
    wanted = take(EvalLoader(files, size=16, resize=18, batch=5, **RAW).batches())
    for form, source in sources(pictures, files).items():
        assert same(take(EvalLoader(source, size=16, resize=18, batch=5, threads=2, **RAW).batches()), wanted), form


@pytest.mark.parametrize("shape", [(12, 15, 3), (15, 12), (1, 1, 3), (1, 9)])
def test_one_array_of_all_images_is_a_data_set(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, (8, *shape), dtype=np.uint8)
    for number, pixels in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(png(pixels))
    files = FileList([f"{number}.png" for number in range(8)], np.full(8, -1), str(tmp_path))
    strided = np.asfortranarray(images)  # no image of it lies in one piece
    for loader in (make(from_arrays(images)), make(from_arrays(strided))):
        assert same(take(loader.batches(0, 3)), take(make(files).batches(0, 3)))


def test_pixels_are_written_as_the_pnm_file_that_pillow_reads(pictures):
    for pixels in (*pictures, np.asfortranarray(pictures[1])):
        with Image.open(io.BytesIO(pnm(pixels).tobytes())) as opened:
            assert opened.format == "PPM"
            assert np.array_equal(np.asarray(opened), pixels)


@pytest.mark.parametrize("auto", ["none", "randaugment"])
def test_a_class_is_resumed_in_the_middle_and_shared_by_ranks_as_files_are(pictures, auto):
    augment = Augment(auto=auto, erase=0.5, mixup=0.4)

    def loader(**options):
        return make(from_samples(Photos(pictures)), augment=augment, threads=2, **options)

    whole = take(loader(accumulate=2).batches(0, 7))
    resumed = loader(accumulate=2)
    next(resumed.batches(1, 7))  # left in the middle
    assert same(take(resumed.batches(2, 7)), whole[4:])
    ranks = [take(loader(rank=rank, world=2).batches(0, 7)) for rank in (0, 1)]
    assert same([batch for pair in zip(*ranks, strict=True) for batch in pair], whole)


def test_a_class_is_read_when_a_batch_needs_it_and_in_no_other_case_if_its_labels_are_known(pictures):
    photos = Photos(pictures)
    source = from_samples(photos, LABELS)
    assert len(photos.reads) == 8  # four, twice, to see that they are the same
    photos.reads.clear()
    (batch,) = take(make(source, batch=4, prefetch=1).batches(1, 2))
    assert sorted(photos.reads) == sorted(batch["index"].tolist())
    assert batch["label"].tolist() == [LABELS[i] for i in batch["index"]]
    photos = Photos(pictures)
    assert from_samples(photos).labels.tolist() == LABELS
    assert sorted(set(photos.reads)) == list(range(COUNT))  # for the labels


def test_the_code_of_the_user_runs_in_one_thread_at_a_time(pictures):
    running, most = [], []

    class Slow(Photos):
        def __getitem__(self, index):
            running.append(index)
            most.append(len(running))
            time.sleep(0.002)
            running.remove(index)
            return super().__getitem__(index)

    loaders = [make(from_samples(Slow(pictures)), threads=4) for _ in range(2)]
    workers = [threading.Thread(target=lambda loader=loader: take(loader.batches(0, 3))) for loader in loaders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(most) > 2 * COUNT
    assert max(most) == 1


def test_a_buffer_that_the_user_fills_again_for_every_sample_is_no_harm():
    same_size = [photo(number, 20, 20) for number in range(COUNT)]
    buffer = np.empty((20, 20, 3), dtype=np.uint8)

    class Refilled(Photos):
        def __getitem__(self, index):
            buffer[...] = self.images[index]
            return buffer, LABELS[index]

    def generate():
        for pixels, label in zip(same_size, LABELS, strict=True):
            buffer[...] = pixels
            yield buffer, label

    wanted = take(make(from_arrays(same_size, LABELS)).batches(0, 3))
    assert same(take(make(from_samples(generate)).batches(0, 3)), wanted)
    assert same(take(make(from_samples(Refilled(same_size)), threads=4).batches(0, 3)), wanted)


class Failing(Photos):
    """Raises for one image, from a moment on."""

    def __init__(self, images, error):
        super().__init__(images)
        self.error, self.armed = error, False

    def __getitem__(self, index):
        if self.armed and index == 17:
            raise self.error
        return super().__getitem__(index)


@pytest.mark.parametrize("auto", ["none", "randaugment"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("bad\nrow"), "ValueError: bad row"),
        (StopIteration(), "StopIteration"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
    ids=["ValueError", "StopIteration", "KeyError"],
)
def test_an_exception_of_the_users_code_is_one_line_that_names_the_image(pictures, auto, error, said):
    photos = Failing(pictures, error)
    source = from_samples(photos)
    training = make(source, augment=Augment(auto=auto), threads=2)
    evaluation = EvalLoader(source, size=16, resize=16, batch=5, **RAW)
    photos.armed = True
    line = re.escape(f"image 17 of Failing: the data set's code raises {said}; mend it")
    for batches in (lambda: training.batches(0, 3), evaluation.batches):
        with pytest.raises(DataError, match=f"^{line}$"):
            list(batches())
    photos.armed = False
    assert len(list(training.batches(0, 3))) == 3
    assert len(list(evaluation.batches())) == 5


def test_an_unreadable_file_or_bytes_of_a_sample_are_named(tmp_path, pictures):
    stream = io.BytesIO()
    Image.fromarray(photo(0, 40, 40)).save(stream, "JPEG")
    cut = stream.getvalue()[: len(stream.getvalue()) * 9 // 10]
    (tmp_path / "cut.jpg").write_bytes(cut)
    for image, said in {
        str(tmp_path / "no.jpg"): r", .*/no\.jpg: unreadable image \(no such file\)",
        tmp_path / "cut.jpg": r", .*/cut\.jpg: unreadable image \(.*truncated",
        cut: r": unreadable image \(.*truncated",
        b"": r": unreadable image \(the file is empty\)",
        b"text": r": unreadable image \(no image that can be read",
    }.items():
        source = from_samples([(pixels, None) for pixels in pictures[:3]] + [(image, None)], name="mine")
        with pytest.raises(DataError, match=rf"^image 3 of mine{said}.*; mend it or leave it out$"):
            list(EvalLoader(source, size=16, resize=16, batch=4, **RAW).batches())
        part = source.subset(np.array([3, 0]))
        with pytest.raises(DataError, match=r"^image 3 of mine"):
            list(EvalLoader(part, size=16, resize=16, batch=2, **RAW).batches())


GOOD = np.zeros((4, 5, 3), dtype=np.uint8)
ARRAYS = {
    "floats": ((np.zeros((2, 4, 4, 3)),), r"arrays: pixels of type float64; give uint8 from 0 to 255 \(of floats x"),
    "channels first": ((np.zeros((2, 3, 4, 4), np.uint8),), r"shape \[2, 3, 4, 4\]; give \[n, H, W, 3\]"),
    "one grey image": ((np.zeros((4, 4), np.uint8),), r"shape \[4, 4\]; give"),
    "no width": ((np.zeros((2, 4, 0, 3), np.uint8),), r"shape \[2, 4, 0, 3\]"),
    "no image": ((np.zeros((0, 4, 4, 3), np.uint8),), "arrays: there is no image"),
    "a float in a list": (([GOOD, GOOD / 2],), "image 1 of arrays: pixels of type float64"),
    "a shape in a list": (
        ([GOOD, GOOD[None]],),
        r"image 1 of arrays: pixels of shape \[1, 4, 5, 3\]; give \[H, W, 3\]",
    ),
    "a path": (([GOOD, "a.png"],), "image 1 of arrays: a str; give a NumPy array, or use `from_samples`"),
    "too few labels": (([GOOD] * 3, [1, 2]), "arrays: 2 labels for 3 images"),
    "a word": (([GOOD] * 2, [1, "cat"]), "image 1 of arrays: label 'cat' is no whole number"),
    "a float label": (([GOOD] * 2, np.array([0.0, 1.0])), r"image 0 of arrays: label 0\.0 is no whole number"),
    "a truth": (([GOOD] * 2, [1, True]), "image 1 of arrays: label True is no whole number"),
    "one-hot": (([GOOD] * 2, np.eye(2, dtype=int)), r"image 0 of arrays: label \[1, 0\] is no whole number"),
    "beyond": (
        ([GOOD] * 2, [9, 10]),
        r"image 1 of arrays: label 10 is out of range; there are 10 classes, labels 0\.\.9",
    ),
    "below": (([GOOD] * 2, [-1, -2]), "image 1 of arrays: label -2 is out of range"),
    "no list": (([GOOD] * 2, 3), "arrays: labels are a int"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_none_are_refused_in_one_line(case):
    given, said = ARRAYS[case]
    with pytest.raises(DataError, match=said) as error:
        from_arrays(*given, classes=10)
    assert "\n" not in str(error.value)


SAMPLES = {
    "an array alone": ([GOOD, GOOD], "image 0 of list: a ndarray is no sample; give"),
    "no image": ([{"picture": GOOD}], "image 0 of list: a dict is no sample; give"),
    "three": ([(GOOD, 1, 2)], "image 0 of list: a tuple is no sample; give"),
    "a tensor": ([(paddle.zeros([3, 4, 4]), 1)], "image 0 of list: a Tensor is no image; give"),
    "floats": ([(GOOD, 1), (GOOD / 255, 1)], "image 1 of list: pixels of type float64; give uint8"),
    "channels": ([(GOOD[..., :1], 1)], r"image 0 of list: pixels of shape \[4, 5, 1\]; give"),
    "a palette": ([(Image.new("P", (4, 4)), 1)], "image 0 of list: a Pillow image of mode P; give image.convert"),
    "a word": ([(GOOD, "cat")], "image 0 of list: label 'cat' is no whole number"),
    "beyond": ([(GOOD, 9), (GOOD, 10)], "image 1 of list: label 10 is out of range; there are 10 classes"),
    "empty": ([], "list: there is no image"),
    "columns": ({"image": [GOOD], "label": [1]}, "dict: a dict holds no samples; give"),
    "a number": (7, "int: a int holds no samples; give"),
    "a function of a number": (lambda: 7, "<lambda>: a int holds no samples; give"),
    "a function that needs something": (lambda x: [], "<lambda>: the data set's code raises TypeError: .*; mend it"),
}


@pytest.mark.parametrize("lazy", [True, False], ids=["by index", "iterated"])
@pytest.mark.parametrize("case", SAMPLES)
def test_samples_that_are_none_are_refused_in_one_line(case, lazy):
    given, said = SAMPLES[case]
    if isinstance(given, list) and not lazy:
        given, said = iter(given), said.replace("list", "list_iterator")
    with pytest.raises(DataError, match=said) as error:
        from_samples(given, classes=10)
    assert "\n" not in str(error.value)


def test_labels_beside_the_samples_hold_and_must_not_contradict_them(pictures):
    samples = list(zip(pictures, LABELS, strict=True))
    for form in (list, iter):
        assert from_samples(form(samples), [None] * COUNT).labels.tolist() == [-1] * COUNT
        assert from_samples(form([(image, None) for image in pictures]), LABELS).labels.tolist() == LABELS
        with pytest.raises(DataError, match=r"image 1 of .*: its label is 1, but 2 was given before; give the same"):
            from_samples(form(samples[:4]), [0, 2, 2, 3])
    photos = Photos(pictures[:8], list(range(8)))
    source = from_samples(photos)
    photos.labels = [0, 1, 2, 3, 4, 6, 6, 7]
    with pytest.raises(DataError, match="image 5 of Photos: its label is 6, but 5 was given before"):
        list(make(source).batches(0, 1))


def test_a_class_that_augments_is_refused_because_its_batches_could_not_be_repeated(pictures):
    rng = np.random.default_rng(0)

    class Random(Photos):
        def __getitem__(self, index):
            top = int(rng.integers(0, 8))
            return self.images[index][top : top + 10], self.labels[index]

    with pytest.raises(DataError, match=r"image \d+ of Random: two reads give different images; give the stored image"):
        from_samples(Random(pictures))


def test_what_does_not_fit_into_memory_is_refused_when_the_memory_is_full(pictures):
    made = []

    def endless():
        while True:
            made.append(1)
            yield np.zeros((32, 32, 3), dtype=np.uint8), 0

    with pytest.raises(
        DataError,
        match=r"image 10 of endless: the images so far do not fit into 3.05e-05 GiB of memory; give an object",
    ):
        from_samples(endless, memory=10 * 32 * 32 * 3 + 2048)
    assert len(made) == 11
    held = from_samples(((pixels, None) for pixels in pictures), memory=sum(pixels.nbytes for pixels in pictures))
    assert len(held) == COUNT


def test_an_exception_in_a_generator_names_the_image_that_was_to_come(pictures):
    def broken():
        yield pictures[0], 1
        raise OSError("the disk is gone")

    with pytest.raises(
        DataError, match="image 1 of broken: the data set's code raises OSError: the disk is gone; mend it"
    ):
        from_samples(broken)


def test_data_sets_of_paddle_are_read_by_index_or_iterated(pictures):
    class Mapped(paddle.io.Dataset):
        def __len__(self):
            return COUNT

        def __getitem__(self, index):
            return pictures[index], LABELS[index]

    class Streamed(paddle.io.IterableDataset):
        def __iter__(self):
            return iter(zip(pictures, LABELS, strict=True))

    wanted = take(make(from_arrays(pictures, LABELS)).batches(0, 3))
    for given in (Mapped(), Mapped, Streamed(), Streamed):
        assert same(take(make(from_samples(given)).batches(0, 3)), wanted)


def test_the_digest_names_pixels_shapes_labels_and_their_order_and_not_how_they_came(pictures, files):
    source = from_arrays(pictures, LABELS)
    assert source.digest() == from_samples(Photos(pictures)).digest() == from_samples(Photos(pictures), LABELS).digest()
    assert from_samples(iter(zip(pictures, LABELS, strict=True)), name="else").digest() == source.digest()
    changed = [pixels.copy() for pixels in pictures]
    changed[7].reshape(-1)[5] ^= 1
    order = np.arange(COUNT)[::-1]
    others = [
        from_arrays(changed, LABELS),
        from_arrays(pictures, [*LABELS[:-1], 9]),
        from_arrays(
            [pixels.reshape(pixels.shape[1], pixels.shape[0], *pixels.shape[2:]) for pixels in pictures], LABELS
        ),
        source.subset(order),
        source.subset(np.arange(COUNT - 1)),
        from_samples([(png(pixels), label) for pixels, label in zip(pictures, LABELS, strict=True)]),
        from_samples([(files.path(i), label) for i, label in enumerate(LABELS)]),
        files,
        files.subset(order),
        FileList(files.paths, np.array([*LABELS[:-1], 9]), files.root),
    ]
    digests = [source.digest(), *(other.digest() for other in others)]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert FileList(files.paths, files.labels, "elsewhere").digest() == files.digest()
    assert source.subset(order).subset(order).digest() == source.digest()


def test_a_subset_keeps_names_labels_and_images(pictures, files):
    index = np.array([17, 3, 3])
    for source in (files, *sources(pictures, files).values()):
        part = source.subset(index)
        assert part.labels.tolist() == [LABELS[i] for i in index]
        assert [part.name(i) for i in range(3)] == [source.name(i) for i in index]
        wanted = take(EvalLoader(source, size=16, resize=16, batch=COUNT, **RAW).batches())[0]["image"][index]
        assert np.array_equal(take(EvalLoader(part, size=16, resize=16, batch=3, **RAW).batches())[0]["image"], wanted)
    assert from_arrays(pictures, name="mine").subset(index).name(0) == "image 17 of mine"


def test_the_examples_of_the_page_are_data_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["file,label"]
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for number in range(40):
            (tmp_path / f"{number}.png").write_bytes(png(photo(number, 30, 40)))
            archive.write(f"{number}.png", f"{number % 10}/{number:04}.png")
            rows.append(f"{number}.png,{number % 10}")
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    blocks = re.findall(r"^```python\n(.*?)^```$", section("docs/data.md", "A data set of your own"), re.M | re.S)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(compile(block, "docs/data.md", "exec"), names)
        loader = Loader(names["train"], size=8, batch=16, augment=Augment(), seed=0, **RAW)
        (batch,) = take(loader.batches(0, 1))
        assert batch["image"].std() > 1
        assert set(batch["label"].tolist()) <= set(range(10))
        assert len(set(batch["label"].tolist())) > 2
