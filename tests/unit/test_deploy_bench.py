"""Bench: the rows, the order of the runs, the file."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import paddle
import pytest
from paddle import nn

from ssld.deploy import Row, bench, export_model, write_csv
from ssld.deploy.bench import TURN_RUNS, measure
from ssld.errors import DeployError, SsldError

HEADER = (
    "network,engine,precision,batch,size,threads,repeats,mean_ms,p50_ms,p90_ms,p99_ms,images_per_second,model_bytes"
)
ROW = Row("teacher", "paddle", "fp32", 1, 32, 1, 50, 4.0, 4.0, 5.0, 6.0, 250.0, 1000)


def net(width: int) -> nn.Layer:
    paddle.seed(0)
    return nn.Sequential(nn.Conv2D(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(width, 2))


def export(model: nn.Layer, folder: Path, size: int, formats: tuple[str, ...] = ("paddle",)) -> Path:
    given = {"size": size, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": size}
    contract = {"arch": "toy", "classes": 2, "digest": "c" * 64, "input": given}
    export_model(model, folder, name=folder.name, formats=formats, contract=contract)
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


def test_the_compared_calls_take_turns_and_the_order_alternates():
    runs: list[str] = []
    calls = [lambda name=name: runs.append(name) for name in "ab"]
    times = measure(calls, warmup=2, repeats=2 * TURN_RUNS + 1)
    turn = 1 + TURN_RUNS  # one untimed
    assert "".join(runs) == "aabb" + "a" * turn + "b" * turn + "b" * turn + "a" * turn + "aabb"
    assert [len(taken) for taken in times] == [2 * TURN_RUNS + 1] * 2


def test_slow_calls_take_turns_run_by_run():
    runs: list[str] = []

    def call(name: str) -> None:
        runs.append(name)
        time.sleep(0.06)

    measure([lambda: call("a"), lambda: call("b")], warmup=1, repeats=3)
    assert "".join(runs) == "ab" + "abbaab"


def test_a_time_limit_ends_the_repeats_of_all_at_the_same_number():
    calls = [lambda: time.sleep(0.004), lambda: time.sleep(0.008)]
    times = measure(calls, warmup=1, repeats=500, seconds=0.1)
    assert len(times[0]) == len(times[1])
    assert 1 <= len(times[0]) < 60


def test_milliseconds_are_milliseconds():
    (taken,) = measure([lambda: time.sleep(0.01)], warmup=1, repeats=3)
    assert 10 <= min(taken) < 100


def test_the_csv_has_the_agreed_columns(tmp_path):
    write_csv([ROW, replace(ROW, network="student, small")], tmp_path / "bench.csv")
    lines = (tmp_path / "bench.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert lines[1] == "teacher,paddle,fp32,1,32,1,50,4.0,4.0,5.0,6.0,250.0,1000"
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
    with pytest.raises(DeployError, match=r"bench: teacher in onnxruntime cannot run \[1, 3, 2, 2\]; ") as caught:
        bench({"teacher": networks["teacher"]}, engines=["onnxruntime"], image_sizes=[2], quick=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_sizes": [0]}, r"bench: batch sizes \[0\]; give numbers of 1 or more"),
        ({"batch_sizes": []}, r"bench: batch sizes \[\]"),
        ({"image_sizes": [32, -1]}, r"bench: image sizes \[32, -1\]"),
        ({"repeats": 0}, r"bench: repeats \[0\]"),
        ({"threads": 0}, "0 threads"),
        ({"engines": []}, "no network or no engine given"),
        ({"engines": ["padle"]}, "no engine named 'padle'; did you mean 'paddle'"),
        (
            {"engines": ["onnxruntime"]},
            "student/model.onnx: no such file in this export; export the model in that format",
        ),
        ({"networks": {"x": "nowhere"}}, "nowhere/contract.json: No such file or directory; export the model first"),
    ],
)
def test_bad_questions_are_one_line(networks, change, message):
    arguments = {"networks": networks, "engines": ["paddle"], "quick": True, **change}
    if change.get("repeats") == 0:
        arguments["quick"] = False
    with pytest.raises(SsldError, match=message) as caught:
        bench(arguments.pop("networks"), **arguments)
    assert "\n" not in str(caught.value)
