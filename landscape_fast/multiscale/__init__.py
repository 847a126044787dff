"""Structure of the loss beyond its quadratic part: growth, separate scales, edge of stability."""
