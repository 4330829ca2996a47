"""Recipes and cards: typed, checked, no PaddlePaddle."""
