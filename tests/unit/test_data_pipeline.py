"""Loaders: real DALI graphs on small real files."""

import itertools

import numpy as np
import paddle
import pytest
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from ssld.data import Augment, EvalLoader, Loader, normalise, resample
from ssld.data.augment import draw
from ssld.data.graph import _normalise
from ssld.data.lists import FileList
from ssld.data.normalise import empty, normalised
from ssld.data.pipeline import eval_geometry
from ssld.errors import DataError

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255,) * 3}  # leaves pixels as 0..255
CENTRE = Augment(area=(1, 1), flip=0)


def photo(seed, height, width):
    """Something like a photograph: waves, patches with hard edges, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = rng.normal(0, 8, (height, width, 3)) + 120
    for _ in range(5):
        fy, fx, phase = rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), rng.uniform(0, 6)
        image += 20 * np.sin(fy * y + fx * x + phase)[..., None] * rng.uniform(-1, 1, 3)
        top, left = rng.integers(0, height), rng.integers(0, width)
        image[top : top + height // 3 + 1, left : left + width // 3 + 1] += rng.uniform(-60, 60, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """24 PNG files of as many sizes; labels 0..3, every fifth unlabelled."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(24):
        Image.fromarray(photo(i, 20 + 3 * i, 70 - 2 * i)).save(root / f"{i}.png")
    labels = np.array([-1 if i % 5 == 4 else i % 4 for i in range(24)])
    return FileList([f"{i}.png" for i in range(24)], labels, str(root))


def make(files, **changes):
    options = {"size": 16, "batch": 8, "augment": Augment(), "seed": 0, **RAW, **changes}
    return Loader(files, **options)


def take(batches):
    """Batches as numpy arrays, kept until all have been made."""
    kept = list(batches)
    return [{k: v if isinstance(v, float) else v.numpy() for k, v in batch.items()} for batch in kept]


def same(a, b):
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True)
    )


