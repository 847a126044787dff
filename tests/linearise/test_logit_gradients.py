"""Rows of the Jacobian are those of autograd, whatever the batches were."""

from __future__ import annotations

import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import nn

from landscape_fast.linearise.logit_gradients import LogitGradients


def by_autograd(model, inputs):
    """Gradient (N, C, n) of every logit of every sample."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = []
    for row in model(inputs):
        for logit in row:
            parts = torch.autograd.grad(
                logit, parameters, retain_graph=True, materialize_grads=True
            )
            found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found).reshape(len(inputs), -1, len(found[0]))


@pytest.mark.parametrize(("make", "shape"), [(mlp, (5,)), (conv_net, (1, 6, 6))])
def test_rows_are_those_of_autograd_class_by_class(make, shape):
    model = make().double().train()
    x, y = classification(13, shape)
    x = x.double()
    before = snapshot(model)
    gradients = LogitGradients(model, cut((x, y), [6, 7]))
    found = [torch.stack(list(gradients.of_class(label))) for label in range(3)]
    assert_same_state(model, before)
    exact = by_autograd(model.eval(), x)
    for label, block in enumerate(found):
        torch.testing.assert_close(block, exact[y == label], rtol=1e-10, atol=1e-12)
    assert gradients.classes == 3
    assert torch.equal(gradients.targets, y)


def test_selected_parameters_alone_have_entries():
    model = mlp().double()
    x, y = classification(6)
    gradients = LogitGradients(model, [(x.double(), y)], params="2")
    (first,) = (y == y[0]).nonzero()[:1, 0].tolist()
    block = next(gradients.of_class(int(y[0])))
    exact = by_autograd(model, x.double())[first]
    torch.testing.assert_close(block, exact[:, -gradients.space.size :], rtol=1e-10, atol=1e-12)


def test_errors_name_what_is_wrong():
    x, y = classification(6)
    with pytest.raises(ValueError, match="class indices"):
        LogitGradients(mlp(), [(x, y.double())])
    with pytest.raises(ValueError, match="got -100"):
        LogitGradients(mlp(), [(x, torch.full_like(y, -100))])
    with pytest.raises(ValueError, match="memory_budget"):
        LogitGradients(mlp(), [(x, y)], memory_budget=0)
    with pytest.raises(ValueError, match=r"couples? rows"):
        LogitGradients(nn.Sequential(mlp(), Coupled()), [(x, y)])


class Coupled(nn.Module):
    """Takes from every row the mean over the batch."""

    def forward(self, x):
        return x - x.mean(0)
