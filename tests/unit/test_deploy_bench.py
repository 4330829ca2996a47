"""These tests ask the bench for its rows, the order of its runs, and its files."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from PIL import Image

from ssld.deploy import How, Row, export_model, timing, unsteady, write_csv, write_json
from ssld.deploy.bench import bench
from ssld.deploy.pictures import jpegs, preprocess
from ssld.distill.runs import Run
from ssld.errors import DeployError, RecipeError, SsldError
from ssld.plans import load_plan
from ssld.result import check_bench, check_export, measure
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, written

HEADER = (
    "network,engine,precision,batch,size,threads,repeats,mean_ms,p50_ms,p90_ms,p99_ms,images_per_second,model_bytes,"
    "span,speedup,speedup_low,speedup_high,drift,spread,steady,peak_bytes"
)
ROW = Row("teacher", "paddle", "fp32", 1, 32, 1, 50, 4.0, 4.0, 5.0, 6.0, 250.0, 1000)


def net(width: int) -> nn.Layer:
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(width, 2))


def contract(size: int) -> dict[str, Any]:
    input_spec = {"size": size, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": size}
    return {"arch": "toy", "classes": 2, "digest": "c" * 64, "input": input_spec}


def export(model: nn.Layer, folder: Path, size: int, formats: tuple[str, ...] = ("paddle",)) -> Path:
    export_model(model, folder, name=folder.name, formats=formats, contract=contract(size))
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bench")
    both = ("paddle", "onnx")
    return {"teacher": export(net(64), folder / "teacher", 48, both), "student": export(net(4), folder / "student", 32)}


def test_rows_are_sane(networks):
    rows = bench(networks, engines=["paddle", "onednn"], batch_sizes=[1, 4], image_sizes=[32, 40], warmup=1, repeats=30)
    keys = [(row.batch, row.size, row.network, row.engine) for row in rows]
    pairs = [(network, engine) for network in networks for engine in ("paddle", "onednn")]
    assert keys == [(batch, size, *pair) for batch in (1, 4) for size in (32, 40) for pair in pairs]
    for row in rows:
        assert 0 < row.p50_ms <= row.p90_ms <= row.p99_ms
        assert row.images_per_second == pytest.approx(1e3 * row.batch / row.mean_ms, rel=0.01)
        assert (row.repeats, row.threads, row.precision) == (30, 1, "fp32")
        files = [networks[row.network] / name for name in ("model.json", "model.pdiparams")]
        assert row.model_bytes == sum(file.stat().st_size for file in files)


def test_without_sizes_every_network_runs_at_its_own(networks):
    rows = bench(networks, engines=["paddle"], quick=True)
    assert [(row.network, row.size, row.batch) for row in rows] == [("teacher", 48, 1), ("student", 32, 1)]
    assert rows[0].p50_ms > rows[1].p50_ms


def test_every_engine_runs_the_same_export(networks):
    rows = bench({"teacher": networks["teacher"]}, engines=["paddle", "onednn", "onnxruntime"], quick=True)
    assert [row.engine for row in rows] == ["paddle", "onednn", "onnxruntime"]
    assert rows[2].model_bytes == (networks["teacher"] / "model.onnx").stat().st_size


def test_the_csv_has_the_agreed_columns(tmp_path):
    write_csv([ROW, replace(ROW, network="student, small")], tmp_path / "bench.csv")
    lines = (tmp_path / "bench.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert lines[1] == "teacher,paddle,fp32,1,32,1,50,4.0,4.0,5.0,6.0,250.0,1000,model,,,,,,,"
    assert next(csv.reader(lines[2:]))[0] == "student, small"
    assert [p.name for p in tmp_path.iterdir()] == ["bench.csv"]
    with pytest.raises(DeployError, match="cannot be written"):
        write_csv([ROW], tmp_path / "missing" / "bench.csv")


def test_another_size_of_a_network_of_one_size_is_refused(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    folder = export(model, tmp_path / "fixed", 8)
    with pytest.raises(DeployError, match="bench: fixed takes 8 px only, not 16; drop that image size"):
        bench({"fixed": folder}, engines=["paddle"], image_sizes=[8, 16], quick=True)


def test_a_size_that_the_engine_cannot_run_is_one_line(networks):
    with pytest.raises(DeployError, match=r"bench: teacher in onnxruntime fp32 cannot run \[1, 3, 2, 2\]; ") as caught:
        bench({"teacher": networks["teacher"]}, engines=["onnxruntime"], image_sizes=[2], quick=True)
    assert "\n" not in str(caught.value)


def test_a_batch_of_a_file_for_one_image_is_refused(tmp_path):
    folder = tmp_path / "one"
    export_model(net(4), folder, name="one", formats=["paddle"], contract=contract(8), how=How(dynamic_batch=False))
    with pytest.raises(DeployError, match="bench: one takes one image a call, not 2; drop that batch size"):
        bench({"one": folder}, engines=["paddle"], batch_sizes=[1, 2], quick=True)


def test_threads_and_precisions_are_lists_and_an_engine_is_measured_in_those_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "REST_SECONDS", 0.0)
    folder, images = tmp_path / "both", np.zeros((1, 3, 8, 8), "float32")
    export_model(net(4), folder, name="x", formats=["paddle", "onnx", "fp16"], contract=contract(8), calibration=images)
    rows = bench(
        {"x": folder}, engines=["paddle", "onnxruntime"], precisions=["fp16", "fp32"], threads=[1, 2], quick=True
    )
    kinds = [("paddle", "fp32"), ("onnxruntime", "fp16"), ("onnxruntime", "fp32")]
    assert [(row.threads, row.engine, row.precision) for row in rows] == [(n, *kind) for n in (1, 2) for kind in kinds]
    assert rows[1].model_bytes == (folder / "model.fp16.onnx").stat().st_size


def test_from_files_to_answers_is_a_row_of_its_own_and_takes_longer(networks, tmp_path):
    for name, side in (("a.jpg", 300), ("b.jpg", 400)):
        pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    alone, whole = bench(
        {"student": networks["student"]}, engines=["paddle"], spans=["model", "end-to-end"], pictures=files, quick=True
    )
    assert (alone.span, whole.span, whole.batch) == ("model", "end-to-end", 1)
    assert whole.p50_ms > alone.p50_ms + 0.5  # decoding a JPEG of 300 x 300 takes more than that anywhere
    with pytest.raises(DeployError, match=r"c.jpg: unreadable image \(no such file\); give another list"):
        bench({"student": networks["student"]}, engines=["paddle"], spans=["end-to-end"], pictures=[tmp_path / "c.jpg"])
    (tmp_path / "c.jpg").write_text("no image")
    with pytest.raises(DeployError, match=r"c.jpg: unreadable image \(no image that can be read"):
        bench({"student": networks["student"]}, engines=["paddle"], spans=["end-to-end"], pictures=[tmp_path / "c.jpg"])


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_image_is_prepared_as_the_contract_says(dtype):
    """A picture has four flat quarters; its centre, half as large, has the same quarters."""
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours.repeat(64, 0).repeat(96, 1)).save(stream, "PNG")
    input_spec = {"size": 48, "resize": 64, "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 1.0], "dtype": dtype}
    image = preprocess(stream.getvalue(), input_spec, 48)
    corners = (image if dtype == "uint8" else image.transpose(1, 2, 0))[[[2], [-3]], [2, -3]]
    expected = colours if dtype == "uint8" else (colours / 255 - input_spec["mean"]) / input_spec["std"]
    np.testing.assert_allclose(corners, expected, atol=1e-6)
    assert image.shape == ((48, 48, 3) if dtype == "uint8" else (3, 48, 48))


def test_drawn_pictures_are_jpegs_of_the_usual_size():
    pictures = jpegs()
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(500, 375)}
    assert all(30_000 < len(picture) < 200_000 for picture in pictures)


def test_peak_memory_is_that_of_a_process_of_its_own(networks):
    (row,) = bench({"teacher": networks["teacher"]}, engines=["onnxruntime"], repeats=1, warmup=1, memory=True)
    assert row.peak_bytes is not None
    assert 30e6 < row.peak_bytes < 500e6


def test_engines_that_read_nothing_of_the_export_are_refused_before_the_first_step(tmp_path):
    def checked(*overrides):
        check_bench(load_plan(str(written(tmp_path, TREE)), overrides))

    wanted = r"bench\.engines: none of onednn, onnxruntime reads paddle2 in fp32; add onnx or paddle to export\.formats"
    with pytest.raises(RecipeError, match=wanted):
        checked("export.formats=[paddle2]", "bench.engines=[onednn, onnxruntime]")
    with pytest.raises(RecipeError, match=r"none of paddle reads paddle in int8; name other engines$"):
        checked("bench.engines=[paddle]", "export.formats=[paddle]", "bench.precisions=[int8]")
    checked("export.formats=[int8]", "bench.precisions=[int8]", "bench.engines=[paddle, openvino]")
    checked("export.formats=[paddlelite]", "bench.engines=[paddle2]")
    checked("export.formats=[]", "bench.engines=[onednn]")  # nothing is exported, and nothing is timed


def test_formats_that_cannot_be_written_here_are_refused_before_the_first_step(tmp_path):
    def checked(*overrides):
        check_export(load_plan(str(written(tmp_path, TREE)), overrides))

    checked("export.formats=[int8]", "export.opset=13")
    with pytest.raises(DeployError, match=r"int8 needs an opset of 13 or more, not 12; raise --opset$"):
        checked("export.formats=[int8]", "export.opset=12")
    checked("export.formats=[]", "export.opset=12")


def test_a_run_that_no_engine_can_measure_says_why_of_each(networks, tmp_path):
    tree = {**TREE, "baseline": None, "stages": {"plain": TREE["stages"]["plain"]}}
    del tree["teacher"]
    plan = load_plan(str(written(tmp_path, tree)), ["bench.engines=[onnxruntime, tensorrt]"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "export").symlink_to(networks["student"])
    with pytest.raises(DeployError) as caught:
        measure(Run(plan, tmp_path / "run", tmp_path, Runtime(rank=0, world=1, gpu=None)))
    said = str(caught.value)
    assert "model.onnx: no such file in this export; export the model in that format" in said
    assert "engine 'tensorrt': tensorrt is not installed" in said
    assert "ssld[engines]" not in said


def test_the_rows_are_written_with_the_machine(tmp_path):
    write_json([ROW], {"device": "a machine"}, tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["machine"] == {"device": "a machine"}
    assert content["rows"][0]["p50_ms"] == 4.0


def test_a_row_that_was_not_steady_is_named():
    shaky = replace(ROW, drift=0.5, spread=0.02, steady=False)
    assert unsteady([ROW, replace(ROW, drift=0.0, spread=0.0, steady=True)]) == []
    assert unsteady([shaky]) == [
        "teacher in paddle fp32, batch 1, 32 px, model: not steady, drift +50%, quartiles 2% apart; "
        "quieten the machine and repeat"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_sizes": [0]}, "bench: batch_sizes: should be an integer from 1 to .*; got 0"),
        ({"batch_sizes": []}, "bench: batch_sizes: none given; name at least one"),
        ({"image_sizes": [32, -1]}, "bench: image_sizes: should be an integer from 1 to 8,192; got -1"),
        ({"repeats": 0}, "bench: repeats: should be an integer from 1 to .*; got 0"),
        ({"threads": [0]}, "bench: threads: should be an integer from 1 to 1,024; got 0"),
        ({"precisions": ["int8"]}, "engine 'paddle': has no precision 'int8'; choose from fp32$"),
        ({"precisions": []}, "no engine or no precision given"),
        ({"engines": []}, "no engine or no precision given"),
        ({"networks": {}}, "no network given; name at least one"),
        ({"engines": ["padle"]}, "no engine named 'padle'; did you mean 'paddle'"),
        (
            {"engines": ["onnxruntime"]},
            "student/model.onnx: no such file in this export; export the model in that format",
        ),
        ({"networks": {"x": "nowhere"}}, "nowhere/contract.json: no such file; export it again"),
    ],
)
def test_bad_questions_are_one_line(networks, change, message):
    arguments = {"networks": networks, "engines": ["paddle"], "quick": True, **change}
    if change.get("repeats") == 0:
        arguments["quick"] = False
    with pytest.raises(SsldError, match=message) as caught:
        bench(arguments.pop("networks"), **arguments)
    assert "\n" not in str(caught.value)
