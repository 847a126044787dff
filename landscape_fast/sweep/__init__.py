"""Many models: what to run, where, and what is already there."""
