"""A recipe of which student, teacher, losses and images are a user's own code, for tests of such recipes."""

import shutil
from pathlib import Path

CODE = Path(__file__).parent / "own_code"

TREE = {
    "classes": 4,
    "code": ["losses.py"],
    "student": {"code": "nets.py:Tiny", "options": {"width": 6}},
    "teacher": {"code": "nets.py:Large", "stage": "teach"},
    "stage": {
        "data": {
            "train": ["images.py:Train"],
            "val": "images.py:Val",
            "size": 16,
            "batch": 8,
            "eval_batch": 8,
            "threads": 1,
        },
        "optim": {"lr": 0.1},
        "checkpoint_minutes": 0.002,
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 4, "loss": {"labelled": {}}},
        "distill": {"epochs": 8, "loss": {"gap": {}, "labelled": {}}},
    },
    "export": {"formats": ["paddle", "onnx"], "gate_images": 8},
    "bench": {"engines": ["onnxruntime"], "repeats": 2, "warmup": 1},
}
PARAMS = 6 * 27 + 6 + 2 * 6 + 6 * 4 + 4  # of the student: convolution, batch norm, classifier
MACS = 7 * 7 * 6 * 27 + 6 * 4  # a stride of 2 makes 7 x 7 places of 16 x 16 pixels


def write_code(folder):
    """The files of the user, beside the recipe."""
    for file in CODE.glob("*.py"):
        shutil.copyfile(file, folder / file.name)
