"""A registry of networks of a few numbers each, to search and to load in no time."""

from paddle import nn

from ssld.models import base
from ssld.models.base import Classifier, Family


class Tiny(Classifier):
    """One convolution a stage; the numbers say what 1.x may have built otherwise."""

    def __init__(self, depth, num_classes, in_size, width=4, bias=False, drop=0.0):
        super().__init__(num_classes, in_size)
        self.stem = nn.Sequential(("conv", nn.Conv2D(3, width, 3, 2, 1, bias_attr=bias)), ("bn", nn.BatchNorm2D(width)))
        self.stages = nn.LayerList(nn.Sequential(nn.Conv2D(width, width, 1, bias_attr=False)) for _ in range(depth))
        layers = ("pool", nn.AdaptiveAvgPool2D(1)), ("flatten", nn.Flatten()), ("drop", nn.Dropout(drop))
        self.head = nn.Sequential(*layers, ("fc", nn.Linear(width, num_classes)))


BN = {"weight": "gamma", "bias": "beta", "_mean": "moving_mean", "_variance": "moving_variance"}


def zoo(monkeypatch):
    """Replace the registry. `Tiny_wide`, `Tiny_bias` and `Tiny_drop` differ in 1.x: in shapes, in keys, in neither."""
    base._load_series()
    monkeypatch.setattr(base, "_FAMILIES", {})
    Family(
        "tiny",
        Tiny,
        variants={
            "Tiny1": dict(depth=1),
            "Tiny2": dict(depth=2),
            "Tiny2_t": dict(depth=2, drop=0.1),
            "Tiny2_w": dict(depth=2, width=5),
            "Tiny_wide": dict(depth=3, width=8),
            "Tiny_bias": dict(depth=4),
            "Tiny_drop": dict(depth=5),
        },
        old={"Tiny_wide": dict(width=6), "Tiny_bias": dict(bias=True), "Tiny_drop": dict(drop=0.5)},
        rename=[(r"^stages\.\d\.\d", "blocks.{n}.conv"), (r"^head\.", "")],
        rename_2_0=[(r"^stages\.\d\.\d", "_blocks.{n}._conv"), (r"^head\.fc", "_fc")],
        rename_static=[
            (r"^stem\.bn\.(\w+)$", lambda found, _: f"tiny/stem/BatchNorm/{BN[found[1]]}"),
            (r"^stem\.conv\.weight", "tiny/stem/weights"),
            (r"^stem\.conv\.bias", "tiny/stem/biases"),
            (r"^stages\.\d\.\d\.weight", "tiny/block{n}/weights"),
            (r"^head\.fc\.weight", "fc_0.w_0"),
            (r"^head\.fc\.bias", "fc_0.b_0"),
        ],
    )
    # In this series develop names all as 2.0 does.
    same = dict(rename=[(r"^head\.", "_")], variants={"Same": dict(depth=6), "Same_drop": dict(depth=7)})
    Family("same", Tiny, **same, old={"Same_drop": dict(drop=0.5)}, rename_static=[(r"\.", "_"), (r"\.", "_")])
