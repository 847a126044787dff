"""The barycentric complex of several points: its faces, and random points inside."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

Face = tuple[int, ...]


def faces_of(count: int) -> list[Face]:
    """All sets of two or more of ``count`` points, small ones first.

    Example:
        >>> faces_of(3)
        [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    """
    return [face for size in range(2, count + 1) for face in combinations(range(count), size)]


def centroids(count: int) -> Tensor:
    """Weights (count + faces, count) float64 that put each vertex of the complex, before training.

    The first rows are the points themselves, then one row for each face.
    """
    faces = faces_of(count)
    weights = torch.zeros(count + len(faces), count, dtype=torch.float64)
    weights[:count] = torch.eye(count)
    for row, face in enumerate(faces, start=count):
        weights[row, list(face)] = 1.0 / len(face)
    return weights


def points_inside(count: int, points: int, rng: np.random.Generator) -> Tensor:
    """Weights (points, count + faces) float64 of random points in the subdivided complex.

    Each lies in one of the count! simplexes of the barycentric subdivision, all equally likely
    whatever their volumes, with weights uniform on it (Dirichlet(1)).
    """
    faces = faces_of(count)
    place = {face: count + index for index, face in enumerate(faces)}
    weights = torch.zeros(points, count + len(faces), dtype=torch.float64)
    for row in weights:
        order = rng.permutation(count).tolist()
        chain = [order[0], *(place[tuple(sorted(order[:k]))] for k in range(2, count + 1))]
        row[chain] = torch.from_numpy(rng.dirichlet(np.ones(count)))
    return weights
