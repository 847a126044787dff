"""Squares of per-sample gradients: the exact diagonal and trace of a Gauss-Newton matrix."""