def test_a_batch_is_what_the_contract_says_and_an_epoch_shows_every_image_once(files):
    batches = list(make(files).batches(0, 6))
    image, label, index = (batches[0][key] for key in ("image", "label", "index"))
    assert (image.shape, image.dtype) == ([8, 3, 16, 16], paddle.float32)
    assert (label.dtype, index.dtype) == (paddle.int64, paddle.int64)
    assert (label.numpy() == files.labels[index.numpy()]).all()
    epochs = [np.concatenate([b["index"].numpy() for b in part]) for part in (batches[:3], batches[3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert (epochs[0] != epochs[1]).any()


def test_two_ranks_or_two_micro_batches_or_one_batch_give_the_same_images_in_the_same_order(files):
    def pixels(batches):
        return [np.concatenate([b[key] for b in batches]) for key in ("image", "index", "label")]

    mixed = Augment(auto="randaugment", erase=0.5)
    one = take(make(files, augment=mixed).batches(0, 4))
    accumulated = take(make(files, augment=mixed, accumulate=2, threads=2).batches(0, 4))
    ranks = [take(make(files, augment=mixed, rank=rank, world=2).batches(0, 4)) for rank in (0, 1)]
    woven = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert same(accumulated, woven)
    assert all(np.array_equal(a, b) for a, b in zip(pixels(one), pixels(accumulated), strict=True))


def test_mixing_is_the_same_on_two_ranks_as_in_two_micro_batches(files):
    augment = Augment(mixup=0.4, cutmix=1.0)
    accumulated = take(make(files, augment=augment, accumulate=2).batches(1, 5))
    ranks = [take(make(files, augment=augment, rank=rank, world=2).batches(1, 5)) for rank in (0, 1)]
    assert same(accumulated, [batch for pair in zip(*ranks, strict=True) for batch in pair])
    assert len({batch["lam"] for batch in accumulated}) == 8


@pytest.mark.parametrize("auto", ["none", "autoaugment"])
def test_a_run_started_in_the_middle_continues_bit_for_bit_across_an_epoch_and_after_a_break(files, auto):
    augment = Augment(erase=0.3, mixup=0.2, cutmix=1.0, auto=auto)
    loader = make(files, augment=augment, accumulate=2, threads=3)
    whole = take(loader.batches(0, 7))
    assert same(take(make(files, augment=augment, accumulate=2).batches(2, 7)), whole[4:])
    abandoned = loader.batches(1, 7)
    next(abandoned)
    assert same(take(loader.batches(2, 7)), whole[4:])
    with pytest.raises(RuntimeError, match="started again"):
        next(abandoned)
    assert not same(take(make(files, augment=augment, accumulate=2, seed=1).batches(2, 7)), whole[4:])


def test_a_tensor_keeps_its_pixels_while_the_loader_goes_on(files):
    kept, copies = [], []
    for batch in make(files).batches(0, 12):
        kept.append(batch["image"])
        copies.append(batch["image"].numpy().copy())
    assert all((a.numpy() == b).all() for a, b in zip(kept, copies, strict=True))
    assert len({tensor.data_ptr() for tensor in kept}) == len(kept)


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_normalised_images_have_the_bits_of_dali_which_does_it_on_a_gpu():
    images = np.random.default_rng(0).integers(0, 256, (4, 24, 20, 3), dtype=np.uint8)
    flip = np.array([0, 1, 1, 0], dtype=np.int32)
    corner = np.array([[2, 3], [0, 0], [5, 10], [7, 7]], dtype=np.float32)
    shape = np.array([[4, 5], [24, 1], [0, 0], [17, 13]], dtype=np.float32)

    @pipeline_def(batch_size=4, num_threads=1, device_id=None)
    def graph():
        given = (list(images), flip, corner, shape)
        dtypes = [types.UINT8, types.INT32, types.FLOAT, types.FLOAT]
        image, mirror, anchor, box = fn.external_source(
            lambda: given, num_outputs=4, batch=True, dtype=dtypes, ndim=[3, 0, 1, 1], layout=["HWC", "", "", ""]
        )
        image = _normalise(image, MEAN, STD, mirror=mirror)
        return fn.erase(image, anchor=anchor, shape=box, axis_names="HW", fill_value=0)

    pipe = graph()
    pipe.build()
    wanted = np.array(pipe.run()[0].as_tensor())
    found = normalised(images, MEAN, STD, flip, (corner, shape))
    assert found.tobytes() == wanted.tobytes()
    assert (found[1, :, :, 0] == 0).all()
    assert (found[2] != 0).all()


@pytest.mark.parametrize("auto", ["none", "randaugment"])  # resized by compiled code, by DALI
def test_the_batch_is_handed_to_paddle_without_a_copy_and_at_an_even_place(files, monkeypatch, auto):
    made = []
    for module in (normalise, resample):
        monkeypatch.setattr(module, "empty", lambda shape: made.append(empty(shape)) or made[-1])
    (batch,) = make(files, augment=Augment(auto=auto)).batches(0, 1)
    assert batch["image"].data_ptr() == made[0].ctypes.data
    assert batch["image"].data_ptr() % 64 == 0


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_crop_and_flip_are_the_drawn_ones(tmp_path, suffix):
    paths = []
    for i in range(8):
        paths.append(f"{i}.{suffix}")
        Image.fromarray(photo(i, 90 + i, 120 - i)).save(tmp_path / paths[-1], quality=95, subsampling=0)
    files = FileList(paths, np.zeros(8, dtype=np.int64), str(tmp_path))
    (batch,) = take(make(files, size=24, augment=Augment(area=(0.3, 1.0)), seed=5).batches(2, 3))
    sizes = np.array([(90 + i, 120 - i) for i in batch["index"]])
    d = draw(Augment(area=(0.3, 1.0)), 5, 2, batch["index"], sizes, 24)
    assert 0 < d.flip.sum() < 8
    for k, i in enumerate(batch["index"]):
        (top, left), (height, width) = d.anchor[k], d.shape[k]
        picture = pixels_of(tmp_path / paths[i])[top : top + height, left : left + width]
        expected = resized(picture, 24, Image.Resampling.BILINEAR)
        expected = expected[:, ::-1] if d.flip[k] else expected
        assert np.abs(batch["image"][k].transpose(1, 2, 0) - expected).max() <= (1 if suffix == "png" else 3)


def resized(pixels, size, kernel):
    """Pillow's resize with clamped edges: Pillow itself drops the part of the kernel that hangs over the edge."""
    pad = 3 * max(1, -(-max(pixels.shape[:2]) // size))
    height, width = pixels.shape[:2]
    around = Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    box = (pad, pad, pad + width, pad + height)
    return np.asarray(around.resize((size, size), kernel, box=box)).astype(float)


# Largest and mean difference in 1/255. Pillow rounds to 8 bits between its two passes, DALI once at the end; the
# overshoot of the cubic makes that rounding larger.
PILLOW = {"linear": (1, 0.3), "cubic": (6, 0.4)}


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize("size", [11, 37, 96])
def test_training_and_evaluation_resize_as_pillow_does_when_shrinking_and_enlarging(files, interpolation, size):
    kernel = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}[interpolation]
    largest, mean = PILLOW[interpolation]
    (train,) = take(make(files, size=size, batch=24, augment=CENTRE, interpolation=interpolation).batches(0, 1))
    resize = size + 5
    loader = EvalLoader(files, size=size, resize=resize, batch=24, interpolation=interpolation, **RAW)
    (evaluation,) = take(loader.batches())
    for i, got in zip(train["index"], train["image"], strict=True):
        picture = pixels_of(files.path(i))
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = resized(picture[top : top + side, left : left + side], size, kernel)
        difference = np.abs(got.transpose(1, 2, 0) - square)
        assert difference.max() <= largest
        assert difference.mean() <= mean
        ((h, w),), ((y, x),) = eval_geometry(np.array([[height, width]]), resize, size)
        whole = np.asarray(Image.fromarray(picture).resize((w, h), kernel)).astype(float)[y : y + size, x : x + size]
        difference = np.abs(evaluation["image"][i].transpose(1, 2, 0) - whole)[3:-3, 3:-3]  # Pillow's edges differ
        assert difference.max() <= largest
        assert difference.mean() <= mean


@pytest.mark.parametrize("compiled", [True, False])
def test_a_padded_crop_is_that_of_the_literature(tmp_path, monkeypatch, compiled):
    """Black pixels around the image, a square of its size from a drawn place, then the flip."""
    if not compiled:
        monkeypatch.setattr(resample, "_library", lambda: None)
    for i in range(8):
        Image.fromarray(photo(i, 16, 16)).save(tmp_path / f"{i}.png")
    augment = Augment(area=(1, 1), pad=3)
    squares = FileList([f"{i}.png" for i in range(8)], np.zeros(8, dtype=np.int64), str(tmp_path))
    (batch,) = take(make(squares, augment=augment, seed=5).batches(0, 1))
    drawn = draw(augment, 5, 0, batch["index"], np.full((8, 2), 16), 16)
    assert len(np.unique(drawn.shift, axis=0)) > 4
    assert {0, 1} == set(drawn.flip.tolist())
    for image, index, (down, right), flip in zip(batch["image"], batch["index"], drawn.shift, drawn.flip, strict=True):
        padded = np.pad(photo(int(index), 16, 16), ((3, 3), (3, 3), (0, 0)))
        cut = padded[3 + down : 19 + down, 3 + right : 19 + right]
        assert np.array_equal(image, (cut[:, ::-1] if flip else cut).transpose(2, 0, 1))


def test_eval_geometry_keeps_the_ratio_and_centres_the_crop():
    sizes = np.array([[375, 500], [500, 375], [8, 8], [33, 100]])
    resized_to, corner = eval_geometry(sizes, 256, 224)
    assert resized_to.tolist() == [[256, 341], [341, 256], [256, 256], [256, 776]]
    assert corner.tolist() == [[16, 58], [58, 16], [16, 16], [16, 276]]


def test_evaluation_shows_every_image_once_in_order_with_a_partial_last_batch(files):
    def options(**more):
        return {"size": 16, "resize": 18, "batch": 5, **RAW, **more}

    loader = EvalLoader(files, **options(threads=2))
    batches = take(loader.batches())
    assert [len(b["index"]) for b in batches] == [5, 5, 5, 5, 4]
    assert len(loader) == 5
    assert np.concatenate([b["index"] for b in batches]).tolist() == list(range(24))
    assert np.concatenate([b["label"] for b in batches]).tolist() == files.labels.tolist()
    assert same(take(loader.batches()), batches)  # again, from the beginning
    shares = [take(EvalLoader(files, rank=rank, world=5, **options()).batches()) for rank in range(5)]
    together = np.concatenate([b["image"] for share in shares for b in share])
    assert np.array_equal(together, np.concatenate([b["image"] for b in batches]))
    empty = EvalLoader(files.subset(np.arange(1)), rank=0, world=2, **options())
    assert (len(empty), list(empty.batches())) == (0, [])
    with pytest.raises(DataError, match="resize 12 is smaller than the crop 16"):
        EvalLoader(files, **options(resize=12))


def test_the_mean_and_deviation_are_taken_off_in_units_of_one(files):
    raw, scaled = (
        take(make(files, augment=CENTRE, mean=mean, std=std).batches(0, 1))[0]["image"]
        for mean, std in (((0, 0, 0), (1 / 255,) * 3), ((0.1, 0.2, 0.3), (0.5, 0.25, 2.0)))
    )
    expected = (raw / 255 - np.float32([0.1, 0.2, 0.3])[:, None, None]) / np.float32([0.5, 0.25, 2.0])[:, None, None]
    assert np.abs(scaled - expected).max() < 1e-5


@pytest.mark.parametrize("auto", ["autoaugment", "randaugment"])
def test_a_policy_changes_pixels_and_is_the_same_for_any_number_of_threads(files, auto):
    plain = take(make(files, augment=Augment()).batches(0, 3))
    first = take(make(files, augment=Augment(auto=auto)).batches(0, 3))
    assert same(first, take(make(files, augment=Augment(auto=auto), threads=3).batches(0, 3)))
    changed = [(a["image"][i] != b["image"][i]).any() for a, b in zip(plain, first, strict=True) for i in range(8)]
    assert 0.6 < np.mean(changed) <= 1


def test_erasing_sets_the_drawn_box_to_zero_and_nothing_else(files):
    augment = Augment(erase=1.0)
    plain, erased = (take(make(files, augment=a, mean=(0.5, 0.5, 0.5)).batches(0, 1))[0] for a in (Augment(), augment))
    d = draw(augment, 0, 0, plain["index"], np.full((8, 2), 20), 16)
    for k in range(8):
        (top, left), (height, width) = d.erase_anchor[k].astype(int), d.erase_shape[k].astype(int)
        inside = np.zeros((16, 16), dtype=bool)
        inside[top : top + height, left : left + width] = True
        assert (erased["image"][k][:, inside] == 0).all()
        assert (erased["image"][k][:, ~inside] == plain["image"][k][:, ~inside]).all()


def test_grey_palette_cmyk_and_transparent_images_come_out_rgb_and_turned_ones_unturned(tmp_path):
    picture = Image.fromarray(photo(0, 30, 30))
    turned = Image.Exif()
    turned[0x112] = 6
    makers = {
        "grey.png": lambda f: picture.convert("L").save(f),
        "grey.jpg": lambda f: picture.convert("L").save(f, quality=95),
        "palette.png": lambda f: picture.convert("P").save(f),
        "transparent.png": lambda f: picture.convert("RGBA").save(f),
        "cmyk.jpg": lambda f: picture.convert("CMYK").save(f, quality=95),
        "turned.jpg": lambda f: picture.save(f, quality=95, exif=turned, subsampling=0),
        "plain.bmp": lambda f: picture.save(f),
        "progressive.jpg": lambda f: picture.save(f, quality=95, progressive=True, subsampling=0),
    }
    for name, save in makers.items():
        save(tmp_path / name)
    files = FileList(list(makers), np.zeros(8, dtype=np.int64), str(tmp_path))
    evaluation = EvalLoader(files, size=30, resize=30, batch=8, **RAW)
    for loader in (evaluation.batches(), make(files, size=30, augment=CENTRE).batches(0, 1)):
        (batch,) = take(loader)
        for i, got in zip(batch["index"], batch["image"], strict=True):
            expected = pixels_of(files.path(i)).astype(float)
            assert np.abs(got.transpose(1, 2, 0) - expected).max() <= 2, files.paths[i]


BROKEN = {
    "truncated.jpg": (lambda good: good[: len(good) // 2], "truncated"),
    "cut.jpg": (lambda good: good[: len(good) * 9 // 10], "truncated"),
    "text.jpg": (lambda good: b"this is no image", "no image that can be read"),
    "header.jpg": (lambda good: good[:60], "."),
    "empty.jpg": (lambda good: b"", "empty"),
    "missing.jpg": (None, "no such file"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_image_is_named_and_the_loader_lives_on_without_it(tmp_path, name):
    for i in range(12):
        Image.fromarray(photo(i, 40, 40)).save(tmp_path / f"{i}.jpg")
    spoil, reason = BROKEN[name]
    if spoil:
        (tmp_path / name).write_bytes(spoil((tmp_path / "0.jpg").read_bytes()))
    files = FileList([f"{i}.jpg" for i in range(12)] + [name], np.zeros(13, dtype=np.int64), str(tmp_path))
    loader = EvalLoader(files, size=16, resize=16, batch=4, **RAW)
    with pytest.raises(DataError, match=rf"(?i){name}: unreadable image \(.*{reason}.*run `ssld data check`") as error:
        list(loader.batches())
    assert "\n" not in str(error.value)
    trainings = [make(files, batch=13, augment=Augment(auto=auto)) for auto in ("none", "randaugment")]
    for training in trainings:
        with pytest.raises(DataError, match=name):
            list(training.batches(0, 1))
    Image.fromarray(photo(1, 40, 40)).save(tmp_path / name)  # mended
    assert len(list(loader.batches())) == 4
    for training in trainings:
        assert len(list(training.batches(0, 2))) == 2


def test_an_unreadable_image_that_was_only_prefetched_does_not_stop_the_next_run(tmp_path):
    for i in range(8):
        Image.fromarray(photo(i, 40, 40)).save(tmp_path / f"{i}.jpg")
    good = (tmp_path / "5.jpg").read_bytes()
    (tmp_path / "5.jpg").write_bytes(good[: len(good) * 9 // 10])
    files = FileList([f"{i}.jpg" for i in range(8)], np.zeros(8, dtype=np.int64), str(tmp_path))
    loader = EvalLoader(files, size=16, resize=16, batch=4, **RAW)
    first = loader.batches()
    next(first)
    (tmp_path / "5.jpg").write_bytes(good)
    assert len(list(loader.batches())) == 2


@pytest.mark.parametrize("auto", ["none", "randaugment"])
def test_a_training_left_in_the_middle_by_an_unreadable_image_can_go_on(tmp_path, auto):
    for i in range(12):
        Image.fromarray(photo(i, 40, 40)).save(tmp_path / f"{i}.jpg")
    files = FileList([f"{i}.jpg" for i in range(12)], np.zeros(12, dtype=np.int64), str(tmp_path))
    training = make(files, batch=4, augment=Augment(auto=auto))
    whole = take(training.batches(0, 3))
    broken = tmp_path / f"{whole[2]['index'][1]}.jpg"
    good = broken.read_bytes()
    broken.write_bytes(good[: len(good) * 9 // 10])
    begun = training.batches(0, 3)
    next(begun)
    broken.write_bytes(good)
    assert same(take(training.batches(1, 3)), whole[1:])


def test_a_gif_is_named_because_it_is_not_read(tmp_path):
    Image.fromarray(photo(0, 20, 20)).save(tmp_path / "a.gif")
    files = FileList(["a.gif"], np.zeros(1, dtype=np.int64), str(tmp_path))
    with pytest.raises(DataError, match=r"a\.gif: unreadable image \(GIF is not read; save it as PNG or JPEG\)"):
        list(EvalLoader(files, size=8, resize=8, batch=1, **RAW).batches())


def test_wrong_settings_are_told_before_the_first_batch(files):
    with pytest.raises(DataError, match="24 training images do not fill one global batch of 32"):
        make(files, batch=32)
    with pytest.raises(DataError, match="does not divide"):
        make(files, batch=6, world=4)
    with pytest.raises(DataError, match="'area' is not known; use one of linear, cubic"):
        make(files, interpolation="area")
    with pytest.raises(DataError, match="no policy 'autoaugmet'; did you mean 'autoaugment'"):
        make(files, augment=Augment(auto="autoaugmet"))


@pytest.mark.gpu
@pytest.mark.skipif(not paddle.is_compiled_with_cuda(), reason="this PaddlePaddle has no CUDA")
def test_the_gpu_graph_gives_nearly_the_pixels_of_the_cpu_graph(files):
    augment = Augment(auto="randaugment", erase=0.5)
    cpu, gpu = (take(itertools.islice(make(files, augment=augment, device=d).batches(0, 3), 3)) for d in (None, 0))
    for a, b in zip(cpu, gpu, strict=True):
        assert np.array_equal(a["index"], b["index"])
        assert np.abs(a["image"] - b["image"]).mean() < 1
