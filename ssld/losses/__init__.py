"""Losses: callables (student logits, teacher logits, batch) -> scalar. One file a loss; Paddle loads with the first."""

from ssld.losses.registry import LOSSES, Objective, check_terms

__all__ = ["LOSSES", "Objective", "check_terms"]
