"""Frames are what they are called, and their two maps belong together."""

from __future__ import annotations

import pytest
import torch

from landscape_fast.local_geometry.planes import (
    OrthonormalPlane,
    SparsePlane,
    WholeSpace,
    orthonormal_rows,
)

N, D = 50, 6


def planes():
    like = torch.zeros(N, dtype=torch.float64)
    return [
        OrthonormalPlane(N, D, torch.Generator().manual_seed(0), like),
        SparsePlane(N, D, torch.Generator().manual_seed(0), like),
        WholeSpace(N),
    ]


def matrix(plane):
    """M (n, d), column by column."""
    return torch.stack([plane.move(e) for e in torch.eye(plane.dimension).double()], 1)


def test_an_orthonormal_frame_is_orthonormal():
    frame = matrix(planes()[0])
    torch.testing.assert_close(frame.T @ frame, torch.eye(D).double())


def test_sparse_columns_have_norm_one_and_few_entries():
    frame = matrix(planes()[1])
    assert (frame != 0).sum(0).tolist() == [7] * D  # 50 / sqrt(50)
    torch.testing.assert_close(frame.norm(dim=0), torch.ones(D).double())
    dense = SparsePlane(N, D, torch.Generator().manual_seed(1), torch.zeros(1), density=1.0)
    assert (dense.move(torch.eye(D)[0]) != 0).all()


@pytest.mark.parametrize("kind", range(3))
def test_coordinates_are_the_transposed_map(kind):
    plane = planes()[kind]
    generator = torch.Generator().manual_seed(2)
    gradient = torch.randn(N, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(plane.coordinates(gradient), matrix(plane).T @ gradient)


def test_frames_are_uniform():
    """The mean of M M^T over frames is d / n times the identity, that of M is zero."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.stack([orthonormal_rows(2, 6, generator) for _ in range(800)])
    mean = torch.einsum("fdn,fdm->nm", frames, frames) / len(frames)
    torch.testing.assert_close(mean, torch.eye(6).double() / 3, atol=0.05, rtol=0)
    assert float(frames.mean(0).abs().max()) < 0.06
