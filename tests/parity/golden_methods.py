"""Our losses on the inputs of golden files: values and gradients, as the official code of each method gives them.

A golden file (`tests/parity/data/golden/<name>.npz`) holds seeded inputs and what the official code computes from them,
in float64, with PyTorch's layout of parameters. `run` is given the inputs and the names of what is wanted, and returns
arrays by these names, or None for a method that is not here.
"""

from collections.abc import Callable

import numpy as np
import paddle

from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective
from ssld.runtime import Runtime

Arrays = dict[str, np.ndarray]


def run(name: str, inputs: Arrays, meta: dict) -> Arrays | None:
    """What our code computes of a golden file."""
    if name not in METHODS:
        return None
    before = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")  # of the layers that losses make
    try:
        return METHODS[name](inputs, meta["wanted"])
    finally:
        paddle.set_default_dtype(before)


def tensor(array: np.ndarray, gradient: bool = False) -> paddle.Tensor:
    return paddle.to_tensor(array, stop_gradient=not gradient)


def value(kind: str, options: dict, student: dict, teacher: dict, helpers=None, **batch) -> paddle.Tensor:
    """The loss of a term on outputs by name; `batch` holds what else it reads."""
    objective = Objective(build_terms({kind: options}))
    return objective(Outputs(student), Outputs(teacher), batch, {kind: helpers} if helpers else {})[0]


def about(student: dict, teacher: dict, **more) -> About:
    shapes = [{name: tuple(value.shape[1:]) for name, value in given.items()} for given in (student, teacher)]
    given = {"classes": 10, "images": 20, "labels": np.arange(20) % 10, "steps": 2, "steps_per_epoch": 1}
    given |= {"micro": 4, "world": 1, "seed": 0, **more}
    return About(student=shapes[0], teacher=shapes[1], **given)


def numbers(text: str) -> dict[str, float]:
    """`a1_b0.5_T4` -> {"a": 1.0, "b": 0.5, "T": 4.0}"""
    return {part[0]: float(part[1:]) for part in text.split("_")}


def of_logits(kind: str, options: Callable[[dict[str, float]], dict]) -> Callable[[Arrays, list[str]], Arrays]:
    """A method of logits: `loss_<numbers>` and `grad_z_s_<numbers>`."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        found = {}
        for key in (key for key in wanted if key.startswith("loss_")):
            suffix = key.removeprefix("loss_")
            z_s = tensor(inputs["z_s"], gradient=True)
            outputs = {"logits": z_s}, {"logits": tensor(inputs["z_t"])}
            loss = value(kind, options(numbers(suffix)), *outputs, label=tensor(inputs["target"]))
            loss.backward()
            found |= {key: loss.numpy(), f"grad_z_s_{suffix}": z_s.grad.numpy()}
        return found

    return method


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


def crd(inputs: Arrays, wanted: list[str]) -> Arrays:
    options = {"width": 4, "negatives": 6, "temperature": 0.07, "momentum": 0.5}
    loss = build_terms({"crd": options})["crd"].loss
    shapes = [{"embedding": tensor(inputs[f"feat_{of}_0"])} for of in "st"]
    layer = loss.helpers(about(*shapes))
    for of in "st":
        embed = getattr(layer, f"embed_{of}")
        embed.weight.set_value(inputs[f"embed_{of}.linear.weight"].T)
        embed.bias.set_value(inputs[f"embed_{of}.linear.bias"])
    layer.memory_s.rows.set_value(inputs["memory_v1_0"])
    layer.memory_t.rows.set_value(inputs["memory_v2_0"])
    found = {}
    for step in (0, 1):
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
        k, temperature, momentum = options["negatives"], options["temperature"], options["momentum"]
        found[f"params_{step + 1}"] = np.array([k, temperature, *layer.z.numpy(), momentum])
    return found


METHODS: dict[str, Callable[[Arrays, list[str]], Arrays]] = {
    "kd": of_logits("kl", lambda n: {"temperature": n["T"]}),
    "dkd": of_logits("dkd", lambda n: {"alpha": n["a"], "beta": n["b"], "temperature": n["T"]}),
    "at": at,
    "fitnet": fitnet,
    "crd": crd,
}
