"""Ask networks that another framework trained, as teachers: ONNX files and inference programs of Paddle."""

from ssld.foreign.accuracy import Accuracy, accuracy, chance_bound, check_accuracy
from ssld.foreign.classes import read_classes
from ssld.foreign.network import FLOOR, ForeignNetwork, OnnxNetwork, PaddleProgram
from ssld.foreign.onnx_engine import onnx_digests
from ssld.foreign.paddle_engine import program_digests

__all__ = [
    "FLOOR",
    "Accuracy",
    "ForeignNetwork",
    "OnnxNetwork",
    "PaddleProgram",
    "accuracy",
    "chance_bound",
    "check_accuracy",
    "onnx_digests",
    "program_digests",
    "read_classes",
]
