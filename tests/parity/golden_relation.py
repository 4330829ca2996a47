"""Golden files of methods that compare how images relate to each other, or to a memory of others."""

import numpy as np
import paddle
from golden_tools import Arrays, Method, about, tensor, value

from ssld.config.optim import Optim
from ssld.distill.optim import make_optimizer
from ssld.losses import build_terms
from ssld.runtime import Runtime


def crd(inputs: Arrays, wanted: list[str]) -> Arrays:
    """`params_1` holds K, the temperature, both constants, and the momentum."""
    (images, width), (_, temperature, _, _, momentum) = inputs["memory_v1_0"].shape, inputs["params_1"]
    negatives = inputs["contrast_index_0"].shape[1] - 1
    options = {"width": width, "negatives": negatives, "temperature": float(temperature), "momentum": float(momentum)}
    loss = build_terms({"crd": options})["crd"].loss
    shapes = [{"embedding": tensor(inputs[f"feat_{of}_0"])} for of in "st"]
    layer = loss.helpers(about(*shapes, images=images, labels=np.arange(images) % 2))
    for of in "st":
        embed = getattr(layer, f"embed_{of}")
        embed.weight.set_value(inputs[f"embed_{of}.linear.weight"].T)
        embed.bias.set_value(inputs[f"embed_{of}.linear.bias"])
    layer.memory_s.rows.set_value(inputs["memory_v1_0"])
    layer.memory_t.rows.set_value(inputs["memory_v2_0"])
    found = {}
    for step in range(sum(key.startswith("index_") for key in inputs)):
        student = tensor(inputs[f"feat_s_{step}"], gradient=True)
        index, chosen = tensor(inputs[f"index_{step}"]), tensor(inputs[f"contrast_index_{step}"])
        total = layer(student, tensor(inputs[f"feat_t_{step}"]), index, chosen).mean()
        total.backward()
        layer.after_step(Runtime(rank=0, world=1, gpu=None))
        found |= {f"loss_{step}": total.numpy(), f"grad_feat_s_{step}": student.grad.numpy()}
        for of in "st":
            embed = getattr(layer, f"embed_{of}")
            found[f"grad_{step}.embed_{of}.linear.weight"] = embed.weight.grad.numpy().T
            found[f"grad_{step}.embed_{of}.linear.bias"] = embed.bias.grad.numpy()
        layer.clear_gradients()
        found[f"memory_v1_{step + 1}"] = layer.memory_s.rows.numpy()
        found[f"memory_v2_{step + 1}"] = layer.memory_t.rows.numpy()
    return found


LOGITS = tensor(np.zeros((1, 2)))  # an objective reads them to know the number of classes
Cases = dict[str, tuple[str, str, dict]]  # key of the loss -> (key of the gradient, kind, options)


def of_tap(tap: str, cases: Cases, read: str = "feat_{}") -> Method:
    """A method without layers that compares one output of both networks."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        found = {}
        for key, (gradient, kind, options) in cases.items():
            own = tensor(inputs[read.format("s")], gradient=True)
            loss = value(kind, options, {"logits": LOGITS, tap: own}, {tap: tensor(inputs[read.format("t")])})
            loss.backward()
            found |= {key: loss.numpy(), gradient: own.grad.numpy()}
        return found

    return method


def of_stages(kind: str) -> Method:
    """A method without layers that compares pairs of maps, `feat_s_0`, `feat_s_1` ..."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        names = sorted((key.removeprefix("feat_s_") for key in inputs if key.startswith("feat_s_")), key=int)
        student = {name: tensor(inputs[f"feat_s_{name}"], gradient=True) for name in names}
        teacher = {name: tensor(inputs[f"feat_t_{name}"]) for name in names}
        loss = value(kind, {"student": names}, student | {"logits": LOGITS}, teacher)
        loss.backward()
        return {"loss": loss.numpy()} | {f"grad_feat_s_{name}": student[name].grad.numpy() for name in names}

    return method


def cc(inputs: Arrays, wanted: list[str]) -> Arrays:
    """The vectors are embeddings already, so both layers become the identity; the teacher's has a gradient too."""
    unit = {name: inputs[name] / np.linalg.norm(inputs[name], axis=1, keepdims=True) for name in ("f_s", "f_t")}
    found = {}
    for key, form, given in (
        ("rep", "differences", inputs),
        ("td_gaussian", "gaussian", unit),
        ("td_bilinear", "bilinear", unit),
    ):
        own, other = tensor(given["f_s"], gradient=True), tensor(given["f_t"], gradient=True)
        loss = build_terms({"cc": {"form": form}})["cc"].loss
        layers = loss.helpers(about({"embedding": own}, {"embedding": other}))
        layers.student, layers.teacher = paddle.nn.Identity(), paddle.nn.Identity()
        total = loss({"embedding": own}, {"embedding": other}, {}, layers)
        total.backward()
        found |= {f"{key}_loss": total.numpy(), f"{key}_grad_f_s": own.grad.numpy()}
        found[f"{key}_grad_f_t"] = other.grad.numpy()
    return found


