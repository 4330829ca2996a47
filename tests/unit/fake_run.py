"""This module makes a finished run folder as `ssld run` leaves it, without training anything."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

PLAN = """# digest: {digest}
name: quickstart
title: 'Digits: ResNet18_vd -> MobileNetV3_small_x0_35'
classes: 10
student: {{arch: MobileNetV3_small_x0_35}}
teacher: {{arch: ResNet18_vd, stage: teach}}
baseline: baseline
stages:
  teach: {{network: teacher, init: scratch, epochs: 60.0}}
  baseline: {{network: student, init: scratch, epochs: 120.0}}
  distill: {{network: student, init: scratch, epochs: 40.0}}
  finetune: {{network: student, init: distill, epochs: 20.0}}
  fix: {{network: student, init: finetune, epochs: 10.0}}
"""
# stage: network, epochs, steps, top-1 at its start and end, loss at its start and end
STAGES: dict[str, tuple[str, float, int, float, float, float, float]] = {
    "teach": ("teacher", 60, 180, 10, 96.83, 2.3, 0.55),
    "baseline": ("student", 120, 360, 10, 91.17, 2.3, 0.58),
    "distill": ("student", 40, 760, 10, 95.83, 1.9, 0.02),
    "finetune": ("student", 20, 60, 95.8, 96.17, 0.02, 0.012),
    "fix": ("student", 10, 30, 96.1, 96.33, 0.012, 0.011),
}
LATENCY = {
    ("teacher", "paddle"): 3.9,
    ("teacher", "onednn"): 2.1,
    ("teacher", "onnxruntime"): 1.7,
    ("student", "paddle"): 1.6,
    ("student", "onednn"): 0.75,
    ("student", "onnxruntime"): 0.31,
}


def make_result(seed: int = 0, top1: float = 96.33, baseline: float | None = 91.17, **changes: Any) -> dict[str, Any]:
    stages = {
        name: {
            "network": network,
            "top1": end,
            "top5": 99.5,
            "loss": 0.2,
            "epochs": epochs,
            "steps": steps,
            "images": 64 * steps,
            "seconds": steps / 4,
            "size": 40 if name == "fix" else 32,
        }
        for name, (network, epochs, steps, _, end, _, _) in STAGES.items()
    }
    stages["fix"]["top1"] = top1
    if baseline is not None:
        stages["baseline"]["top1"] = baseline
    gates = {
        name: {
            "file": file,
            "bytes": 1_100_000,
            "sha256": "ab" * 32,
            "max_abs_diff": 3.1e-6,
            "bound": 1e-3,
            "top1": 96.0,
            "top1_model": 96.0,
        }
        for name, file in (("paddle", "model.pdiparams"), ("onnx", "model.onnx"))
    }
    return {
        "recipe": "quickstart",
        "title": "Digits: ResNet18_vd -> MobileNetV3_small_x0_35",
        "digest": f"{seed:064x}"[::-1],
        "scope": "full",
        "complete": True,
        "seed": seed,
        "student": {"arch": "MobileNetV3_small_x0_35", "params": 674_000, "macs": 3_200_000, "size": 40}
        | {"training": "distilled"},
        "teacher": {"arch": "ResNet18_vd", "params": 11_700_000, "macs": 92_000_000, "top1": 96.83, "norm": "batch"}
        | {"top5": 99.9, "nll": 0.2345, "ece": 3.45},
        "baseline": None if baseline is None else {"top1": baseline, "source": "measured"},
        "stages": stages,
        "plan": {"baseline": None if baseline is None else "baseline"},
        "top1": top1,
        "top5": 99.7,
        "nll": 0.1234,
        "ece": 2.34,
        "gain": None if baseline is None else top1 - baseline,
        "reliability": reliability(),
        "per_class": {"images": [60] * 10, "top1": [100, 95, 98.3, 96.7, 98.3, 98.3, 100, 96.7, 85, 95]},
        "worst": [
            {"class": 8, "top1": 85, "images": 60, "mistakes": [[3, 5], [9, 3], [0, 1]]},
            {"class": 1, "top1": 95, "images": 60, "mistakes": [[7, 3]]},
        ],
        "agreement": {
            "top1": 97.17,
            "top5": 99.83,
            "kl": 0.0312,
            "both_right": 570,
            "only_student": 8,
            "only_teacher": 11,
            "both_wrong": 11,
            "per_class": [100.0, 94.9, 98.3, 96.8, 98.4, 98.2, 100.0, 96.7, 91.2, 95.0],
        },
        "export": gates,
        "bench": bench_rows(),
        "versions": {"ssld": "0.1.0", "python": "3.11.7", "paddlepaddle": "3.3.1"},
        "hardware": "A processor with a name, 2 cores",
        "wall_seconds": 301.2,
        **changes,
    }


def reliability() -> dict[str, list[Any]]:
    """Return bins with nothing below one half, then ever more images, a little too sure."""
    images = [0] * 8 + [2, 5, 10, 20, 40, 90, 433]
    sure = [100 * (i + 0.6) / 15 if count else None for i, count in enumerate(images)]
    return {"images": images, "confidence": sure, "accuracy": [value and value - 2 for value in sure]}


def bench_rows() -> list[dict[str, Any]]:
    return [bench_row(*key, ms, batch) for key, ms in LATENCY.items() for batch in (1, 8)]


def bench_row(network: str, engine: str, ms: float, batch: int) -> dict[str, Any]:
    median = ms * batch**0.9
    shares = {"mean_ms": 1.04, "p50_ms": 1.0, "p90_ms": 1.1, "p99_ms": 1.5}
    about = {"network": network, "engine": engine, "precision": "fp32", "batch": batch, "size": 40, "threads": 1}
    times = {name: round(share * median, 4) for name, share in shares.items()}
    size = 46_800_000 if network == "teacher" else 2_750_000
    return {**about, "repeats": 500, **times, "images_per_second": 1000 * batch / median, "model_bytes": size}


def metrics() -> list[dict[str, Any]]:
    rng, records = np.random.default_rng(0), []
    for stage, (_, epochs, steps, first, last, high, low) in STAGES.items():
        for step in range(1, steps + 1):
            rest = float(np.exp(-5 * step / steps))
            noise = float(rng.normal())
            loss = (low + (high - low) * rest) * (1 + 0.12 * noise)
            top1 = min(100.0, last + 1 - (last - first) * rest + 3 * noise)
            epoch = epochs * step / steps
            about = {"stage": stage, "step": step, "epoch": epoch}
            train = {"loss": loss, "lr": 0.1, "images_per_second": 300.0, "top1": top1}
            records.append({"kind": "train", **about, **train})
            if stage == "distill":
                del records[-1]["top1"]
            if step % max(1, steps // 12) == 0 or step == steps:
                top1 = last if step == steps else last - (last - first) * rest + float(rng.normal()) * 0.4
                records.append({"kind": "eval", **about, "top1": top1, "top5": 99.0, "loss": 0.3})
    return records


def sample_arrays(count: int = 32, classes: int = 10, size: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    label = rng.integers(0, classes, count)
    rows, columns = np.mgrid[:size, :size] / size
    image = np.stack(
        [128 + 127 * np.sin(6 * rows * (1 + c % 3) + c) * np.cos(5 * columns * (1 + c % 4)) for c in label]
    )
    arrays = {
        "image": np.repeat(image[..., None], 3, -1).astype("uint8"),
        "label": label.astype("int64"),
        "classes": np.array([f"digit {index}" for index in range(classes)]),
    }
    for name, sharp in (("teacher", 4.0), ("baseline", 1.5), ("student", 3.0)):
        logits = rng.normal(size=(count, classes)) + sharp * np.eye(classes)[label]
        arrays[name] = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype("float32")
    return arrays


def short(**changes: Any) -> dict[str, Any]:
    """Return the result of a run of one stage, whose page is drawn fast."""
    result = make_result(**changes)
    return {**result, "stages": {"distill": result["stages"]["distill"]}}


def make_run(folder: Path, result: dict[str, Any] | None = None) -> Path:
    result = result or make_result()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.yaml").write_text(PLAN.format(digest=result["digest"]), encoding="utf-8")
    lines = [json.dumps(record) + "\n" for record in metrics() if record["stage"] in result["stages"]]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    with (folder / "bench.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(bench_rows()[0]))
        writer.writeheader()
        writer.writerows(bench_rows())
    np.savez(folder / "samples.npz", **sample_arrays())
    return folder


def metric_line(stage: str, step: int, kind: str = "train", **values: Any) -> dict[str, Any]:
    return {"kind": kind, "stage": stage, "step": step, "epoch": step / 4, **(values or {"loss": 1 / step})}


def logged_steps(folder: Path, stage: str) -> list[int]:
    records = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["step"] for record in records if record["stage"] == stage]
