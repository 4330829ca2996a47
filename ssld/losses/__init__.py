"""Define the losses that a stage minimises. One file holds one loss; Paddle loads when the first one is computed."""

from ssld.losses.base import About, Loss, Reads
from ssld.losses.terms import Term, build_terms

__all__ = ["About", "Loss", "Reads", "Term", "build_terms"]
