"""Golden files of methods that compare how images relate to each other, or to a memory of others."""

import numpy as np
from golden_tools import Arrays, Method, about, tensor

from ssld.losses import build_terms
from ssld.runtime import Runtime


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


METHODS: dict[str, Method] = {"crd": crd}
