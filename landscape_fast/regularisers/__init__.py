"""Penalties on curvature that can be differentiated, for use inside a training loop."""
