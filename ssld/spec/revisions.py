"""Name how published weights differ: the code that built their network, and the names that their file uses.

A *revision* is the generation of PaddleClas whose code built the network: some architectures of 1.x were built
otherwise than those of 2.x. A *flavour* is the naming scheme of the parameters in a weights file.
"""

from typing import Literal, get_args

Revision = Literal["1.x", "2.x"]
Flavour = Literal["develop", "2.0", "static"]

REVISIONS: tuple[Revision, ...] = get_args(Revision)
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)  # the newest naming scheme comes first
