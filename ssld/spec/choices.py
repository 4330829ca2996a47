"""Name the choices of the command line, of recipes and of cards that several parts of the package take."""

from typing import Literal, get_args

Device = Literal["auto", "cpu", "gpu"]  # where a network computes; auto takes a GPU if there is one
WandbMode = Literal["offline", "online", "disabled"]  # what a user may ask of Weights & Biases
Assign = Literal["best", "all"]  # in mining an image serves its best class, or every class from the score on
Span = Literal["model", "end-to-end"]  # a latency is of the network alone, or from image files to answers
Interpolation = Literal["linear", "cubic"]  # how images are resized

DEVICES: tuple[Device, ...] = get_args(Device)
WANDB_MODES: tuple[WandbMode, ...] = get_args(WandbMode)
ASSIGNS: tuple[Assign, ...] = get_args(Assign)
SPANS: tuple[Span, ...] = get_args(Span)
