"""Define names that several parts of the package share, each once. Neither Paddle nor NumPy is imported here."""
