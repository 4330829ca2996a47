"""These tests ask whether the zoo's page, its figures and the tables of its series are made from the cards alone."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from ssld.config import cards
from ssld.errors import RecipeError
from ssld.report import zoo
from ssld.report.scatter import Panel, Point, best, scatter

SVG = "{http://www.w3.org/2000/svg}"
PAGE = "# HRNet\n\nIdea.\n\n## Published results\n<!-- published -->\n{}<!-- /published -->\n\n## Quirks\n- one\n"
COLOURS = {"a": "student", "b": "baseline"}


def drawn(points, title="t", label="ms"):
    return ET.fromstring(scatter(title, [Panel(label, "top-1", points)], COLOURS, "star"))


def with_page(docs, text):
    (docs / "zoo").mkdir(parents=True)
    (docs / "zoo" / "hrnet.md").write_text(text)
    return docs


def cells(text, name):
    """Return the row of a model in a Markdown table, by column."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    titles = next(line for line in lines if line[0] == "name")
    return dict(zip(titles, next(line for line in lines if line[0].startswith(f"[{name}]")), strict=True))


def test_the_best_at_their_cost_are_beaten_by_no_cheaper_one():
    points = [
        Point(*row)
        for row in (("p", 1, 5, "a"), ("q", 2, 4, "a"), ("r", 3, 6, "a"), ("s", 1, 3, "a"), ("t", 4, 6, "a"))
    ]
    assert [point.name for point in best(points)] == ["p", "r"]


def test_points_stand_where_their_cost_and_accuracy_say():
    root = drawn([Point("low", 1, 50, "a"), Point("middle", 10, 60, "b"), Point("high", 100, 80, "a")])
    spots = {}
    for group in root.iter(f"{SVG}g"):
        if (title := group.find(f"{SVG}title")) is not None:
            dot = group.find(f"{SVG}circle")
            spots[title.text.partition(":")[0]] = (float(dot.get("cx")), float(dot.get("cy")), dot.get("fill"))
    (x1, y1, first), (x2, y2, second), (x3, y3, _) = (spots[name] for name in ("low", "middle", "high"))
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)  # this axis is logarithmic
    assert (y1 - y2) * 2 == pytest.approx(y2 - y3, abs=0.3)  # this axis is linear
    assert (first, second) == ("var(--student)", "var(--baseline)")


def test_a_name_with_signs_of_markup_is_text():
    root = drawn([Point("<b>&", 1, 50, "a", star=True), Point("q", 2, 40, "b")], title='"a" < b')
    assert root.get("aria-label") == '"a" < b'
    assert "<b>&" in [text.text for text in root.iter(f"{SVG}text")]
    assert len([star for star in root.iter(f"{SVG}polygon")]) == 2  # one is the point's, one the legend's


@pytest.mark.parametrize("name", ["top1_flops", "top1_params", "top1_latency"])
def test_no_label_of_a_figure_covers_another_and_all_stay_inside(name, tmp_path):
    root = ET.fromstring(zoo.pages(tmp_path)[f"zoo/{name}.svg"])
    for panel in root.findall(f"{SVG}g"):
        boxes = []
        for text in panel.iter(f"{SVG}text"):
            if "label" in text.get("class", "").split():
                x, y, width = float(text.get("x")), float(text.get("y")), 5.5 * len(text.text)
                left = x - width if "end" in text.get("class").split() else x
                boxes.append((left, y - 8, left + width, y))
        assert len(boxes) > 12
        assert all(left > 0 and right < float(root.get("width")) for left, _, right, _ in boxes)
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_figure_shows_every_model_that_has_the_cost_and_marks_those_of_ssld(tmp_path):
    pages, models = zoo.pages(tmp_path), cards.models()
    assert pages["zoo/top1_flops.svg"].count("<title>") == pages["zoo/top1_params.svg"].count("<title>") == 131
    stars = [name for name in models if "ssld" in name]
    assert pages["zoo/top1_flops.svg"].count('class="star"') == len(stars) + 1 == 14
    timed = [
        sum(value is not None for value in (latency.v100_fp32, latency.t4_fp32, latency.sd855))
        for latency in (model.latency_ms for model in models.values())
    ]
    assert pages["zoo/top1_latency.svg"].count("<title>") == sum(timed)


