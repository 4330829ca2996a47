"""Golden files of methods that compare feature maps and vectors of the networks, image by image."""

import re
from collections.abc import Callable

import numpy as np
import paddle
from golden_tools import Arrays, Method, about, tensor, value
from paddle import nn

from ssld.interfaces import Outputs
from ssld.losses import build_terms
from ssld.losses.classifier import classified
from ssld.losses.feature.ofd import margin
from ssld.losses.maps import as_map, pooled

Rename = Callable[[str], str]


def outputs(values: dict, **weights: np.ndarray) -> Outputs:
    """Outputs with any logits, and the weights of a classifier: `weight` [classes, d] and `bias`."""
    given = {"weight": weights["weight"].T} if "weight" in weights else {}
    given |= {"bias": weights["bias"]} if "bias" in weights else {}
    named = {f"classifier.{name}": tensor(array) for name, array in given.items()}
    return Outputs({"logits": tensor(np.zeros((4, 2))), **values}, weights=named)


def one(inputs: Arrays, tap: str) -> tuple[Outputs, Outputs]:
    """Student and teacher, whose arrays feat_s and feat_t are what they give at this tap."""
    return outputs({tap: tensor(inputs["feat_s"], gradient=True)}), outputs({tap: tensor(inputs["feat_t"])})


def several(inputs: Arrays) -> tuple[Outputs, Outputs, dict]:
    """Student and teacher with the arrays feat_s_0 ..., feat_t_0 ... as stage0.pre ..., and options that say so."""
    found, options = [], {}
    for of, name in (("s", "student"), ("t", "teacher")):
        numbers = sorted(int(key.rpartition("_")[2]) for key in inputs if re.fullmatch(rf"feat_{of}_\d+", key))
        taps = {f"stage{n}.pre": tensor(inputs[f"feat_{of}_{n}"], gradient=of == "s") for n in numbers}
        found.append(outputs(taps))
        options[name] = list(taps)
    return *found, options


def of_maps(student: Outputs) -> Arrays:
    """The gradients of the maps of `several`."""
    taps = {name: tap for name, tap in student.items() if name.startswith("stage")}
    return {f"grad_feat_s_{re.sub(r'[^0-9]', '', name)}": tap.grad.numpy() for name, tap in taps.items()}


def made(kind: str, options: dict, student: Outputs, teacher: Outputs, **more: int) -> nn.Layer:
    """The layers of a loss, for outputs of these shapes."""
    return build_terms({kind: options})[kind].loss.helpers(about(student, teacher, **more))


def put(layer: nn.Layer, inputs: Arrays, theirs: Rename) -> None:
    """Give a layer the parameters and statistics of a file; `theirs` turns our name of one into the file's."""
    for name, parameter in layer.state_dict().items():
        other = theirs(re.sub(r"\b_variance$", "running_var", re.sub(r"\b_mean$", "running_mean", name)))
        array = inputs[f"param.{other}"] if f"param.{other}" in inputs else inputs[other]
        parameter.set_value(array.T if _linear(name, parameter) else array)


def of_layer(layer: nn.Layer, theirs: Rename) -> Arrays:
    """The gradients of its trained parameters, by the names of a file."""
    trained = {name: parameter for name, parameter in layer.named_parameters() if not parameter.stop_gradient}
    found = {}
    for name, parameter in trained.items():
        gradient = parameter.grad.numpy()
        found[f"grad.{theirs(name)}"] = gradient.T if _linear(name, parameter) else gradient
    return found


def _linear(name: str, parameter: paddle.Tensor) -> bool:
    return name.rpartition(".")[2] == "weight" and parameter.ndim == 2


def renamed(*rules: tuple[str, str]) -> Rename:
    """A function that applies (pattern, replacement) one after the other."""

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    return rename


def of_one(kind: str, tap: str, theirs: Rename, **options: object) -> Method:
    """A loss of one tap of each network, with layers: `loss`, `grad_feat_s` and the gradients of the layers."""

    def method(inputs: Arrays, wanted: list[str]) -> Arrays:
        student, teacher = one(inputs, tap)
        layer = made(kind, options, student, teacher)
        put(layer, inputs, theirs)
        loss = value(kind, options, student, teacher, layer)
        loss.backward()
        return {"loss": loss.numpy(), "grad_feat_s": student[tap].grad.numpy(), **of_layer(layer, theirs)}

    return method


