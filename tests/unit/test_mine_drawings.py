"""Near-duplicates of drawings: transparent images, pictures without key points, and playing cards that look alike."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ssld.data import FileList
from ssld.mine import duplicates
from ssld.mine.picture import look
from ssld.mine.sources import Item
from ssld.mine.validation import Validation

SUITS = {"heart": (200, 0, 0), "diamond": (200, 0, 0), "spade": (0, 0, 0), "club": (0, 0, 0)}
PIPS = {2: 2, 3: 3, 4: 4, 5: 5, 6: 6}
WHITE = (255, 255, 255)


def pip(draw, suit, x, y, r):
    ink = SUITS[suit]
    if suit == "diamond":
        draw.polygon([(x, y - r), (x + 0.7 * r, y), (x, y + r), (x - 0.7 * r, y)], fill=ink)
        return
    turn = -1 if suit == "heart" else 1
    if suit == "club":
        for dx, dy in ((0, -0.5), (-0.5, 0.2), (0.5, 0.2)):
            box = (x + (dx - 0.45) * r, y + (dy - 0.45) * r, x + (dx + 0.45) * r, y + (dy + 0.45) * r)
            draw.ellipse(box, fill=ink)
    else:
        draw.polygon(
            [(x - 0.9 * r, y + turn * 0.2 * r), (x + 0.9 * r, y + turn * 0.2 * r), (x, y - turn * r)], fill=ink
        )
        for dx in (-0.45, 0.45):
            middle = y + turn * 0.3 * r
            draw.ellipse((x + (dx - 0.45) * r, middle - 0.45 * r, x + (dx + 0.45) * r, middle + 0.45 * r), fill=ink)
    if suit != "heart":
        draw.polygon([(x, y), (x - 0.3 * r, y + r), (x + 0.3 * r, y + r)], fill=ink)


def card(suit, rank):
    """A playing card, RGBA, transparent around its corners and black there."""
    image = Image.new("RGBA", (180, 250), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((1, 1, 178, 248), 14, fill=(250, 248, 235, 255), outline=(90, 80, 60, 255), width=2)
    font = ImageFont.load_default(size=30)
    half = Image.new("RGBA", image.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(half)
    pen.text((10, 4), str(rank), fill=(*SUITS[suit], 255), font=font)
    pip(pen, suit, 19, 52, 11)
    for corner in (half, half.rotate(180)):
        image.paste(corner, mask=corner)
    for number in range(rank):
        x = 90 if rank < 4 else 60 + 60 * (number % 2) if number < rank - rank % 2 else 90
        y = 60 + 130 * (number if rank < 4 else number // 2) / max(1, (rank if rank < 4 else (rank + 1) // 2) - 1)
        pip(draw, suit, x, y, 17)
    return image


def shape(seed):
    """A drawing of a few flat shapes with hidden colours around them, RGBA."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGBA", (160, 120), (*rng.integers(0, 256, 3).tolist(), 0))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        points = [(int(x), int(y)) for x, y in rng.integers(10, 110, (4, 2))]
        draw.polygon(points, fill=(*rng.integers(0, 200, 3).tolist(), 255))
    return image


def icon(sign):
    """An icon of a theme, RGBA: a shaded screen on a foot, which all have, and a sign on it."""
    level = np.add.outer(np.arange(128), np.arange(128)) * 0.9
    shade = np.stack([level * part for part in (0.7, 0.85, 1.0)], axis=-1).clip(0, 255).astype(np.uint8)
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    mask = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(mask)
    draw.rounded_rectangle((4, 6, 124, 104), 9, fill=255)
    draw.polygon([(50, 104), (76, 104), (92, 124), (34, 124)], fill=255)
    image.paste(Image.fromarray(shade), mask=mask)
    draw = ImageDraw.Draw(image)
    draw.rectangle((14, 16, 114, 94), outline=(240, 240, 250, 255), width=3)
    for row in range(4):
        draw.line((30, 38 + 12 * row, 60 + 8 * row, 38 + 12 * row), fill=(20, 20, 30, 255), width=2)
    draw.text((66, 40), sign, fill=(250, 250, 90, 255), font=ImageFont.load_default(size=44))
    return image


def on_white(image):
    canvas = Image.new("RGB", image.size, WHITE)
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def found(folder, validation, pool, background=WHITE):
    """Name of each pool image -> name of the validation image that it is taken for, None: no copy."""
    for name, image in {**validation, **pool}.items():
        image.save(folder / name)
    files = FileList(list(validation), np.zeros(len(validation), dtype=np.int64), str(folder))
    with ThreadPoolExecutor(2) as workers:
        known = Validation(files, workers, background=background)
        pictures = [look(Item(name, str(folder / name)), background=background) for name in pool]
        near = [match for match, _ in known.near(pictures, workers)]
    return {name: match and files.paths[match.image] for name, match in zip(pool, near, strict=True)}