def ickd(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for key, again in (("in_loss", True), ("loss", False)):
        own, teacher = tensor(inputs["feat_s"], gradient=True), {"map": tensor(inputs["feat_t"])}
        options = {"batch_again": again, "kernel": inputs["embed.conv2d.weight"].shape[2]}
        layer = build_terms({"ickd": options})["ickd"].loss.helpers(about({"map": own}, teacher))
        layer.conv.weight.set_value(inputs["embed.conv2d.weight"])
        layer.bn.weight.set_value(inputs["embed.l2norm.weight"])
        layer.bn.bias.set_value(inputs["embed.l2norm.bias"])
        total = value("ickd", options, {"logits": LOGITS, "map": own}, teacher, layer)
        total.backward()
        found[key] = total.numpy()
    found["grad_feat_s"] = own.grad.numpy()
    found["grad.embed.conv2d.weight"] = layer.conv.weight.grad.numpy()
    found |= {f"grad.embed.l2norm.{name}": getattr(layer.bn, name).grad.numpy() for name in ("weight", "bias")}
    return found


def itrd(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for key, options in (
        ("correlation", {"correlation": 1.0, "mutual": 0.0}),
        ("mutual", {"correlation": 0.0, "mutual": 1.0}),
    ):
        own, teacher = tensor(inputs["feat_s"], gradient=True), {"embedding": tensor(inputs["feat_t"])}
        layer = build_terms({"itrd": options})["itrd"].loss.helpers(about({"embedding": own}, teacher))
        layer.linear.weight.set_value(inputs["param.embed.linear.weight"].T)
        layer.linear.bias.set_value(inputs["param.embed.linear.bias"])
        total = value("itrd", options, {"logits": LOGITS, "embedding": own}, teacher, layer)
        total.backward()
        found |= {f"{key}_loss": total.numpy(), f"{key}_grad_feat_s": own.grad.numpy()}
    return found


def sskd(inputs: Arrays, wanted: list[str]) -> Arrays:
    """The vectors are outputs of the heads already, so both heads become the identity."""
    found = {}
    parts = dict.fromkeys(("ce", "kl", "ss", "tf"), 0.0)
    cases = {"total": {}} | {part: {**parts, part: 1.0} for part in parts}
    for key, weights in cases.items():
        z_s, own = tensor(inputs["z_s"], gradient=True), tensor(inputs["embed_s"], gradient=True)
        student = {"logits": z_s, "embedding": own}
        teacher = {"logits": tensor(inputs["z_t"]), "embedding": tensor(inputs["embed_t"])}
        options = {**weights, "contrast": 0.0}
        heads = build_terms({"sskd": options})["sskd"].loss.helpers(about(student, teacher))
        heads.student = paddle.nn.Identity()
        total = value("sskd", options, student, teacher, heads, label=tensor(inputs["target"]))
        if key == "total":
            total.backward()
            found |= {"grad_z_s": z_s.grad.numpy(), "grad_embed_s": own.grad.numpy()}
        found[key] = total.numpy()
    return found


def rkd_case(part: str, distance: float, angle: float) -> Cases:
    return {f"loss_{part}": (f"grad_feat_s_{part}", "rkd", {"distance": distance, "angle": angle})}


RKD = rkd_case("both", 25.0, 50.0) | rkd_case("distance", 1.0, 0.0) | rkd_case("angle", 0.0, 1.0)
SKD: Cases = {
    "loss": ("grad_z_s", "skd_streamlined", {}),
    "td_loss": ("td_grad_z_s", "skd_streamlined", {"scaled": False}),
}


def dot(inputs: Arrays, wanted: list[str]) -> Arrays:
    """The numbers of the file: rate 0.1, momentum 0.9, delta 0.075, decay 5e-4 of every parameter."""
    names = [
        key.removeprefix("grad_task_")[:-2] for key in inputs if key.startswith("grad_task_") and key.endswith("_0")
    ]
    parameters = {name: paddle.create_parameter(list(inputs[f"{name}_0"].shape), "float64") for name in names}
    for name, parameter in parameters.items():
        parameter.set_value(inputs[f"{name}_0"])
    options = Optim(lr=0.1, algorithm="dot", momentum=0.9, delta=0.075, weight_decay=5e-4, decay_all=True)
    optimizer, found = make_optimizer(options, list(parameters.values())), {}
    for step in range(len(wanted) // len(names)):
        sides = [[tensor(inputs[f"grad_{side}_{name}_{step}"]) for name in parameters] for side in ("task", "kd")]
        optimizer.add(*sides)
        optimizer.step()
        optimizer.clear_grad()
        found |= {f"{name}_{step + 1}": parameter.numpy() for name, parameter in parameters.items()}
    return found


METHODS: dict[str, Method] = {
    "crd": crd,
    "dot": dot,
    "sp": of_tap("map", {"loss": ("grad_feat_s", "sp", {})}),
    "pkt": of_tap("embedding", {"loss": ("grad_feat_s", "pkt", {})}),
    "rkd": of_tap("embedding", RKD),
    "skd_streamlined": of_tap("logits", SKD, read="z_{}"),
    "nst": of_stages("nst"),
    "fsp": of_stages("fsp"),
    "cc": cc,
    "ickd": ickd,
    "itrd": itrd,
    "sskd": sskd,
}
