"""This module lists the numbers that runs are sorted and compared by: a tracker's summary, and a sweep's metrics."""

from typing import Any

from ssld.config import baseline
from ssld.config.recipe import Plan
from ssld.paths import data_root
from ssld.report.headline import ratios, where

WHOLE = (
    "top1",
    "top5",
    "nll",
    "ece",
    "gain",
    "teacher_top1",
    "agreement",
    "kl",
    "params",
    "macs",
    "bytes",
    "wall_seconds",
)
OF_A_TEST = ("test_top1", "test_gain")  # nothing is sorted by them
OF_A_STAGE = ("top1", "top5", "loss")
NETWORKS = ("teacher", "student")


def summary(result: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a result.json: percent, points (gain, test_gain), nats (nll, kl, loss).

    At the smallest batch there are `speedup/<engine>`, the teacher's median latency over the student's, and the
    medians, `<network>/<engine>/p50_ms`; for a precision other than fp32 the engine is named with it, as
    `openvino-int8`.
    """
    agreement, student = result.get("agreement") or {}, result["student"]
    # Older results do not have nll and ece.
    values = {key: result.get(key) for key in ("top1", "top5", "nll", "ece", "gain")}
    values |= {"teacher_top1": (result["teacher"] or {}).get("top1")}
    values |= {key: result[key] for key in OF_A_TEST if key in result}
    values |= {"agreement": agreement.get("top1"), "kl": agreement.get("kl")}
    values |= {"params": student["params"], "macs": student["macs"], "bytes": student.get("bytes")}
    values |= {"wall_seconds": result.get("wall_seconds")}
    for name, stage in result["stages"].items():
        values |= {f"{name}/{key}": stage[key] for key in OF_A_STAGE}
        for peer, of_peer in stage.get("peers", {}).items():
            values |= {f"{name}/{peer}/{key}": of_peer[key] for key in OF_A_STAGE}
    rows = result.get("bench") or []
    values |= {f"speedup/{engine}": ratio for engine, ratio in ratios(rows).items()}
    least = min((row["batch"] for row in rows), default=None)
    first = [row for row in rows if row["batch"] == least]
    values |= {f"{row['network']}/{where(row['engine'], row['precision'])}/p50_ms": row["p50_ms"] for row in first}
    return values


def names(plan: Plan) -> list[str]:
    """Return the numbers that `summary` may hold of a run of this plan.

    `gain` is among them only where the run will have a baseline.
    """
    of_run = [name for name in WHOLE if name != "gain" or baseline.missing(plan, data_root()) is None]
    precisions = dict.fromkeys(["fp32", "int8", *plan.bench.precisions])  # the bench measures a student in int8 in int8
    timed = plan.bench.engines if plan.export.formats else ()
    engines = [where(engine, precision) for engine in timed for precision in precisions]
    trained = [[stage, *(f"{stage}/{peer}" for peer in settings.peers)] for stage, settings in plan.stages.items()]
    stages = [f"{name}/{key}" for names_of_stage in trained for name in names_of_stage for key in OF_A_STAGE]
    latency = [f"{network}/{engine}/p50_ms" for network in NETWORKS for engine in engines]
    return [*of_run, *stages, *(f"speedup/{engine}" for engine in engines), *latency]
