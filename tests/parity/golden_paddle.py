"""The golden file of the losses of PaddleClas, most of which differ from the official code of their methods."""

from collections.abc import Callable
from pathlib import Path

import golden_feature
import golden_logit
import numpy as np
from golden_tools import Arrays, Method, value

FOLDER = Path(__file__).resolve().parent / "data" / "golden"


def rkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    """`rkd.distance` and `rkd.angle`, of vectors that only this file has."""
    results = {}
    for part in sorted({key.split(".")[1] for key in wanted if key.startswith("rkd.")}):
        options = {"distance": 0.0, "angle": 0.0, "mean_over": "all", part: 1.0}
        student, teacher = golden_feature.one({key: inputs[f"rkd.{key}"] for key in ("feat_s", "feat_t")}, "embedding")
        loss = value("rkd", options, student, teacher)
        loss.backward()
        results |= {f"rkd.{part}.loss": loss.numpy()}
        results |= {f"rkd.{part}.grad_feat_s": student["embedding"].grad.numpy()}
    return results


def of_other_file(name: str, compute: Callable[[Arrays], Arrays]) -> Method:
    """`<name>.loss` and `<name>.grad_feat_s`, whose inputs and parameters stand in the golden file of that name."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        if not any(key.startswith(f"{name}.") for key in wanted):
            return {}
        with np.load(FOLDER / f"{name}.npz") as file:
            given = {key: file[key] for key in file.files if key != "meta"}
        own = {key.removeprefix(f"{name}."): array for key, array in inputs.items() if key.startswith(f"{name}.")}
        return {f"{name}.{key}": array for key, array in compute(given | own).items()}

    return method


PARTS = (
    golden_logit.paddle_logits,
    rkd,
    of_other_file("mgd", lambda given: golden_feature.masked_generation(given, {"alpha": 1.756, "reduction": "mean"})),
    of_other_file("pefd", lambda given: golden_feature.pefd(given, [])),
)
METHODS: dict[str, Method] = {"paddle_losses": golden_logit.both(*PARTS)}
