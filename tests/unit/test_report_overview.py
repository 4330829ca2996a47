"""These tests ask the figures of the published overview for every published point, and for the errors of the tables."""

import json
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ssld.config import cards
from ssld.report import overview
from ssld.report.overview import CHARTS, draw, write_figures
from ssld.report.point_names import HALF, Label, write_labels
from ssld.report.point_names import path as path_to
from ssld.report.run_files import bench_file

ROOT = Path(__file__).parents[2]
each_chart = pytest.mark.parametrize("name", CHARTS)


@pytest.fixture(scope="module")
def figures():
    return {name: draw(chart) for name, chart in CHARTS.items()}


def spots(name):
    """Return {published name: (milliseconds, percent)}."""
    models = [model for model in cards.models().values() if CHARTS[name].group(model)]
    times = {model: CHARTS[name].latency(model.latency_ms) for model in models}
    return {model.name: (ms, model.top1) for model, ms in times.items() if ms is not None}


def drawn(figure):
    """Return the points of a figure: those of its lines with a marker."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "")]
    return [(x, y) for line in lines for x, y in line.get_xydata()]


def names(figure):
    """Return the names beside points, with their boxes in pixels."""
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text() and not hasattr(text, "arrow_patch")]
    return {text.get_text(): text.get_window_extent(renderer) for text in texts}


def caption(figure):
    return " ".join(figure.texts[0].get_text().split())


def apart(a, b):
    return a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0


@pytest.mark.parametrize(
    ("name", "model", "ms"),
    [
        ("v100_fp32_batch1", "ResNet50_vd_ssld", 3.16531),
        ("t4_fp32_batch4", "Fix_ResNet50_vd_ssld_v2", 14.6415),
        ("sd855_batch1", "MobileNetV3_large_x1_0_ssld_int8", 14.395),
    ],
)
def test_a_figure_shows_the_column_that_it_names(name, model, ms):
    assert spots(name)[model] == pytest.approx((ms, cards.find_model(model).top1), abs=0.001)


@each_chart
def test_every_published_point_is_drawn_and_no_other(name, figures):
    assert sorted(drawn(figures[name])) == sorted(spots(name).values())


@each_chart
def test_an_arrow_leads_to_each_training_with_ssld_from_what_it_is_compared_with(name, figures):
    places, models = spots(name), cards.models()
    expected = {
        (places[plain], places[model])
        for model in places
        if "ssld" in model
        for plain in places
        if (models[plain].arch, models[plain].kind) == (models[model].arch, "plain")
        if models[model].kind in ("ssld", "ssld_v2")
    }
    began = {"Fix_ResNet50_vd_ssld_v2": "ResNet50_vd_ssld_v2"}
    began["MobileNetV3_large_x1_0_ssld_int8"] = "MobileNetV3_large_x1_0_ssld"
    expected |= {(places[first], places[model]) for model, first in began.items() if model in places}
    arrow_texts = [text for text in figures[name].axes[0].texts if hasattr(text, "arrow_patch")]
    assert {(tuple(text.xyann), tuple(text.xy)) for text in arrow_texts} == expected
    assert len(arrow_texts) == len([model for model in places if "ssld" in model]) >= 5


@each_chart
def test_axes_are_milliseconds_and_percent(name, figures):
    axes = figures[name].axes[0]
    assert axes.get_xlabel() == "latency, milliseconds a batch (logarithmic)"
    assert axes.get_ylabel() == "top-1, %, ImageNet validation images"
    assert str(CHARTS[name].batch) in axes.get_title(loc="left").rpartition("batch")[2]


@each_chart
def test_no_name_lies_on_another_or_on_a_point_and_all_stay_inside(name, figures):
    figure = figures[name]
    axes, boxes = figure.axes[0], names(figure)
    frame = axes.get_window_extent(figure.canvas.get_renderer())
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes.values())
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes.values())
    assert not [(a, b) for a, b in combinations(boxes, 2) if not apart(boxes[a], boxes[b])]
    points = axes.transData.transform(list(spots(name).values()))
    for box in boxes.values():
        near = (points > (box.x0 - 3, box.y0 - 2)) & (points < (box.x1 + 3, box.y1 + 2))
        assert not near.all(1).any()


@each_chart
def test_both_ends_of_every_arrow_have_their_name(name, figures):
    places, models = spots(name), cards.models()
    trained = [model for model in places if "ssld" in model]
    plain = {
        plain
        for plain in places
        for model in trained
        if models[plain].kind == "plain" and models[plain].arch == models[model].arch
    }
    assert {*trained, *plain} <= set(names(figures[name]))
    assert set(names(figures[name])) <= set(places)
    unnamed = len(places) - len(names(figures[name]))
    assert (f"{unnamed} points are without a name" in caption(figures[name])) == (unnamed > 0)


@each_chart
def test_legend_and_caption_stand_below_the_picture(name, figures):
    figure = figures[name]
    renderer = figure.canvas.get_renderer()
    legend, text = figure.legends[0].get_window_extent(renderer), figure.texts[0].get_window_extent(renderer)
    assert legend.y1 < figure.axes[0].xaxis.label.get_window_extent(renderer).y0
    assert text.y1 < legend.y0
    assert len(names(figure)) > 30


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("v100_fp32_batch1", "GoogLeNet: the V100 table says 224 pixels, the T4 table 299."),
        ("v100_fp32_batch1", "HRNet_W18_C stands at its 76.92"),
        ("v100_fp32_batch1", "Fix_ResNet50_vd_ssld_v2, all of Mobile, InceptionV3, ResNeSt50_fast_1s1x64d, ResNeSt50,"),
        ("t4_fp32_batch4", "ResNet50_ACNet_deploy: the T4 table says 256 pixels"),
        ("t4_fp32_batch4", "GhostNet_x0_5, GhostNet_x1_0, GhostNet_x1_3, EfficientNetB6, EfficientNetB7."),
        ("sd855_batch1", "speaks of FPS, its numbers are milliseconds"),
        ("sd855_batch1", "76.05, 76.1 and 75.9 on three pages, here 76.05"),
    ],
)
def test_a_caption_tells_what_is_wrong_and_what_is_missing(name, sentence, figures):
    assert sentence in caption(figures[name])
    assert caption(figures[name]).startswith("Published, not measured here: PaddleClas, branch release/static, ")
    assert "The tables repeat a network's time for its SSLD weights" in caption(figures[name])


def measured(tmp_path, **changes):
    row = {"network": "MobileNetV1", "engine": "openvino", "precision": "fp32", "batch": 1, "size": 224, "threads": 1}
    row |= {"p50_ms": 12.5, "images_per_second": 80.0, "model_bytes": 17_000_000, "span": "model", **changes}
    (tmp_path / "b.json").write_text(json.dumps({"machine": {"device": "A desk"}, "rows": [row]}))
    return bench_file(tmp_path / "b.json")


def test_our_points_are_rings_with_their_machine_in_the_legend(tmp_path):
    figure = draw(CHARTS["sd855_batch1"], [measured(tmp_path)])
    assert sorted(drawn(figure)) == sorted([*spots("sd855_batch1").values(), (12.5, 70.99)])
    assert "MobileNetV1, measured" in names(figure)
    assert figure.legends[0].get_texts()[-1].get_text() == "measured, openvino on A desk"
    assert "Rings: latency measured as the legend says; their top-1 is the published one." in caption(figure)


@pytest.mark.parametrize(
    "changes",
    [{"batch": 4}, {"size": 192}, {"precision": "int8"}, {"span": "end-to-end"}, {"network": "student"}],
    ids=str,
)
def test_a_row_that_is_not_comparable_is_not_drawn(changes, tmp_path):
    assert overview.measured(CHARTS["sd855_batch1"], [*cards.models().values()], [measured(tmp_path)])
    assert not overview.measured(CHARTS["sd855_batch1"], [*cards.models().values()], [measured(tmp_path, **changes)])


def test_a_name_that_finds_no_room_is_left_out_and_told(figures):
    figure = draw(CHARTS["sd855_batch1"])
    x, y = 10.0, 62.0
    crowd = [Label(f"Network number {number}", x, y, "#000000") for number in range(90)]
    left_out = write_labels(figure.axes[0], crowd)
    assert 0 < len(left_out) < 90
    assert left_out == [label.name for label in crowd if label.name not in names(figure)]


def test_figures_are_written_as_png_and_svg_and_are_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "CHARTS", {"sd855_batch1": CHARTS["sd855_batch1"]})
    first, second = (write_figures(tmp_path / name) for name in ("a", "b"))
    assert [file.name for file in first] == ["sd855_batch1.png", "sd855_batch1.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".png":
            assert one.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        else:
            assert ET.parse(one).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@each_chart
def test_the_committed_figures_are_of_todays_cards(name, figures):
    """Only the words are compared, because positions and bytes depend on the version of Matplotlib."""
    text = ET.parse(ROOT / "docs" / "figures" / f"{name}.svg").getroot().itertext()
    words = {" ".join(line.split()) for line in text}
    caption_lines = {line for line in figures[name].texts[0].get_text().splitlines() if "without a name" not in line}
    assert caption_lines <= words, "run `make docs`"
    assert figures[name].axes[0].get_title(loc="left") in words
    assert {text.get_text() for text in figures[name].legends[0].get_texts()} <= words
    assert (ROOT / "docs" / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_line_to_a_name_starts_outside_its_point():
    path = path_to(np.array([0.0, 0.0]), (40.0, -5.0, 90.0, 5.0))
    assert path[0][0] > HALF
    assert path[-1][0] < 40
    assert not path[:, 1].any()
