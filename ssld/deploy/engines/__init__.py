"""Inference engines: one file each; the file's name is the engine's name."""
