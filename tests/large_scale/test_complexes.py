"""Faces, barycentres and random points of the complex of several points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape_fast.large_scale.complexes import centroids, faces_of, points_inside


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_set_of_two_or_more_points_is_a_face(count):
    faces = faces_of(count)
    assert len(set(faces)) == len(faces) == 2**count - count - 1
    assert faces[-1] == tuple(range(count))


def test_before_training_the_complex_is_the_flat_simplex():
    weights = centroids(3)
    assert weights[3:].tolist() == [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5], [1 / 3] * 3]


def test_random_points_lie_in_one_simplex_of_the_subdivision_each():
    weights = points_inside(3, 200, np.random.default_rng(0))
    assert torch.allclose(weights.sum(1), torch.ones(200, dtype=torch.float64))
    assert (weights >= 0).all()
    faces = [*((i,) for i in range(3)), *faces_of(3)]
    for row in weights:
        chain = [set(faces[i]) for i in row.nonzero()[:, 0].tolist()]
        assert [len(face) for face in chain] == [1, 2, 3]
        assert chain[0] < chain[1] < chain[2]


def test_random_points_of_the_flat_simplex_are_uniform():
    # Six triangles of one area: uniform on the whole, with coordinates of mean 1/3, variance 1/18.
    flat = points_inside(3, 4000, np.random.default_rng(1)) @ centroids(3)
    assert (flat.mean(0) - 1 / 3).abs().max() < 4 * (1 / 18 / 4000) ** 0.5
    assert flat.var(0).tolist() == pytest.approx([1 / 18] * 3, rel=0.1)
