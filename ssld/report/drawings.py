"""Draw for each kind of method what it compares, and between whom, as SVG on a background of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import atan2, cos, hypot, sin

WIDTH, HEIGHT = 700, 230
INK, MUTED, PAPER, TEACHER, STUDENT, LOSS = "#1d2733", "#6b7785", "#fbfbf9", "#b4561f", "#1f6f8b", "#6f3fa0"
UPPER, LOWER = 62, 168  # the middle of the teacher's row, and of the student's
HEIGHTS = (62, 48, 36, 26)  # of the stages of a network: maps become smaller
SURE, UNSURE = (9, 44, 16, 6, 12), (14, 34, 24, 10, 16)  # probabilities, as heights of bars
POINTS = ((0, 0), (52, -34), (84, 18))  # of three images

Place = tuple[float, float]


class Drawing:
    """Hold elements in the order in which they are drawn. Coordinates are pixels from the upper left corner."""

    def __init__(self, title: str):
        self.elements = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{PAPER}"/>']
        self.title = title

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" font-family="Helvetica, Arial, sans-serif" font-size="12">'
        )
        return "\n".join([head, f"<title>{self.title}</title>", *self.elements, "</svg>\n"])

    def text(self, at: Place, words: str, colour: str = INK, anchor: str = "middle") -> None:
        self.elements.append(f'<text x="{at[0]:g}" y="{at[1]:g}" fill="{colour}" text-anchor="{anchor}">{words}</text>')

    def rect(self, at: Place, size: Place, colour: str, filled: bool = True) -> None:
        """Draw a rectangle whose middle is at a place."""
        x, y = at[0] - size[0] / 2, at[1] - size[1] / 2
        fill = f'fill="{colour}" fill-opacity="0.16"' if filled else 'fill="none"'
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{size[0]:g}" height="{size[1]:g}" rx="3" {fill} stroke="{colour}"/>'
        )

    def dot(self, at: Place, colour: str, radius: float = 5) -> None:
        self.elements.append(f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="{radius:g}" fill="{colour}"/>')

    def line(self, start: Place, end: Place, colour: str = MUTED, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="4 4"' if dashed else ""
        ends = f'x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"'
        self.elements.append(f'<line {ends} stroke="{colour}" stroke-width="1.5"{dashes}/>')

    def arrow(self, start: Place, end: Place, colour: str = MUTED, dashed: bool = False) -> None:
        """Draw a line with a head at its end."""
        length, angle = hypot(end[0] - start[0], end[1] - start[1]), atan2(end[1] - start[1], end[0] - start[0])
        neck = start[0] + (length - 6) * cos(angle), start[1] + (length - 6) * sin(angle)
        self.line(start, neck, colour, dashed)
        corners = [(end[0] + 9 * cos(angle + turn), end[1] + 9 * sin(angle + turn)) for turn in (2.75, -2.75)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (end, *corners))
        self.elements.append(f'<polygon points="{points}" fill="{colour}"/>')

    def bars(self, at: Place, heights: Sequence[float], colour: str) -> None:
        """Draw the probabilities of five classes around a place."""
        for number, height in enumerate(heights):
            self.rect((at[0] + 12 * (number - 2), at[1] + 22 - height / 2), (8, height), colour)

    def loss(self, at: Place, words: str) -> None:
        """Draw a place where two things are compared, with words to the right of it."""
        self.elements.append(f'<circle cx="{at[0]:g}" cy="{at[1]:g}" r="17" fill="{LOSS}" fill-opacity="0.16"/>')
        self.text((at[0], at[1] + 4), "loss", LOSS)
        self.text((at[0] + 25, at[1] + 4), words, LOSS, "start")

    def image(self, at: Place, words: str = "image") -> None:
        self.rect(at, (34, 34), MUTED)
        x, y = at
        self.elements.append(
            f'<path d="M{x - 15:g} {y + 13:g} l10 -14 8 8 6 -10 8 16 z" fill="{MUTED}" fill-opacity="0.5"/>'
        )
        self.text((x, y + 32), words, MUTED)

    def network(self, x: float, y: float, colour: str, words: str) -> list[Place]:
        """Draw the four stages of a network from x on, and return the middle of each."""
        middles: list[Place] = [(x + 34 * number, y) for number in range(len(HEIGHTS))]
        for number, (middle, height) in enumerate(zip(middles, HEIGHTS, strict=True)):
            self.rect(middle, (18, height), colour)
            if number:
                self.line((middle[0] - 25, y), (middle[0] - 9, y), colour)
        self.text((x + 51, y + 46), words, colour)
        return middles

    def pair(self, x: float, images: str = "image") -> tuple[list[Place], list[Place]]:
        """Draw an image, and a teacher and a student from x on that both see it. Return the middles of their stages."""
        middle = (UPPER + LOWER) / 2
        self.image((36, middle), images)
        stages = self.network(x, UPPER, TEACHER, "teacher"), self.network(x, LOWER, STUDENT, "student")
        for y in (UPPER, LOWER):
            self.arrow((58, middle), (x - 14, y))
        return stages

    def says(self, x: float, y: float, heights: Sequence[float], colour: str) -> None:
        """Draw at x what a network says that begins at 110 in the row y."""
        self.arrow((226, y), (x - 48, y), colour)
        self.bars((x, y), heights, colour)

    def student_alone(self, x: float, words: str = "student") -> None:
        """Draw an image that the student alone sees, and at x what it says of it."""
        self.image((36, LOWER))
        self.arrow((58, LOWER), (96, LOWER))
        self.network(110, LOWER, STUDENT, words)
        self.says(x, LOWER, UNSURE, STUDENT)


def _label() -> Drawing:
    drawing = Drawing("A loss of labels: the student's probabilities against the label of the image")
    drawing.student_alone(330)
    drawing.bars((330, UPPER), (1, 46, 1, 1, 1), MUTED)
    drawing.text((330, UPPER - 36), "label", MUTED)
    _compared(drawing, 330, "the true class")
    return drawing


def _logit() -> Drawing:
    drawing = Drawing("A loss of logits: what both networks say of each class of an image")
    drawing.pair(110)
    for y, heights, colour in ((UPPER, SURE, TEACHER), (LOWER, UNSURE, STUDENT)):
        drawing.says(330, y, heights, colour)
    drawing.text((330, UPPER - 36), "logits", MUTED)
    _compared(drawing, 330, "class by class")
    return drawing


def _multi() -> Drawing:
    drawing = Drawing("Several teachers: each is weighed, for the recipe or for each image")
    drawing.student_alone(378)
    for number, heights in enumerate((SURE, UNSURE, (20, 30, 12, 8, 22))):
        x = 120 + 70 * number
        drawing.bars((x, UPPER), heights, TEACHER)
        drawing.text((x, UPPER + 42), f"teacher {number + 1}", TEACHER)
    drawing.arrow((296, UPPER), (330, UPPER), TEACHER)
    drawing.text((314, UPPER - 10), "weights", MUTED)
    drawing.bars((378, UPPER), (14, 40, 18, 7, 15), TEACHER)
    _compared(drawing, 378, "with all of them")
    return drawing


def _self() -> Drawing:
    drawing = Drawing("The student's own past: what it said of the image before, or a teacher that is invented")
    drawing.student_alone(330, "student, now")
    drawing.rect((158, UPPER), (182, 40), STUDENT, filled=False)
    drawing.text((158, UPPER + 4), "the student, one epoch ago", STUDENT)
    drawing.arrow((254, UPPER), (282, UPPER), STUDENT, dashed=True)
    drawing.bars((330, UPPER), (16, 36, 20, 8, 14), STUDENT)
    _compared(drawing, 330, "with its past")
    return drawing


def _feature() -> Drawing:
    drawing = Drawing("A loss of features: maps or vectors inside both networks, image by image")
    teacher, student = drawing.pair(150)
    for (x, y), colour in ((teacher[2], TEACHER), (student[2], STUDENT)):
        drawing.arrow((x + 9, y - 16), (336, y - 16), colour, dashed=True)  # it passes above the last stage
        for row in range(3):
            drawing.rect((360 + 6 * row, y + 5 * row - 5), (40, 40), colour)
        drawing.text((366, y + 46), "map of a stage", colour)
    drawing.rect((466, LOWER), (92, 34), LOSS)
    drawing.text((466, LOWER + 4), "trained layer", LOSS)
    drawing.arrow((396, LOWER), (419, LOWER), STUDENT)
    drawing.arrow((496, LOWER - 18), (544, (UPPER + LOWER) / 2 + 13), LOSS)
    drawing.arrow((396, UPPER), (542, (UPPER + LOWER) / 2 - 11), LOSS)
    drawing.loss((560, (UPPER + LOWER) / 2), "place by place")
    return drawing


def _relation() -> Drawing:
    drawing = Drawing("A loss of relations: how images stand to each other, for both networks")
    drawing.pair(110, "images")
    for offset in (4, 8):
        drawing.rect((36 + offset, (UPPER + LOWER) / 2 - offset), (34, 34), MUTED, filled=False)
    for y, colour, scale in ((UPPER, TEACHER, 1.0), (LOWER, STUDENT, 0.8)):
        drawing.arrow((226, y), (282, y), colour)
        places = [(310 + scale * dx, y + 8 + scale * dy) for dx, dy in POINTS]
        for one, other in ((0, 1), (1, 2), (0, 2)):
            drawing.line(places[one], places[other], colour)
        for place in places:
            drawing.dot(place, colour)
    drawing.text((352, LOWER + 50), "one point an image", MUTED)
    _compared(drawing, 365, "distances, angles")
    return drawing


def _contrast() -> Drawing:
    drawing = Drawing("A loss of contrast: an image is told from other images, by both networks together")
    drawing.pair(110)
    for y, colour in ((UPPER, TEACHER), (LOWER, STUDENT)):
        drawing.arrow((226, y), (282, y), colour)
    own, other = (330.0, float(LOWER)), (330.0, float(UPPER))
    drawing.dot(own, STUDENT, 7)
    drawing.dot(other, TEACHER, 7)
    drawing.line((own[0], own[1] - 8), (other[0], other[1] + 8), LOSS)
    drawing.text((322, 118), "near", LOSS, "end")
    for number, (dx, dy) in enumerate(((0, 0), (34, 22), (12, 48), (50, 62), (30, 92), (62, 108))):
        place = (470 + dx, 58 + dy)
        drawing.dot(place, TEACHER, 4)
        if number in (0, 2, 4):
            drawing.line((own[0] + 8, own[1] - 4), (place[0] - 7, place[1] + 2), LOSS, dashed=True)
    drawing.text((408, 176), "far", LOSS)
    drawing.text((502, 196), "a memory of other images", TEACHER)
    return drawing


def _optimiser() -> Drawing:
    drawing = Drawing("Two gradients, of the task and of the distillation, each with a momentum of its own")
    start = (110.0, 170.0)
    drawing.dot(start, INK)
    drawing.text((104, 192), "weights", INK)
    for end, colour, words, where in (
        ((330, 178), STUDENT, "task: momentum - delta", (338, 182)),
        ((210, 52), TEACHER, "distillation: momentum + delta", (218, 48)),
    ):
        drawing.arrow(start, end, colour)
        drawing.text(where, words, colour, "start")
    drawing.line((330, 178), (430, 60), MUTED, dashed=True)
    drawing.line((210, 52), (430, 60), MUTED, dashed=True)
    drawing.arrow(start, (430, 60), LOSS)
    drawing.text((438, 64), "step", LOSS, "start")
    return drawing


def _compared(drawing: Drawing, x: float, words: str) -> None:
    """Draw that what stands at x in both rows is compared."""
    middle = (UPPER + LOWER) / 2
    for y, side in ((UPPER, -1), (LOWER, 1)):
        drawing.arrow((x + 60, y), (x + 152, middle + 12 * side), LOSS)
    drawing.loss((x + 172, middle), words)


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "label": _label,
    "logit": _logit,
    "multi": _multi,
    "self_": _self,
    "feature": _feature,
    "relation": _relation,
    "contrast": _contrast,
    "optimiser": _optimiser,
}
"""Each group of methods has a function that makes its drawing."""