def test_a_figure_takes_its_colours_from_the_theme_and_is_the_same_every_time(tmp_path):
    text = zoo.pages(tmp_path)["zoo/top1_flops.svg"]
    body = text[text.index("</style>") :]
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"#[0-9a-f]{3,6}\b", body)
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(re.findall(r"--(\w+):", text))
    assert zoo.pages(tmp_path)["zoo/top1_flops.svg"] == text


def test_the_page_has_a_row_a_name_with_its_facts(tmp_path):
    page = zoo.pages(tmp_path)["zoo.md"]
    assert len(re.findall(r"^\| \[", page, flags=re.MULTILINE)) == 131
    row = cells(page, "Fix_ResNet50_vd_ssld_v2")
    assert row["name"] == "[Fix_ResNet50_vd_ssld_v2](../students/ResNet50_vd.yaml)"
    assert (row["top-1, %"], row["top-5, %"], row["params, M"], row["GFLOPs"], row["input"]) == (
        *("84.00", "97.00", "25.6", "17.7"),
        "320",
    )
    assert (row["V100, ms"], row["T4 FP32, ms"], row["T4 FP16, ms"], row["SD855, ms"]) == ("-", "5.08", "3.43", "-")


def test_a_series_is_linked_once_its_page_is_there(tmp_path):
    assert "- HRNet: hrnet\n" in zoo.pages(tmp_path)["zoo.md"]
    page = zoo.pages(with_page(tmp_path, PAGE.format("")))["zoo.md"]
    assert "- HRNet: [hrnet](zoo/hrnet.md)\n" in page
    assert cells(page, "HRNet_W18_C")["series"] == "[hrnet](zoo/hrnet.md)"


def test_the_table_of_a_series_goes_between_its_marks_and_nothing_else_changes(tmp_path):
    text = zoo.pages(with_page(tmp_path, PAGE.format("old\n")))["zoo/hrnet.md"]
    before, after = PAGE.split("{}")
    assert text.startswith(before)
    assert text.endswith(after)
    assert "old" not in text
    row = cells(text, "HRNet_W18_C_ssld")
    assert (row["top-1, %"], row["T4 FP32"], row["note"]) == ("81.16", "7.41 / 13.30 / 23.33", "below")
    assert row["source"] == "[README_cn](https://github.com/PaddlePaddle/PaddleClas/blob/release/static/README_cn.md)"
    assert "\n- **HRNet_W18_C_ssld**: The HRNet page prints 81.6," in text


def test_a_page_may_hold_several_series(tmp_path):
    text = PAGE.format("").replace("published -->", "published: dpn densenet -->", 1)
    pages = zoo.pages(with_page(tmp_path, text))
    assert "DPN68" in pages["zoo/hrnet.md"]
    assert "DenseNet264" in pages["zoo/hrnet.md"]
    assert "HRNet_W18_C" not in pages["zoo/hrnet.md"]
    assert "- DPN, DenseNet: [dpn](zoo/hrnet.md), [densenet](zoo/hrnet.md)\n" in pages["zoo.md"]


def test_filling_again_changes_nothing(tmp_path):
    zoo.write(with_page(tmp_path, PAGE.format("")))
    first = {file: file.read_text() for file in sorted(tmp_path.rglob("*.*"))}
    assert len(first) == 5
    zoo.write(tmp_path)
    assert {file: file.read_text() for file in sorted(tmp_path.rglob("*.*"))} == first


@pytest.mark.parametrize(
    "text", ["# HRNet\n", PAGE.replace("<!-- published -->\n", ""), "<!-- /published -->\n<!-- published -->\n"]
)
def test_a_page_without_a_place_for_its_table_is_refused_in_one_line(text, tmp_path):
    with pytest.raises(RecipeError, match=r"hrnet\.md: has no line <!-- published --> before <!-- /published -->; add"):
        zoo.pages(with_page(tmp_path, text))


def test_a_page_about_something_else_is_left_alone(tmp_path):
    with_page(tmp_path, PAGE.format("")).joinpath("zoo", "history.md").write_text("# History\n")
    assert "zoo/history.md" not in zoo.pages(tmp_path)
