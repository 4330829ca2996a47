"""`ssld plan`: what a recipe will take before it is run."""

from ssld.planning.parts import parts_of
from ssld.planning.summary import cost_line, plan_recipe, show

__all__ = ["cost_line", "parts_of", "plan_recipe", "show"]