def at(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    loss = value("at", options, student, teacher)
    loss.backward()
    return {"loss": loss.numpy(), **of_maps(student)}


def fitnet(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for case in sorted({key.partition(".")[0] for key in wanted}):
        given = {key.removeprefix(f"{case}."): array for key, array in inputs.items() if key.startswith(f"{case}.")}
        student, teacher = one(given, "stage3")
        options = {"student": "stage3", "teacher": "stage3"}
        layer = made("hint", options, student, teacher)
        put(layer, given, str)
        loss = value("hint", options, student, teacher, layer)
        loss.backward()
        arrays = {"out": layer(student["stage3"]).numpy(), "loss": loss.numpy(), **of_layer(layer, str)}
        arrays["grad_feat_s"] = student["stage3"].grad.numpy()
        found |= {f"{case}.{key}": array for key, array in arrays.items()}
    return found


def vid(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher = one(inputs, "stage1")
    options = {"student": ["stage1"]}
    layer = made("vid", options, student, teacher)
    theirs = renamed(("^0.", ""), ("^mean", "regressor"))
    put(layer, inputs, theirs)
    loss = value("vid", options, student, teacher, layer)
    loss.backward()
    return {"loss": loss.numpy(), "grad_feat_s": student["stage1"].grad.numpy(), **of_layer(layer, theirs)}


def ofd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    numbers = range(len(options["teacher"]))
    norms = {n: (tensor(inputs[f"bn_weight_{n}"]), tensor(inputs[f"bn_bias_{n}"])) for n in numbers}
    for n, (scale, shift) in norms.items():
        teacher.weights = {**teacher.weights, f"stage{n}.norm.weight": scale, f"stage{n}.norm.bias": shift}
    layer = made("ofd", options, student, teacher)
    theirs = "connectors.{}".format
    put(layer, inputs, theirs)
    loss = value("ofd", options, student, teacher, layer)
    loss.backward()
    margins = {f"margin_{n}": margin(*norms[n]).numpy() for n in numbers}
    return {"loss": loss.numpy(), **margins, **of_maps(student), **of_layer(layer, theirs)}


def ab(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    connected = nn.LayerList(nn.Identity() for _ in options["student"])  # the file has what connectors gave
    loss = value("ab", options, student, teacher, connected)
    loss.backward()
    return {"loss": loss.numpy(), **of_maps(student)}


def reviewkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    options["width"] = len(inputs["abf.0.conv1.1.weight"])
    layer = made("reviewkd", options, student, teacher)
    deepest = len(options["student"]) - 1  # the file counts the fusions from there
    theirs = renamed(
        (r"^fusions\.(\d+)", lambda n: f"abf.{deepest - int(n[1])}"),
        (r"reduce", "conv1"), (r"\.out\.", ".conv2."), (r"attention", "att_conv.0"),
    )  # fmt: skip
    put(layer, inputs, theirs)
    fused = layer([as_map(student[tap]) for tap in options["student"]])
    loss = value("reviewkd", options, student, teacher, layer)
    loss.backward()
    found = {f"out_{n}": out.numpy() for n, out in enumerate(fused)}
    return {"loss": loss.numpy(), **found, **of_maps(student), **of_layer(layer, theirs)}


def simkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher = one(inputs, "map")
    options = {"factor": len(inputs["feat_t"][0]) // len(inputs["param.transfer.0.weight"])}
    layer = made("simkd", options, student, teacher)
    theirs = renamed(("^project", "transfer"))
    put(layer, inputs, theirs)
    projected, _ = layer(student["map"], teacher["map"])
    judge = outputs({}, weight=inputs["teacher_fc.weight"], bias=inputs["teacher_fc.bias"]).weights
    loss = value("simkd", options, student, teacher, layer)
    loss.backward()
    found = {"projected": projected.numpy(), "logits": classified(pooled(projected), judge).numpy()}
    return {"loss": loss.numpy(), "grad_feat_s": student["map"].grad.numpy(), **found, **of_layer(layer, theirs)}


def srrl(inputs: Arrays, wanted: list[str]) -> Arrays:
    student = outputs({"map": tensor(inputs["feat_s"], gradient=True)})
    given = {"map": tensor(inputs["feat_t"]), "logits": tensor(inputs["logits_t"])}
    teacher = outputs(given, weight=inputs["teacher_fc.weight"], bias=inputs["teacher_fc.bias"])
    options = {"teacher": "map"}
    layer = made("srrl", options, student, teacher)
    theirs = "Connectors.{}".format
    put(layer, inputs, theirs)
    both = value("srrl", options, student, teacher, layer)
    both.backward()
    alone = [value("srrl", {**options, part: 0.0}, student, teacher, layer).numpy() for part in ("logits", "features")]
    found = dict(zip(("fm_loss", "sr_loss"), alone, strict=True))
    return {**found, "grad_feat_s": student["map"].grad.numpy(), **of_layer(layer, theirs)}


def mgd(inputs: Arrays, wanted: list[str]) -> Arrays:
    return masked_generation(inputs, {})


def masked_generation(inputs: Arrays, options: dict) -> Arrays:
    student, teacher = one(inputs, "map")
    layer = made("mgd", options, student, teacher)
    theirs = renamed(("generate", "generation"))
    put(layer, inputs, theirs)
    layer.draw = lambda index, step: tensor(inputs["uniform"])
    batch = {"index": tensor(np.arange(len(inputs["feat_s"]))), "step": 0}
    loss = value("mgd", options, student, teacher, layer, **batch)
    loss.backward()
    return {"loss": loss.numpy(), "grad_feat_s": student["map"].grad.numpy(), **of_layer(layer, theirs)}


def pefd(inputs: Arrays, wanted: list[str]) -> Arrays:
    number = sum(bool(re.fullmatch(r"projector\.\d+\.weight", key)) for key in inputs)
    theirs = renamed(("^layers", "projector"))
    return of_one("pefd", "embedding", theirs, projectors=number)(inputs, wanted)


def catkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for suffix in (key.removeprefix("loss_") for key in wanted if key.startswith("loss_")):
        form, size = re.fullmatch(r"([a-z]+)(\d+)", suffix).groups()
        same = np.eye(inputs["cam_s"].shape[1])  # a classifier that leaves class maps as they are
        student = outputs({"map": tensor(inputs["cam_s"], gradient=True)}, weight=same)
        teacher = outputs({"map": tensor(inputs["cam_t"])}, weight=same)
        loss = value("catkd", {"size": int(size), "normalised": form == "norm"}, student, teacher)
        loss.backward()
        found |= {f"loss_{suffix}": loss.numpy(), f"grad_cam_s_{suffix}": student["map"].grad.numpy()}
    return found


def vkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher = one(inputs, "embedding")
    layer = made("vkd", {}, student, teacher)
    layer.free.set_value(inputs["weight"] if layer.widens else inputs["weight"].T)
    loss = value("vkd", {}, student, teacher, layer)
    loss.backward()
    return {"loss": loss.numpy(), "grad_feat_s": student["embedding"].grad.numpy()}


def afd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    options["width"] = inputs["param.attention.p_s"].shape[1]
    layer = made("afd", options, student, teacher)
    theirs = renamed(
        ("^keys", "linear_trans_s.key_layer"), ("^queries", "linear_trans_t.query_layer"),
        ("^spread", "linear_trans_s.bilinear"), ("^place_", "p_"), ("^", "attention."),
    )  # fmt: skip
    put(layer, inputs, theirs)
    loss = value("afd", options, student, teacher, layer)
    loss.backward()
    return {"loss": loss.numpy(), **of_maps(student), **of_layer(layer, theirs)}


def wkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    found = {}
    for suffix in (key.removeprefix("l_loss_") for key in wanted if key.startswith("l_loss_")):
        temperature, gamma = re.fullmatch(r"T([\d.]+)_g([\d.]+)", suffix).groups()
        options = {"temperature": float(temperature), "gamma": float(gamma), "sharpness": 2.0}
        student = outputs({"logits": tensor(inputs["z_s"], gradient=True)})
        teacher = outputs({"logits": tensor(inputs["z_t"])}, weight=inputs["teacher_fc"])
        loss = value("wkd_l", options, student, teacher, label=tensor(inputs["target"]))
        loss.backward()
        found |= {f"l_loss_{suffix}": loss.numpy(), f"l_grad_z_s_{suffix}": student["logits"].grad.numpy()}
    for suffix in (key.removeprefix("f_grad_") for key in wanted if key.startswith("f_grad_")):
        options = {"grid": int(suffix.removeprefix("grid"))}
        student, teacher = one(inputs, "map")
        for part, weights in (("mean", (1.0, 0.0)), ("std", (0.0, 1.0))):
            given = {**options, "mean": weights[0], "deviation": weights[1]}
            found[f"f_{part}_{suffix}"] = value("wkd_f", given, student, teacher, nn.Identity()).numpy()
        value("wkd_f", {**options, "mean": 2.0}, student, teacher, nn.Identity()).backward()
        found[f"f_grad_{suffix}"] = student["map"].grad.numpy()
    return found


class Given(nn.Layer):
    """Factors that a file has already."""

    def forward(self, student, teacher):
        return student, teacher


def ft(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher = one(inputs, "map")
    options = {"rate": inputs["factor_t"].shape[1] / inputs["feat_t"].shape[1]}
    layer = made("ft", options, student, teacher)
    theirs = renamed(
        (r"\.encode\.(\d)", lambda n: f".encoder.{int(n[1]) // 2 * 3}"),
        (r"\.decode\.(\d)", lambda n: f".decoder.{int(n[1]) // 2 * 3}"),
        (r"^translator\.", "translator.encoder."),
    )
    put(layer, inputs, theirs)
    loss = value("ft", options, student, teacher, layer)
    loss.backward()
    found = {"loss": loss.numpy(), "grad_feat_s": student["map"].grad.numpy(), **of_layer(layer, theirs)}
    found["paraphraser_loss"] = value("paraphrase", options, student, teacher, layer.paraphraser).numpy()
    factors = outputs({"map": tensor(inputs["factor_s"], gradient=True)})
    whole = value("ft", {"form": "factor"}, factors, outputs({"map": tensor(inputs["factor_t"])}), Given())
    whole.backward()
    return {**found, "td_loss": whole.numpy(), "td_grad_factor_s": factors["map"].grad.numpy()}


def semckd(inputs: Arrays, wanted: list[str]) -> Arrays:
    student, teacher, options = several(inputs)
    images, width = inputs["feat_s_0"].shape[0], inputs["param.query_0.linear2.weight"].shape[0]
    options["reduction"] = images // width
    layer = made("semckd", options, student, teacher, micro=images)
    theirs = renamed(
        (r"^queries\.(\d+)\.(\d)", lambda n: f"query_{n[1]}.linear{int(n[2]) // 2 + 1}"),
        (r"^keys\.(\d+)\.(\d)", lambda n: f"key_{n[1]}.linear{int(n[2]) // 2 + 1}"),
        (r"^projectors\.(\d+)\.(\d+)", r"regressor\1\2.regressor"),
    )
    put(layer, inputs, theirs)
    loss = value("semckd", options, student, teacher, layer)
    loss.backward()
    return {"loss": loss.numpy(), **of_maps(student), **of_layer(layer, theirs)}


def vitkd(inputs: Arrays, wanted: list[str]) -> Arrays:
    taps = [f"block{n + 1}" for n in range(inputs["low_s"].shape[1])]
    low = tensor(inputs["low_s"], gradient=True)
    high = tensor(inputs["high_s"], gradient=True)
    student = outputs({tap: low[:, n] for n, tap in enumerate(taps)} | {"last": high})
    teacher = outputs({tap: tensor(inputs["low_t"][:, n]) for n, tap in enumerate(taps)})
    teacher["last"] = tensor(inputs["high_t"])
    options = {"student": [*taps, "last"]}
    layer = made("vitkd", options, student, teacher)
    theirs = renamed(("^early", "align2"), ("^last", "align"), ("^token$", "mask_token"), ("^convs", "generation"))
    put(layer, inputs, theirs)
    layer.draw = lambda index, step: tensor(inputs["noise"])
    batch = {"index": tensor(np.arange(len(inputs["noise"]))), "step": 0}
    loss = value("vitkd", options, student, teacher, layer, **batch)
    loss.backward()
    gradients = {"grad_low_s": low.grad.numpy(), "grad_high_s": high.grad.numpy()}
    return {"loss": loss.numpy(), **gradients, **of_layer(layer, theirs)}


METHODS: dict[str, Method] = {
    "ab": ab,
    "afd": afd,
    "at": at,
    "catkd": catkd,
    "fitnet": fitnet,
    "ft": ft,
    "mgd": mgd,
    "ofd": ofd,
    "pefd": pefd,
    "reviewkd": reviewkd,
    "semckd": semckd,
    "simkd": simkd,
    "srd": of_one("srd", "embedding", "embed.{}".format),
    "srrl": srrl,
    "vid": vid,
    "vitkd": vitkd,
    "vkd": vkd,
    "wkd": wkd,
}
