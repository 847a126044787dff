"""Permutations of hidden units that leave a network the same, and bring two together."""
