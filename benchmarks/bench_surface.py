"""Points of the loss surface of a trained ResNet-20 against a plain PyTorch loop.

The loop runs the model in evaluation mode without gradients, at the best of several batch sizes.
Both take 20 points of the 51 x 51 grid; ours also captures the model once, which is timed apart
(``set_up_in_points``) and counts in ``whole_surface``: the ratio for all 2,601 points. Losses are
asserted to agree first.

    pytest benchmarks/bench_surface.py --benchmark-only -k "200"      # a minute
    pytest benchmarks/bench_surface.py --benchmark-only -k "2000"     # ten minutes
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pairing import ratios
from resnet20 import trained_resnet20

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.state import evaluation
from landscape_fast.surfaces.directions import random_directions
from landscape_fast.surfaces.evaluation import LossAt
from landscape_fast.surfaces.surface import AT_ONCE

POINTS, GRID = 20, 51 * 51
BATCHES = (32, 64, 128, 256)


def plain_loop(model, data, vectors, places):
    """Loss at every place, as one writes it in PyTorch."""
    parameters = list(model.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    shapes = [parameter.numel() for parameter in parameters]
    moves = [[part.clone() for part in vector.split(shapes)] for vector in vectors]
    losses = []
    with torch.no_grad():
        for place in places:
            for index, (parameter, own) in enumerate(zip(parameters, start, strict=True)):
                move = sum(a * m[index] for a, m in zip(place, moves, strict=True))
                parameter.copy_(own + move.view_as(own))
            total = sum(float(F.cross_entropy(model(x), y, reduction="sum")) for x, y in data)
            losses.append(total / sum(len(y) for _, y in data))
        for parameter, own in zip(parameters, start, strict=True):
            parameter.copy_(own)
    return losses


@pytest.mark.parametrize("images", [200, 2000])
def test_surface(images, benchmark, tmp_path):
    model, loader = trained_resnet20(images, 128, tmp_path)
    vectors = random_directions(model, 2).vectors
    places = np.random.default_rng(0).uniform(-1, 1, (POINTS, 2)).tolist()
    x, y = (torch.cat(part) for part in zip(*loader, strict=True))

    with evaluation(model), torch.no_grad():
        space = ParameterSpace(model)
        origin = space.flatten(space.tensors)
        points = origin + torch.tensor(places) @ vectors
        begin = perf_counter()
        loss_at = LossAt(
            model,
            space,
            Batches(loader, device="cpu"),
            Objective(),
            far=points[0],
            recalibrated=False,
        )
        losses = loss_at(points[:AT_ONCE])
        set_up = perf_counter() - begin
        assert loss_at.note is None
        again = plain_loop(model, loader, vectors, places[:AT_ONCE])
        assert losses == pytest.approx(again, rel=1e-4)

        def ours():
            for block in points.split(AT_ONCE):
                loss_at(block)

        rivals = {
            str(size): lambda size=size: plain_loop(
                model, list(zip(x.split(size), y.split(size), strict=True)), vectors, places
            )
            for size in BATCHES
        }
        paired = ratios(ours, rivals, rounds=5)
        begin = perf_counter()
        ours()
        point = (perf_counter() - begin) / POINTS
    best = max(paired, key=lambda name: paired[name]["median"])
    benchmark.extra_info.update(
        ratios=paired,
        best_batch=int(best),
        set_up_in_points=set_up / point,
        whole_surface=paired[best]["median"] * (1 + set_up / point / GRID),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    benchmark.pedantic(ours, rounds=1)
