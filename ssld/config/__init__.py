"""Load recipes and cards, typed and checked, without PaddlePaddle."""
