"""These tests ask how compared calls are timed, and what is concluded from the times."""

import time
from pathlib import Path

import numpy as np
import pytest

from ssld.deploy import machine
from ssld.deploy.timing import ROUNDS, TURN_RUNS, measure, rounds, speedup, steadiness


def test_the_compared_calls_take_turns_and_the_order_alternates():
    runs: list[str] = []
    calls = [lambda name=name: runs.append(name) for name in "ab"]
    repeats = ROUNDS * TURN_RUNS + 1
    times = measure(calls, warmup=2, repeats=repeats)
    a, b = "a" * (1 + TURN_RUNS), "b" * (1 + TURN_RUNS)  # one run of each turn is not timed
    assert "".join(runs) == "aabb" + (a + b + b + a) * (ROUNDS // 2) + "ab"
    assert [len(series) for series in times] == [repeats] * 2


def test_few_repeats_are_spread_over_as_many_rounds():
    (turns,) = rounds([lambda: None], warmup=1, repeats=50)
    assert [len(turn) for turn in turns] == [5] * 10


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
    (times,) = measure([lambda: time.sleep(0.01)], warmup=1, repeats=3)
    assert 10 <= min(times) < 100


def series(seed: int, n: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(10.0, 0.2, n)


def test_a_quiet_series_is_steady_and_a_drifting_or_scattered_one_is_not():
    quiet = steadiness(series(0))
    assert quiet is not None
    assert quiet.steady
    assert abs(quiet.drift) < 0.01
    drifting = steadiness(series(0) * np.linspace(1.0, 1.2, 300))
    assert drifting is not None
    assert not drifting.steady
    assert drifting.drift == pytest.approx(1.167 / 1.033 - 1, abs=0.02)
    scattered = steadiness(np.where(np.arange(300) % 2, 10.0, 14.0))
    assert scattered is not None
    assert not scattered.steady
    assert (scattered.drift, scattered.spread) == (0.0, pytest.approx(4 / 12))
    assert steadiness(series(0, 8)) is None


def paired(factor: float, seed: int, scatter: float = 0.05, drift: float = 1.0) -> tuple[list[list[float]], ...]:
    """Return rounds of two calls, the second `factor` times as fast; the machine changes alike for both."""
    rng = np.random.default_rng(seed)
    speed = np.linspace(1.0, drift, 30)[:, None]
    base = 10 * speed * (1 + scatter * rng.standard_normal((30, 5)))
    other = 10 / factor * speed * (1 + scatter * rng.standard_normal((30, 5)))
    return base.tolist(), other.tolist()


def test_a_speed_up_has_an_interval_that_holds_the_truth_about_19_times_in_20():
    ratios = [speedup(*paired(1.5, seed)) for seed in range(200)]
    hits = sum(ratio.low is not None and ratio.high is not None and ratio.low <= 1.5 <= ratio.high for ratio in ratios)
    assert 175 <= hits <= 199
    assert all(ratio.low is not None and ratio.low <= ratio.value <= (ratio.high or 0) for ratio in ratios)


def test_a_machine_that_slows_down_for_both_does_not_widen_the_interval():
    quiet, slowing = speedup(*paired(1.5, 0)), speedup(*paired(1.5, 0, drift=3.0))
    assert slowing.value == pytest.approx(quiet.value)
    assert slowing.low == pytest.approx(quiet.low)


def test_too_few_rounds_have_no_interval():
    ratio = speedup([[2.0]] * 8, [[1.0]] * 8)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, None, None)


# --- the machine


def test_the_machine_is_described_with_what_may_disturb():
    facts = machine.describe()
    assert facts["versions"].keys() >= {"ssld", "python", "paddlepaddle", "onnxruntime", "openvino"}
    assert facts["affinity"]
    assert facts["device"]
    assert isinstance(facts["load"], float)


def test_the_notes_name_each_thing_that_may_disturb_and_nothing_else():
    quiet = {"governor": "performance", "turbo": False, "load": 0.1, "affinity": [0], "cores": 8, "gpu": []}
    assert machine.notes(quiet) == []
    card = {"name": "T4", "clocks.sm": "300 MHz", "clocks.max.sm": "1590 MHz"}
    loud = {"governor": "powersave", "turbo": True, "load": 3.0, "affinity": [0, 1], "cores": 2, "gpu": [card]}
    sentences = " ".join(machine.notes(loud))
    for word in ("governor powersave", "turbo is on", "load 3.0 on 2 cores", "taskset", "clock of the T4"):
        assert word in sentences
    assert "cannot be seen" in machine.notes(quiet | {"governor": None})[0]


def test_a_gpu_is_described_by_what_nvidia_smi_says(tmp_path: Path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "--query-gpu=*) echo 'Tesla T4, 535.1, 300 MHz, 1590 MHz, Disabled, 70.00 W, 15360 MiB';;\n"
        "*) echo '41, 100 MiB'; echo '42, 512 MiB'; echo '43, [N/A]';;\nesac\n"
    )
    program.chmod(0o755)
    assert machine.gpu() == []
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (card,) = machine.gpu()
    assert (card["name"], card["clocks.sm"], card["memory.total"]) == ("Tesla T4", "300 MHz", "15360 MiB")
    assert machine.gpu_memory(42) == 512 << 20
    assert machine.gpu_memory(43) is None
    assert machine.gpu_memory(44) is None


@pytest.mark.parametrize(
    ("system", "text", "exact"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("x86_64", "flags\t\t: fpu avx2 avx512f\n", False),
        ("aarch64", "Features\t: fp asimd asimddp\n", True),
        ("aarch64", "Features\t: fp asimd\n", False),
        ("riscv64", "", True),
        ("x86_64", None, True),
    ],
)
def test_a_processor_without_exact_sums_of_8_bit_numbers_is_known(system, text, exact, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine.platform, "machine", lambda: system)
    assert machine.sums_8_bits_exactly() is exact
