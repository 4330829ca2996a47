"""InceptionV4: Inception-v4, Inception-ResNet and the impact of residual connections on learning. arXiv:1602.07261"""

from __future__ import annotations

from ssld.models.base import Family
from ssld.models.inception_v3 import AVERAGE, MAX, Conv, Inception, Steps, named, valid
from ssld.models.layers import STATIC_ENDS

STEM: Steps = [
    valid(32),
    valid(32, 1),
    Conv(64, 3),
    [[MAX], [valid(96)]],
    [[Conv(64), valid(96, 1)], [Conv(64), Conv(64, (7, 1)), Conv(64, (1, 7)), valid(96, 1)]],
    [[valid(192)], [MAX]],
]

A: list[Steps] = [
    [AVERAGE, Conv(96)],
    [Conv(96)],
    [Conv(64), Conv(96, 3)],
    [Conv(64), Conv(96, 3), Conv(96, 3)],
]

REDUCE_A: list[Steps] = [[MAX], [valid(384)], [Conv(192), Conv(224, 3), valid(256)]]

B: list[Steps] = [
    [AVERAGE, Conv(128)],
    [Conv(384)],
    [Conv(192), Conv(224, (1, 7)), Conv(256, (7, 1))],
    [Conv(192), Conv(192, (1, 7)), Conv(224, (7, 1)), Conv(224, (1, 7)), Conv(256, (7, 1))],
]

REDUCE_B: list[Steps] = [
    [MAX],
    [Conv(192), valid(192)],
    [Conv(256), Conv(256, (1, 7)), Conv(320, (7, 1)), valid(320)],
]

_FORK: list[Steps] = [[Conv(256, (1, 3))], [Conv(256, (3, 1))]]

C: list[Steps] = [
    [AVERAGE, Conv(256)],
    [Conv(256)],
    [Conv(384), _FORK],
    [Conv(384), Conv(448, (1, 3)), Conv(512, (3, 1)), _FORK],
]

KINDS = [("inceptionA", "inceptionA"), ("reductionA", "inceptionB"), ("reductionB", "inceptionC")]
NAMES = {
    "inceptionA": ("- 1", "2", "3_1 3_2", "4_1 4_2 4_3"),
    "reductionA": ("-", "2", "3_1 3_2 3_3"),
    "inceptionB": ("- 1", "2", "3_1 3_2 3_3", "4_1 4_2 4_3 4_4 4_5"),
    "reductionB": ("-", "2_1 2_2", "3_1 3_2 3_3 3_4"),
    "inceptionC": ("- 1", "2", "3_0 3_1 3_2", "4_0 4_00 4_000 4_1 4_2"),
}
KINDS_STATIC = [("inception_a", "inception_a"), ("reduction_a", "inception_b"), ("reduction_b", "inception_c")]
NAMES_STATIC = {
    "inception_a": ("- 1x1", "1x1_2", "3x3_reduce 3x3", "3x3_2_reduce 3x3_2 3x3_3"),
    "reduction_a": ("-", "3x3", "3x3_2_reduce 3x3_2 3x3_3"),
    "inception_b": ("- 1x1", "1x1_2", "1x7_reduce 1x7 7x1", "7x1_2_reduce 1x7_2 7x1_2 1x7_3 7x1_3"),
    "reduction_b": ("-", "3x3_reduce 3x3", "1x7_reduce 1x7 7x1 3x3_2"),
    "inception_c": ("- 1x1", "1x1_2", "1x1_3 1x3 3x1", "1x1_4 1x3_2 3x1_2 1x3_3 3x1_3"),
}

Family(
    "inception_v4",
    Inception,
    variants={
        "InceptionV4": dict(stem=STEM, stages=[[A] * 4, [REDUCE_A, *[B] * 7], [REDUCE_B, *[C] * 3]], exclusive=True)
    },
    rename=[
        (r"^stem\.3\.1\.0", "_inception_stem._conv2"),
        (r"^stem\.5\.0\.0", "_inception_stem._conv3"),
        (r"^stem\.4\.(\d)\.(\d)", "_inception_stem._conv{0:+1}_{1:+1}"),
        (r"^stem\.(\d)", "_inception_stem._conv_{0:+1}"),
        named(KINDS, NAMES, "_{kind}_{number}._conv{conv}."),
        (r"^(_reduction.)_1", "{0}"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
        (r"^head\.fc", "out"),
    ],
    rename_static=[
        (r"^stem\.0", "conv1_3x3_s2"),
        (r"^stem\.1", "conv2_3x3_s1"),
        (r"^stem\.2", "conv3_3x3_s1"),
        (r"^stem\.3\.1\.0", "inception_stem1_3x3_s2"),
        (r"^stem\.4\.0\.0", "inception_stem2_3x3_reduce"),
        (r"^stem\.4\.0\.1", "inception_stem2_3x3"),
        (r"^stem\.4\.1\.0", "inception_stem2_1x7_reduce"),
        (r"^stem\.4\.1\.1", "inception_stem2_1x7"),  # its kernel is 7x1, that of the next 1x7
        (r"^stem\.4\.1\.2", "inception_stem2_7x1"),
        (r"^stem\.4\.1\.3", "inception_stem2_3x3_2"),
        (r"^stem\.5\.0\.0", "inception_stem3_3x3_s2"),
        named(KINDS_STATIC, NAMES_STATIC, "{kind}{number}_{conv}."),
        (r"^(reduction_.)1", "{0}"),
        (r"^head\.fc", "final_fc"),
        *STATIC_ENDS,
    ],
)
