"""These tests ask for the headline numbers and the closing table."""

import pytest

from ssld.report import closing_table
from ssld.report.headline import closing_rows, speed
from tests.unit.fake_run import bench_rows, make_result


def test_the_speed_up_compares_one_engine_at_the_smallest_batch() -> None:
    speeds = speed(bench_rows())
    assert speeds is not None
    assert (speeds.engine, speeds.batch) == ("onnxruntime", 1)
    assert speeds.ratio == pytest.approx(1.7 / 0.31)


def test_without_a_measured_teacher_there_is_no_speed_up() -> None:
    speeds = speed([row for row in bench_rows() if row["network"] == "student"])
    assert speeds is not None
    assert speeds.ratio is None
    assert speed([]) is None


def test_the_closing_table_holds_the_whole_result(capsys: pytest.CaptureFixture[str]) -> None:
    closing_table(make_result())
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "Digits: ResNet18_vd -> MobileNetV3_small_x0_35"
    assert [line.split()[0] for line in shown[1:]] == ["network", "teacher", "baseline", "distilled"]
    assert shown[-1].split()[1:] == [
        "MobileNetV3_small_x0_35",
        "96.33",
        "%",
        "+5.16",
        "2.8",
        "MB",
        "0.31",
        "ms",
        "5.5",
        "x",
    ]


def test_a_speed_up_that_was_not_steady_and_a_part_that_failed_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    result = make_result(failures={"bench": "onnx cannot run; `ssld bench a` repeats it"}, remarks=["sums saturate"])
    for row in result["bench"]:
        row["steady"] = not (row["network"] == "teacher" and row["engine"] == "onnxruntime")
    closing_table(result)
    *_, row, steady, failed, remark = capsys.readouterr().out.splitlines()
    assert row.endswith("5.5 x (not steady)")
    assert steady.startswith("Not steady: the times of a network drifted or spread too much while they were measured, ")
    assert failed == "bench failed: onnx cannot run; `ssld bench a` repeats it"
    assert remark == "sums saturate"


def test_the_closing_table_of_a_student_alone_has_one_row() -> None:
    rows = closing_rows(make_result(teacher=None, baseline=None, bench=[]))
    assert [row["network"] for row in rows] == ["distilled"]
    assert rows[0]["speed-up"] is None


def test_the_closing_table_of_a_plain_training_says_trained_and_why_there_is_no_gain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = make_result(teacher=None, baseline=None, bench=[], baseline_missing="the recipe names none, and so on")
    result["student"]["training"] = "trained"
    closing_table(result)
    _, head, row, reason = capsys.readouterr().out.splitlines()
    assert row.split() == ["trained", "MobileNetV3_small_x0_35", "96.33", "%", "-", "-", "-", "-"]
    assert head.split()[:4] == ["network", "architecture", "top-1", "gain"]
    assert reason == "no baseline: the recipe names none, and so on"


def test_a_result_with_a_baseline_says_nothing_of_a_missing_one(capsys: pytest.CaptureFixture[str]) -> None:
    closing_table(make_result(baseline_missing=None))
    assert "no baseline" not in capsys.readouterr().out
