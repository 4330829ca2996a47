"""This package holds the inference engines, one file each; the name of the file is the name of the engine."""
