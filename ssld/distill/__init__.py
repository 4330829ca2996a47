"""Train the stages of a recipe, in which a student learns from its teachers.

`ssld.distill(...)` is the function of that name in `ssld.api`.
"""

from ssld.callable import make_callable

make_callable(__name__)
