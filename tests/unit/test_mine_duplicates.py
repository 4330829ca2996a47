"""These tests change real photographs: copies are recognised whatever is done to them, neighbours are not."""

import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFont
from scipy.fft import dctn

from ssld.config.cards import Input
from ssld.data import EvalLoader, read_list
from ssld.data.readable import Unreadable
from ssld.errors import DataError
from ssld.mine import candidates, duplicates, validation
from ssld.mine.picture import look
from ssld.mine.sources import Item
from ssld.mine.validation import Validation
from tests.unit.mine_place import INPUT, tiles, write_validation


def recompressed(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert("RGB")


def written_on(image):
    image = image.copy()
    ImageDraw.Draw(image).text((5, 50), "PROOF COPY", fill=(255, 255, 0), font=ImageFont.load_default(size=18))
    return image


CHANGES = {
    "JPEG": recompressed,
    "halved": lambda image: image.resize((64, 66)),
    "cut to 80 % of the sides": lambda image: image.crop((5, 20, 107, 122)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "other colours": lambda image: ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.3)).enhance(1.4),
    "turned": lambda image: image.rotate(4, Image.Resampling.BICUBIC),
    "written on": written_on,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Put every other tile of a photograph into the validation set."""
    root = tmp_path_factory.mktemp("duplicates")
    listed = write_validation(root, tiles()[::2])
    with ThreadPoolExecutor(2) as pool:
        yield Validation(read_list(listed, root), pool), pool, root


def near(place, images):
    validation, pool, root = place
    pictures = []
    for image in images:
        image.save(root / "asked.png")
        pictures.append(look(Item("asked", str(root / "asked.png"))))
    return [duplicate and duplicate.image for duplicate, _ in validation.near(pictures, pool)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_validation_image_is_found_as_a_copy_of_the_right_one(place, change):
    own = tiles()[::2]
    assert near(place, [change(image) for image in own]) == list(range(len(own)))


def test_features_of_validation_images_are_made_once_and_kept_within_a_limit(place, monkeypatch):
    known, made, images = place[0], [], tiles()[::2]
    right = list(range(len(images)))
    monkeypatch.setattr(validation, "features", lambda grey: made.append(1) or duplicates.features(grey))

    def memory():
        assert known._bytes == sum(map(validation._size, known._features.values()))
        return known._bytes

    assert near(place, images) == right
    everything, count = memory(), len(known._features)
    made.clear()
    assert near(place, images) == right
    assert len(images) <= len(made) <= 2 * len(images)  # the features are their own, and those of their mirror images
    assert memory() == everything > 0

    monkeypatch.setattr(validation, "KEPT", everything // count * 2)
    known._features.clear()
    known._bytes = 0
    assert near(place, images) == right
    assert 0 < memory() <= validation.KEPT


def test_other_parts_of_the_same_photograph_are_no_copies(place):
    assert near(place, tiles()[1::2]) == [None] * len(tiles()[1::2])


def test_pictures_without_content_are_no_copies(place):
    assert near(place, [Image.new("RGB", (90, 60), "white"), Image.new("RGB", (60, 60))]) == [None, None]


def test_the_descriptor_is_a_weighted_dct_of_length_one():
    cells = np.random.default_rng(0).integers(0, 255, (candidates.CELLS,) * 2, dtype=np.uint8)
    low = dctn(cells.astype(float), norm="ortho")[:8, :8] * np.hypot(*np.mgrid[0:8, 0:8])
    expected = low.ravel()[1:] / np.linalg.norm(low.ravel()[1:])
    np.testing.assert_allclose(candidates.describe(cells), expected, atol=1e-6)


def test_the_descriptor_of_a_mirror_image_has_other_signs_only():
    grey = np.asarray(tiles()[0].convert("L"))
    mirrored = candidates.describe(np.ascontiguousarray(grey[:, ::-1]))
    np.testing.assert_allclose(candidates.describe(grey) * candidates.MIRROR, mirrored, atol=1e-5)


def test_correlation_is_that_of_the_part_that_overlaps():
    grey = np.asarray(tiles()[0].convert("L").resize((256, 256)))
    moved = cv2.warpAffine(grey, np.float64([[1, 0, -80], [0, 1, -30]]), (256, 256))
    shift = np.float64([[1, 0, 80], [0, 1, 30]])
    assert duplicates.agreement(moved, grey, shift) == pytest.approx((1.0, 1.0), abs=0.05)
    assert duplicates.agreement(255 - moved, grey, shift) == pytest.approx((-1.0, -1.0), abs=0.05)
    far = np.float64([[1, 0, 200], [0, 1, 0]])  # a fifth of the picture is left
    assert duplicates.agreement(grey, grey, far) == (0.0, 0.0)


def test_details_are_what_a_shift_of_brightness_and_a_strong_blur_leave():
    grey = np.asarray(tiles()[0].convert("L").resize((256, 256)))
    still = np.float64([[1, 0, 0], [0, 1, 0]])
    # The picture is lit from one side.
    ramp = np.clip(0.4 * grey + np.linspace(0, 140, 256)[None], 0, 255).astype(np.uint8)
    brightness, detail = duplicates.agreement(ramp, grey, still)
    assert brightness < 0.8 < 0.97 < detail


@pytest.mark.parametrize(
    ("points", "agrees", "copy"),
    [(200, (0.8, 0.5), True), (200, (0.7, 1.0), False), (13, (0.8, 0.95), True), (13, (0.8, 0.85), False)],
    ids=["many matches", "another brightness", "few matches and the same details", "few matches and other details"],
)
def test_a_copy_needs_matches_and_the_same_brightness_and_with_few_matches_the_same_details(
    monkeypatch, points, agrees, copy
):
    grey = np.asarray(tiles()[0].convert("L").resize((256, 256)))
    found = duplicates.features(grey)
    _, apart = np.unique(found.points.round(), axis=0, return_index=True)
    own = duplicates.Features(found.points[apart[:points]], found.descriptors[apart[:points]])
    monkeypatch.setattr(duplicates, "agreement", lambda *pictures: agrees)
    assert (duplicates.mapped(grey, own, grey, own) is not None) is copy
    assert duplicates.same(grey, own, grey, own) is not None  # equal as they lie


def test_a_validation_image_that_cannot_be_read_is_an_error(tmp_path):
    listed = write_validation(tmp_path, tiles()[:2])
    (tmp_path / "1.png").write_bytes(b"no image")
    with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match=r"1\.png: unreadable validation image"):
        Validation(read_list(listed, tmp_path), pool)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "no image that can be read"),
        (b"\x89PNG\r\n\x1a\n", "no image that can be read"),
    ],
)
def test_an_unreadable_image_says_why(tmp_path, data, reason):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        look(Item("a", str(tmp_path / "a.png")))


def test_a_gif_is_left_out_as_no_recipe_could_train_on_it(tmp_path):
    tiles()[0].save(tmp_path / "a.gif")
    with pytest.raises(Unreadable, match="GIF is not read; save it as PNG or JPEG"):
        look(Item("a", str(tmp_path / "a.gif")))


@pytest.mark.parametrize("size", [(90, 70), (33, 120)])
def test_the_teacher_sees_what_the_evaluation_of_a_recipe_shows(tmp_path, size):
    """DALI and Pillow agree on the resize up to 1/255; a deviation of std 0.5 doubles it."""
    tiles()[0].resize(size).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png\n")
    teacher_input = Input(size=32, resize=40, mean=INPUT.mean, std=INPUT.std)
    files = read_list(tmp_path / "list.txt", tmp_path)
    loader = EvalLoader(files, size=32, resize=40, batch=1, mean=teacher_input.mean, std=teacher_input.std)
    (batch,) = loader.batches()
    crop = look(Item("a", str(tmp_path / "a.png")), teacher_input).crop
    assert np.abs(batch["image"].numpy()[0] - crop).max() <= 2 / 255 + 1e-5
