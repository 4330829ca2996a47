"""Golden files of methods that compare logits: with labels, with a teacher, with several, with the student's past."""

import math
import re
from collections.abc import Callable

import numpy as np
import paddle
from golden_tools import Arrays, Method, about, tensor, value

from ssld.interfaces import Outputs
from ssld.losses import build_terms
from ssld.losses.classes import standardised
from ssld.losses.logit import mlkd as levels
from ssld.losses.multi.ca_mkd import label_weights
from ssld.losses.multi.ebkd import entropy_weights
from ssld.losses.objective import Objective
from ssld.runtime import Runtime

Numbers = dict[str, float]


def numbers(text: str) -> Numbers:
    """`a1_b0.5_T4` -> {"a": 1.0, "b": 0.5, "T": 4.0}"""
    return {name: float(number) for name, number in re.findall(r"([A-Za-z]+)(-?[\d.]+)", text)}


def of_logits(kind: str, options: Callable[[Numbers], dict], before: str = "") -> Method:
    """A method of logits: `<before>loss_<numbers>` and `<before>grad_z_s_<numbers>`."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        results = {}
        for key in (key for key in wanted if key.startswith(f"{before}loss")):
            suffix = key.removeprefix(f"{before}loss")
            z_s = tensor(inputs["z_s"], gradient=True)
            outputs = {"logits": z_s}, {"logits": tensor(inputs["z_t"])}
            loss = value(kind, options(numbers(suffix)), *outputs, label=tensor(inputs["target"]))
            loss.backward()
            results |= {key: loss.numpy(), f"{before}grad_z_s{suffix}": z_s.grad.numpy()}
        return results

    return method


def both(*methods: Method) -> Method:
    """What several methods compute of one file."""
    return lambda inputs, wanted: {k: v for method in methods for k, v in method(inputs, wanted).items()}


def lskd_normalised(inputs: Arrays, wanted: list[str]) -> Arrays:
    return {"normalised_z_s": standardised(tensor(inputs["z_s"])).numpy()}


def ctkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    results = {}
    for key in (key for key in wanted if key.startswith("loss_")):
        suffix = key.removeprefix("loss_")
        factor = numbers(suffix)["lam"]
        loss = build_terms({"ctkd": {}})["ctkd"].loss
        epoch = loss.ramp * math.acos(1 + 2 * factor) / math.pi
        z_s = tensor(inputs["z_s"], gradient=True)
        student, teacher = {"logits": z_s}, {"logits": tensor(inputs["z_t"])}
        layer = loss.helpers(about(student, teacher))
        if "global_T" in inputs:
            layer.theta.set_value(inputs["global_T"].reshape([1]))
        total = value("ctkd", {}, student, teacher, layer, epoch=epoch)
        total.backward()
        results |= {key: total.numpy().reshape([1]), f"grad_z_s_{suffix}": z_s.grad.numpy()}
        results[f"temp_{suffix}"] = layer.logged()["temperature"].numpy().reshape([1])
        results[f"grad_global_T_{suffix}"] = layer.theta.grad.numpy()
    return results


def mlkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    names = {"logits": "weak", "strong.logits": "strong"}
    student = {name: tensor(inputs[f"z_s_{view}"], gradient=True) for name, view in names.items()}
    teacher = {name: tensor(inputs[f"z_t_{view}"]) for name, view in names.items()}
    temperatures = {float(key.rpartition("_T")[2]) for key in wanted if "_T" in key}
    (first,) = temperatures - {*levels.BOTH, *levels.WEAK} or {4.0}
    terms = {
        "weak": {"kind": "ce", "weight": 0.1},
        "strong": {"kind": "ce", "student": "strong.logits", "weight": 0.1},
        "mlkd": {"weight": 0.9, "temperature": first},
    }
    batch = {"label": tensor(inputs["target"])}
    total, parts = Objective(build_terms(terms))(Outputs(student), Outputs(teacher), batch)
    total.backward()
    results = {"total": total.numpy(), "loss_ce": 0.1 * (parts["loss/weak"] + parts["loss/strong"]).numpy()}
    results |= {f"grad_z_s_{view}": student[name].grad.numpy() for name, view in names.items()}
    pairs = {view: (student[name].detach(), teacher[name]) for name, view in names.items()}
    row_share, class_share = (mask.mean() for mask in levels.masks_of(teacher["logits"]))
    of = {"kd": levels.of_logits, "cc": levels.of_classes, "bc": levels.of_images}
    for key in wanted:
        if part := re.fullmatch(r"(kd|cc|bc)_(weak|strong)_T([\d.]+)", key):
            results[key] = of[part[1]](*pairs[part[2]], float(part[3])).mean().numpy()
    for name, share in (("cc", class_share), ("bc", row_share)):
        values = (of[name](*pairs["weak"], t).mean() for t in (first, *levels.BOTH, *levels.WEAK))
        results[f"loss_{name}"] = 0.9 * (share * sum(values)).numpy()
    results["loss_kd"] = 0.9 * parts["loss/mlkd"].numpy() - results["loss_cc"] - results["loss_bc"]
    return results


def deit(inputs: Arrays, wanted: list[str]) -> Arrays:
    results = {}
    for form in ("soft", "hard"):
        student = {"logits": tensor(inputs["z_s"], gradient=True), "distilled": tensor(inputs["z_dist"], gradient=True)}
        teacher = {"logits": tensor(inputs["z_t"])}
        options = {"form": form, "head": "distilled"}
        loss = value("deit", options, student, teacher, label=tensor(inputs["target"]))
        loss.backward()
        results |= {f"{form}_loss": loss.numpy(), f"{form}_grad_z_s": student["logits"].grad.numpy()}
        results[f"{form}_grad_z_dist"] = student["distilled"].grad.numpy()
    return results


def pskd(inputs: Arrays, wanted: list[str]) -> Arrays:
    results = {}
    rows = len(inputs["z_s"])
    index = tensor(np.arange(rows))
    for key in (key for key in wanted if key.startswith("loss_")):
        suffix = key.removeprefix("loss_")
        loss = build_terms({"pskd": {"share": numbers(suffix)["alpha"]}})["pskd"].loss
        z_s = tensor(inputs["z_s"], gradient=True)
        layer = loss.helpers(about({"logits": z_s}, {}, images=rows, labels=inputs["target"], steps=2))
        before = {"logits": tensor(inputs["z_t"])}
        batch = {"label": tensor(inputs["target"]), "index": index}
        value("pskd", {}, before, {}, layer, epoch=1, **batch)  # the epoch before, whose predictions are kept
        layer.after_step(Runtime(rank=0, world=1, gpu=None))
        options = {"share": numbers(suffix)["alpha"]}
        total = value("pskd", options, {"logits": z_s}, {}, layer, epoch=2, **batch)
        total.backward()
        results |= {key: total.numpy(), f"grad_z_s_{suffix}": z_s.grad.numpy()}
    return results


def uskd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student = {"logits": tensor(inputs["z_s"], gradient=True), "stage3": tensor(inputs["feat_mid"], gradient=True)}
    layer = build_terms({"uskd": {"student": "stage3"}})["uskd"].loss.helpers(about(student, {}))
    layer.weight.set_value(inputs["param.fc.weight"].T)
    layer.bias.set_value(inputs["param.fc.bias"])
    total = value("uskd", {"student": "stage3"}, student, {}, layer, label=tensor(inputs["target"]))
    total.backward()
    results = {"loss": total.numpy(), "grad_z_s": student["logits"].grad.numpy()}
    results |= {"grad_feat_mid": student["stage3"].grad.numpy(), "grad.fc.bias": layer.bias.grad.numpy()}
    return results | {"grad.fc.weight": layer.weight.grad.numpy().T}


def mealv2(inputs: Arrays, wanted: list[str]) -> Arrays:
    student = {"logits": tensor(inputs["z_s"], gradient=True)}
    teacher = {"logits": tensor(inputs["z_t"])}
    divisor = inputs["z_s"].shape[1] // inputs["param.conv1.weight"].shape[0]
    layer = build_terms({"mealv2": {"divisor": divisor}})["mealv2"].loss.helpers(about(student, teacher))
    for number, linear in enumerate(layer.layers, 1):
        linear.weight.set_value(inputs[f"param.conv{number}.weight"][:, :, 0, 0].T)
        linear.bias.set_value(inputs[f"param.conv{number}.bias"])
    total = value("mealv2", {}, student, teacher, layer)
    total.backward()
    results = {"loss": total.numpy(), "grad_z_s": student["logits"].grad.numpy()}
    for number, linear in enumerate(layer.layers, 1):
        results[f"grad.conv{number}.weight"] = linear.weight.grad.numpy().T[:, :, None, None]
        results[f"grad.conv{number}.bias"] = linear.bias.grad.numpy()
    return results


def dml(inputs: Arrays, wanted: list[str]) -> Arrays:
    results = {}
    terms = Objective(build_terms({"ce": {}, "dml": {}}))
    for own, other in (("1", "2"), ("2", "1")):
        z, peer = tensor(inputs[f"z_{own}"], gradient=True), tensor(inputs[f"z_{other}"], gradient=True)
        batch = {"label": tensor(inputs["target"]), "peers": {"other": Outputs({"logits": peer})}}
        total, _ = terms(Outputs({"logits": z}), None, batch)
        total.backward()
        assert peer.grad is None
        results |= {f"loss_{own}": total.numpy(), f"grad_z_{own}": z.grad.numpy()}
    return results


def multi_teacher(inputs: Arrays, wanted: list[str]) -> Arrays:
    numbered = sorted(int(key.removeprefix("z_t_")) for key in inputs if key.startswith("z_t_"))
    names = [str(number) for number in numbered]
    taps = {"logits": "z", "map": "feat"}
    every = {name: Outputs({tap: tensor(inputs[f"{key}_t_{name}"]) for tap, key in taps.items()}) for name in names}
    label = tensor(inputs["target"])

    def run(kind: str, options: dict, helpers=None) -> tuple[np.ndarray, np.ndarray]:
        z_s = tensor(inputs["z_s"], gradient=True)
        student = Outputs({"logits": z_s, "map": z_s})
        teacher = Outputs({"logits": every[names[0]]["logits"]}, each=every)
        layers = {kind: helpers} if helpers else {}
        loss = Objective(build_terms({kind: options}))(student, teacher, {"label": label}, layers)[0]
        loss.backward()
        return loss.numpy(), z_s.grad.numpy()

    results = {}
    cases = {"aver": ("aver", {}), "ebkd": ("ebkd", {}), "camkd_kd": ("ca_mkd", {"features": 0.0})}
    for name, (kind, options) in cases.items():
        results[f"{name}_loss"], results[f"{name}_grad_z_s"] = run(kind, options)
    for key in (key for key in wanted if key.startswith("mean_prob_loss_")):
        suffix = key.removeprefix("mean_prob_loss_")
        options = {"mean": "probabilities", "temperature": numbers(suffix)["T"]}
        results[key], results[f"mean_prob_grad_z_s_{suffix}"] = run("aver", options)
    logits = paddle.stack([every[name]["logits"] for name in names])
    results |= {"ebkd_weight": entropy_weights(logits).numpy(), "camkd_weight": label_weights(logits, label).numpy()}
    maps = {name: tensor(inputs[f"feat_s_{name}"], gradient=True) for name in names}
    regressed = {name: (lambda _, tensor=tensor: tensor) for name, tensor in maps.items()}  # the file holds them so
    results["camkd_feat_loss"] = run("ca_mkd", {"features": 1.0}, regressed)[0] - results["camkd_kd_loss"]
    return results | {f"grad_feat_s_{name}": tensor.grad.numpy() for name, tensor in maps.items()}


PADDLE: dict[str, tuple[str, dict[str, str], dict]] = {  # its loss -> ours, options by the numbers of a key, the others
    "kldiv": ("kl", {"T": "temperature"}, {}),
    "dml": ("ssld", {}, {}),
    "dkd": ("dkd", {"T": "temperature", "a": "alpha", "b": "beta"}, {"temperature": 1.0, "alpha": 1.0, "beta": 1.0}),
    "dist": ("dist", {"b": "beta", "g": "gamma"}, {}),
    "wsl": ("wsld", {"T": "temperature"}, {"alpha": 1.0}),
    "skd": ("skd_layer_norm", {"T": "temperature", "m": "multiplier", "a": "alpha"}, {}),
    "celoss": ("soft_ce", {}, {}),
}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def paddle_logits(inputs: Arrays, wanted: list[str]) -> Arrays:
    """The losses of PaddleClas on logits; golden_paddle.py has those on features."""
    label, teacher = tensor(inputs["target"]), inputs["z_t"]
    results = {}
    for name in (key.removesuffix(".grad_z_s") for key in wanted if key.endswith(".grad_z_s")):
        kind, named, fixed = PADDLE[name.partition("_")[0]]
        suffixes = numbers(name.partition("_")[2])
        options = fixed | {option: suffixes[key] for key, option in named.items() if key in suffixes}
        target = tensor(teacher.argmax(axis=1)) if name == "dkd_no_label" else label
        # Of this one a softmax is taken of what is a softmax already.
        z_t = softmax(teacher) if name == "celoss_softmax_label" else teacher
        z_s = tensor(inputs["z_s"], gradient=True)
        loss = value(kind, options, {"logits": z_s}, {"logits": tensor(z_t)}, label=target)
        loss.backward()
        results |= {f"{name}.loss": loss.numpy(), f"{name}.grad_z_s": z_s.grad.numpy()}
    for key in (key for key in wanted if key.endswith(".grad_z_t")):  # it is symmetric, and both networks are trained
        z_t = tensor(teacher, gradient=True)
        value("ssld", {}, {"logits": z_t}, {"logits": tensor(inputs["z_s"])}).backward()
        results[key] = z_t.grad.numpy()
    return results


def _a_b_t(n: Numbers) -> dict:
    return {"alpha": n["a"], "beta": n["b"], "temperature": n["T"]}


METHODS: dict[str, Method] = {
    "kd": of_logits("kl", lambda n: {"temperature": n["T"]}),
    "dkd": of_logits("dkd", _a_b_t),
    "dist": of_logits("dist", lambda n: {"beta": n["b"], "gamma": n["g"], "temperature": n["tau"]}),
    "lskd": both(
        of_logits("lskd", lambda n: {"temperature": n["T"]}, "kd_"),
        of_logits("lskd", lambda n: {"base": "dkd", **_a_b_t(n)}, "dkd_"),
        lskd_normalised,
    ),
    "wsld": of_logits("wsld", lambda n: {"temperature": n["T"], "alpha": n["alpha"]}),
    "skd_spherical": of_logits("skd_spherical", lambda n: {"temperature": n["T"], "alpha": n["alpha"]}),
    "nkd": of_logits("nkd", lambda n: {"temperature": n["T"], "gamma": n["gamma"]}),
    "ttm": both(
        of_logits("ttm", lambda n: {"gamma": n["g"]}, "ttm_"),
        of_logits("ttm", lambda n: {"gamma": n["g"], "weighted": True}, "wttm_"),
    ),
    "normkd": of_logits("normkd", lambda n: {"tau": n["T"]}),
    "rld": of_logits("rld", lambda n: {**_a_b_t(n), "confidence_temperature": n["aT"]}),
    "ofa": of_logits("ofa", lambda n: {"eps": n["eps"], "student": []}),
    "tfkd": both(of_logits("tfkd", lambda n: {}, "self_"), of_logits("tfkd", lambda n: {"form": "regularise"}, "reg_")),
    "ctkd": ctkd,
    "mlkd": mlkd,
    "deit": deit,
    "pskd": pskd,
    "uskd": uskd,
    "mealv2": mealv2,
    "dml": dml,
    "multi_teacher": multi_teacher,
}
