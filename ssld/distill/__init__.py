"""Teacher to student: the stages of a recipe."""
