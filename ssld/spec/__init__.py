"""Names that several parts of the package share, each defined once. Neither Paddle nor NumPy is imported here."""
