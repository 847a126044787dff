"""Loss surfaces: the loss on a grid of points around a model, in one, two or more directions."""
