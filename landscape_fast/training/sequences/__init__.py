"""Sequence models: sentence pairs as tokens, and the network that translates them."""
