"""Local geometry of a classifier's loss: logit gradients, outliers, the Goldilocks zone, planes."""
