"""The drawn augmentation: crops, erased boxes, policies, and each operation of the graph against Pillow."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from PIL import Image, ImageEnhance, ImageOps

from ssld.data.augment import Augment, crop, draw, erase
from ssld.data.graph import _operation
from ssld.data.policies import IMAGENET_POLICY, KINDS, OPS, RANDAUGMENT_OPS, parameters
from ssld.data.policies import draw as draw_policy
from ssld.errors import DataError
from ssld.random import uniform

N = 5000


def boxes(size, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    u = uniform(0, 2, 0, np.arange(N), 22)
    return crop(u[:, :20], u[:, 20:], np.tile(size, (N, 1)), area, ratio)


def test_crops_lie_inside_the_image_and_follow_area_and_ratio():
    anchor, shape = boxes((375, 500))
    assert (anchor >= 0).all()
    assert (shape >= 1).all()
    assert (anchor + shape <= (375, 500)).all()
    share, ratio = shape.prod(1) / (375 * 500), shape[:, 1] / shape[:, 0]
    assert share.min() < 0.1
    assert share.max() > 0.95
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35
    square = boxes((400, 400))[1]
    assert abs(np.log(square[:, 1] / square[:, 0]).mean()) < 0.015  # log-uniform: tall and wide are as likely
    room = (375, 500) - shape
    assert np.abs((anchor / np.maximum(room, 1))[(room > 20).all(1)].mean(0) - 0.5).max() < 0.02


@pytest.mark.parametrize(("size", "expected"), [((20, 1000), (20, 27)), ((1000, 20), (27, 20))])
def test_where_no_crop_fits_the_largest_centred_box_in_ratio_is_taken(size, expected):
    anchor, shape = boxes(size, area=(0.9, 1.0))
    assert (shape == expected).all()
    assert (anchor == (np.array(size) - expected) // 2).all()


def test_area_one_means_the_largest_centred_square():
    anchor, shape = boxes((30, 41), area=(1, 1))
    assert (shape == 30).all()
    assert (anchor == (0, 5)).all()


def test_tiny_images_still_get_a_valid_crop():
    for size in ((1, 1), (1, 7), (2, 3), (8, 8)):
        anchor, shape = boxes(size)
        assert ((shape >= 1) & (anchor >= 0) & (anchor + shape <= size)).all()


def test_erased_boxes_lie_inside_and_have_the_published_area_and_ratio():
    u = uniform(0, 2, 0, np.arange(N), 22)
    anchor, shape = erase(u[:, :20], u[:, 20:], 224)
    assert ((shape > 0) & (anchor >= 0) & (anchor + shape <= 224)).all()
    share, ratio = shape.prod(1) / 224**2, shape[:, 0] / shape[:, 1]
    assert 0.015 < share.min() < 0.03
    assert 0.35 < share.max() < 0.41
    assert 0.28 < ratio.min() < 0.4
    assert 2.5 < ratio.max() < 3.6


def test_a_draw_is_the_same_alone_and_in_any_batch_and_one_switch_does_not_move_the_others():
    sizes = np.tile((60, 80), (50, 1))
    everything = Augment(auto="randaugment", erase=0.5, ra_ops=3, pad=4)
    batch = draw(everything, 7, 3, np.arange(50), sizes, 32)
    alone = draw(everything, 7, 3, np.array([20]), sizes[:1], 32)
    for name in vars(batch):
        assert (getattr(batch, name)[20] == getattr(alone, name)[0]).all()
    plain = draw(Augment(), 7, 3, np.arange(50), sizes, 32)
    for name in ("anchor", "shape", "flip"):
        assert (getattr(batch, name) == getattr(plain, name)).all()
    assert (draw(everything, 7, 4, np.arange(50), sizes, 32).anchor != batch.anchor).any()
    assert (draw(everything, 8, 3, np.arange(50), sizes, 32).anchor != batch.anchor).any()


def test_a_padded_image_is_cut_at_every_place_as_often():
    sizes, index = np.tile((32, 32), (N, 1)), np.arange(N)
    shift = draw(Augment(area=(1, 1), pad=4), 0, 0, index, sizes, 32).shift
    counts = np.zeros((9, 9))
    np.add.at(counts, tuple((shift + 4).T), 1)
    assert counts.sum() == N
    assert np.abs(counts - N / 81).max() < 5 * np.sqrt(N / 81)
    assert not draw(Augment(), 0, 0, index, sizes, 32).shift.any()


def test_flip_and_erase_happen_as_often_as_asked():
    sizes, index = np.tile((60, 80), (N, 1)), np.arange(N)
    d = draw(Augment(flip=0.3, erase=0.25), 0, 0, index, sizes, 32)
    assert d.flip.mean() == pytest.approx(0.3, abs=0.02)
    assert (d.erase_shape > 0).all(1).mean() == pytest.approx(0.25, abs=0.02)
    assert draw(Augment(flip=True), 0, 0, index, sizes, 32).flip.mean() == pytest.approx(0.5, abs=0.02)
    assert not draw(Augment(flip=0), 0, 0, index, sizes, 32).flip.any()


def test_randaugment_draws_each_operation_as_often_and_autoaugment_follows_its_table():
    u = uniform(0, 2, 0, np.arange(20000), 5)
    op, strength = draw_policy(Augment(auto="randaugment", ra_magnitude=9), u)
    assert op.shape == (20000, 2)
    shares = np.bincount(op.ravel(), minlength=len(OPS)) / op.size
    assert np.abs(shares[:RANDAUGMENT_OPS] - 1 / RANDAUGMENT_OPS).max() < 0.005
    assert shares[RANDAUGMENT_OPS:].sum() == 0
    assert np.abs(strength) == pytest.approx(0.9)
    assert (strength > 0).mean() == pytest.approx(0.5, abs=0.02)
    op, strength = draw_policy(Augment(auto="autoaugment"), u)
    expected = np.zeros(len(OPS))
    for pair in IMAGENET_POLICY:
        for name, chance, _ in pair:
            expected[OPS.index(name)] += chance / 50
    expected[0] = 1 - expected[1:].sum()
    assert np.abs(np.bincount(op.ravel(), minlength=len(OPS)) / op.size - expected).max() < 0.01
    assert len(IMAGENET_POLICY) == 25


def test_an_unknown_policy_or_a_magnitude_out_of_range_is_an_error():
    sizes = np.array([[10, 10]])
    with pytest.raises(DataError, match="did you mean 'randaugment'"):
        draw(Augment(auto="randaug"), 0, 0, np.arange(1), sizes, 8)
    with pytest.raises(DataError, match=r"ra_magnitude 0\.\.10"):
        draw(Augment(auto="randaugment", ra_magnitude=11), 0, 0, np.arange(1), sizes, 8)


SIZE = 40
CASES = [(name, strength) for name in OPS for strength in (0.8, -0.6)]


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    waves = [np.sin(x / 5 + c) + np.cos(y / (4 + c)) + (x > 20) * 0.5 * c for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 6, (SIZE, SIZE, 3))
    return np.clip(np.array([80, 105, 145]) + 35 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def results(picture):
    """Every operation at a positive and a negative strength, through one real graph."""
    op, strength = np.array([OPS.index(name) for name, _ in CASES]), np.array([s for _, s in CASES])
    numbers = parameters(op, strength, SIZE)

    @pipeline_def(batch_size=len(CASES), num_threads=1, device_id=None, enable_conditionals=True)
    def graph():
        image, kind, value, warp = fn.external_source(
            lambda: ([picture] * len(CASES), *numbers),
            num_outputs=4,
            batch=True,
            dtype=[types.UINT8, types.INT32, types.FLOAT, types.FLOAT],
            ndim=[3, 0, 0, 2],
            layout=["HWC", "", "", ""],
        )
        return _operation(image, kind, value, warp)

    pipe = graph()
    pipe.build()
    out = pipe.run()[0].as_array()
    return {case: out[i].astype(int) for i, case in enumerate(CASES)}


def pillow(name, strength, picture):
    """The operation as Pillow does it; the numbers from AutoAugment's table 6."""
    image, s, factor = Image.fromarray(picture), abs(strength), 1 + 0.9 * strength
    simple = {
        "identity": lambda: image,
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "solarize": lambda: ImageOps.solarize(image, 256 * (1 - s)),
        "posterize": lambda: ImageOps.posterize(image, round(8 - 4 * s)),
        "color": lambda: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
    }
    if name in simple:
        return np.asarray(simple[name]()).astype(int)
    grey, linear, shift = (128, 128, 128), Image.Resampling.BILINEAR, round(strength * 150 / 331 * SIZE)
    if name == "rotate":
        return np.asarray(image.rotate(30 * strength, linear, fillcolor=grey)).astype(int)
    matrix = {
        "shear_x": (1, 0.3 * strength, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * strength, 1, 0),
        "translate_x": (1, 0, shift, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift),
    }[name]
    moved = image.transform(image.size, Image.Transform.AFFINE, matrix, linear, fillcolor=grey)
    return np.asarray(moved).astype(int)


# Difference in 1/255 that 99 % of the pixels keep (90 % where a warp blends in the fill at the edge of the image). Only
# equalize is further off: Pillow rounds the pixels of a step of its table down, here 1600 / 255 = 6.3 to 6.
TOLERANCE = {"equalize": 12}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operation_does_what_pillow_does(case, picture, results):
    name, strength = case
    inside = slice(1, -1) if name == "sharpness" else slice(None)  # Pillow leaves the border of a sharpened image
    difference = np.abs(results[case] - pillow(name, strength, picture))[inside, inside]
    share = 0.9 if KINDS[parameters(np.array([OPS.index(name)]), np.ones(1), 8)[0][0]] == "warp" else 0.99
    assert np.quantile(difference, share) <= TOLERANCE.get(name, 1)
    assert (results[case] != picture).any() == (name != "identity")
