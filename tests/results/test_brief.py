"""A result on a screen is a line, not pages of numbers."""

from __future__ import annotations

from oracles import classification, mlp

import landscape_fast
from landscape_fast import HessianOperator, spectral_density, top_eigs, trace


def test_results_of_large_networks_are_short_and_say_what_was_found():
    model, data = mlp(), [classification(12)]
    pairs = top_eigs(model, data, 2, tol=0.1)
    for found in (pairs, trace(model, data), spectral_density(model, data, starts=2, steps=8)):
        assert len(repr(found)) < 1000
        assert "\n" not in repr(found)
    assert f"vectors=<2 x {pairs.vectors.shape[1]} " in repr(pairs)
    assert f"values=[{float(pairs.values[0]):.6g}, " in repr(pairs)


def test_operators_say_what_they_multiply_by():
    op = HessianOperator(mlp(), [classification(12)])
    assert repr(op) == f"HessianOperator(n={op.shape[0]}, samples=12, engine='captured')"


def test_every_result_that_holds_tensors_has_the_short_form():
    for name in landscape_fast.__all__:
        found = getattr(landscape_fast, name)
        fields = getattr(found, "__dataclass_fields__", {})
        if isinstance(found, type) and any("Tensor" in str(f.type) for f in fields.values()):
            assert found.__repr__.__name__ == "brief", name