def test_every_copy_on_white_of_a_transparent_image_is_found(tmp_path):
    drawings = {f"{seed}.png": shape(seed) for seed in range(12)}
    copies = {}
    for name, image in drawings.items():
        copies[f"copy-{name}".replace(".png", ".jpg")] = on_white(image)
        copies[f"copy-{name}"] = on_white(image)
        copies[f"clear-{name}"] = Image.fromarray(np.where(np.asarray(image)[..., 3:] > 0, np.asarray(image), 0))
    result = found(tmp_path, drawings, copies)
    assert all(other == name.partition("-")[2].replace(".jpg", ".png") for name, other in result.items()), result


def test_a_copy_on_another_colour_is_found_where_that_is_the_background(tmp_path):
    drawings = {f"{seed}.png": shape(seed) for seed in range(4)}
    blue = {}
    for name, image in drawings.items():
        canvas = Image.new("RGB", image.size, (20, 30, 160))
        canvas.paste(image, mask=image.getchannel("A"))
        blue[f"copy-{name}"] = canvas
    assert all(found(tmp_path, drawings, blue, background=(20, 30, 160)).values())


def test_playing_cards_are_different_pictures_and_their_copies_are_not(tmp_path):
    cards = {f"{suit}-{rank}.png": card(suit, rank) for suit in SUITS for rank in PIPS}
    shown = {name: image for number, (name, image) in enumerate(cards.items()) if number % 2 == 0}
    others = {name: image for name, image in cards.items() if name not in shown}
    copies = {f"copy-{name[:-4]}.jpg": on_white(image) for name, image in shown.items()}
    result = found(tmp_path, shown, others | copies)
    assert [name for name in others if result[name]] == []
    assert all(result[name] == name.removeprefix("copy-")[:-4] + ".png" for name in copies), result


def test_shaded_icons_of_a_theme_are_different_pictures_and_their_copies_are_not(tmp_path):
    """They have as many grey levels as a photograph: that they are drawings, transparent pixels say."""
    icons = {f"{sign}.png": icon(sign) for sign in "AXWO"}
    assert not any(duplicates.drawn(np.asarray(on_white(image).convert("L"))) for image in icons.values())
    others = {f"{sign}.png": icon(sign) for sign in "BZTH"} | {
        f"flat-{sign}.jpg": on_white(icon(sign)) for sign in "MK"
    }
    copies = {f"copy-{name[:-4]}.jpg": on_white(image) for name, image in icons.items()}
    result = found(tmp_path, icons, others | copies)
    assert [name for name in others if result[name]] == []
    assert all(result[name] == f"{name.partition('-')[2][0]}.png" for name in copies), result


@pytest.mark.parametrize(
    "stripes", [((0, 60, 150), WHITE, (220, 30, 40)), ((0, 130, 60), (250, 200, 0), (200, 20, 40))]
)
def test_a_picture_without_key_points_is_found_and_one_of_other_colours_is_not(tmp_path, stripes):
    def flag(colours):
        pixels = np.repeat(np.array(colours, dtype=np.uint8), 50, axis=0)[None].repeat(100, axis=0)
        return Image.fromarray(pixels)

    other = flag([tuple(255 - part for part in colour) for colour in stripes])
    darker = flag([tuple(part * 2 // 3 for part in colour) for colour in stripes])
    result = found(tmp_path, {"flag.png": flag(stripes)}, {"a.jpg": flag(stripes), "b.png": other, "c.png": darker})
    assert result == {"a.jpg": "flag.png", "b.png": None, "c.png": None}


def test_a_card_is_a_drawing_and_a_soft_part_of_a_photograph_is_none():
    soft = np.asarray(
        Image.fromarray(np.random.default_rng(0).integers(90, 120, (6, 6), dtype=np.uint8)).resize((256, 256), 3)
    )
    assert duplicates.entropy(soft) < duplicates.DRAWN
    assert not duplicates.drawn(soft)
    assert not duplicates.drawn(np.random.default_rng(0).integers(0, 256, (99, 99), dtype=np.uint8))
    assert all(duplicates.drawn(np.asarray(on_white(card(suit, 4)).convert("L"))) for suit in SUITS)
    assert not duplicates.drawn(np.zeros((1, 9), dtype=np.uint8))


def test_the_entropy_of_grey_levels_tells_drawings_from_noise():
    assert duplicates.entropy(np.full((9, 9), 7, np.uint8)) == 0
    assert duplicates.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 6
    halves = np.repeat(np.array([[0, 255]], np.uint8), 8, axis=1)
    assert duplicates.entropy(halves) == 1
