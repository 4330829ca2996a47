"""Golden files of methods that compare feature maps and vectors of the networks, image by image."""

import numpy as np
from golden_tools import Arrays, Method, about, tensor, value

from ssld.losses import build_terms


def at(inputs: Arrays, wanted: list[str]) -> Arrays:
    names = ["0", "1", "2"]
    student = {name: tensor(inputs[f"feat_s_{name}"], gradient=True) for name in names}
    teacher = {name: tensor(inputs[f"feat_t_{name}"]) for name in names}
    loss = value("at", {"student": names}, student | {"logits": tensor(np.zeros((4, 2)))}, teacher)
    loss.backward()
    return {"loss": loss.numpy()} | {f"grad_feat_s_{name}": student[name].grad.numpy() for name in names}


def fitnet(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for case in sorted({key.partition(".")[0] for key in wanted}):
        student = {"stage3": tensor(inputs[f"{case}.feat_s"], gradient=True)}
        teacher = {"stage3": tensor(inputs[f"{case}.feat_t"])}
        loss = build_terms({"hint": {}})["hint"].loss
        layer = loss.helpers(about(student, teacher))
        for name in ("weight", "bias"):
            getattr(layer.conv, name).set_value(inputs[f"{case}.param.conv.{name}"])
            getattr(layer.bn, name).set_value(inputs[f"{case}.param.bn.{name}"])
        out = layer(student["stage3"])
        total = value("hint", {}, student | {"logits": tensor(np.zeros((4, 2)))}, teacher, layer)
        total.backward()
        found |= {f"{case}.out": out.numpy(), f"{case}.loss": total.numpy()}
        found[f"{case}.grad_feat_s"] = student["stage3"].grad.numpy()
        for part in ("conv", "bn"):
            for name in ("weight", "bias"):
                found[f"{case}.grad.{part}.{name}"] = getattr(getattr(layer, part), name).grad.numpy()
    return found


METHODS: dict[str, Method] = {"at": at, "fitnet": fitnet}
