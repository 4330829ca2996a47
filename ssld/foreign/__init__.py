"""Networks that another framework trained, as teachers: ONNX files and inference programs of Paddle."""

from ssld.foreign.accuracy import Accuracy, accuracy, chance_bound, check_accuracy
from ssld.foreign.classes import read_classes
from ssld.foreign.network import FLOOR, ForeignNetwork, OnnxNetwork, PaddleProgram

__all__ = [
    "FLOOR",
    "Accuracy",
    "ForeignNetwork",
    "OnnxNetwork",
    "PaddleProgram",
    "accuracy",
    "chance_bound",
    "check_accuracy",
    "read_classes",
]
