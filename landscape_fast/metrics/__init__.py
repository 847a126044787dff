"""The questions of the taxonomy: models and data in, a result with its evidence out."""
