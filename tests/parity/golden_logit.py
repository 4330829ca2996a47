"""Golden files of methods that compare logits: with labels, with a teacher, with several, with the student's past."""

from collections.abc import Callable

from golden_tools import Arrays, Method, tensor, value


def numbers(text: str) -> dict[str, float]:
    """`a1_b0.5_T4` -> {"a": 1.0, "b": 0.5, "T": 4.0}"""
    return {part[0]: float(part[1:]) for part in text.split("_")}


def of_logits(kind: str, options: Callable[[dict[str, float]], dict]) -> Method:
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


METHODS: dict[str, Method] = {
    "kd": of_logits("kl", lambda n: {"temperature": n["T"]}),
    "dkd": of_logits("dkd", lambda n: {"alpha": n["a"], "beta": n["b"], "temperature": n["T"]}),
}
