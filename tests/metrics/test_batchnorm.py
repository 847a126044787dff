from __future__ import annotations

import pytest
import torch
from oracles import classification, conv_net, cut, mlp
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.metrics.batchnorm import recalibrate

DATA = classification(40, (1, 6, 6))


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def test_one_batch_gives_mean_and_variance_of_the_data():
    model = conv_net()
    recalibrate(model, [DATA], Objective())
    first = model[0](DATA[0])
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(model[1].running_var, first.var((0, 2, 3)), rtol=1e-5)
    # The second layer sees what the first one normalises with the batch's own statistics.
    shift, scale = first.mean((0, 2, 3)), first.var((0, 2, 3), correction=0).add(1e-5).sqrt()
    normal = (first - shift[:, None, None]) / scale[:, None, None]
    hidden = normal * model[1].weight[:, None, None] + model[1].bias[:, None, None]
    second = model[4](model[3](model[2](hidden)))
    assert torch.allclose(model[5].running_mean, second.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(model[5].running_var, second.var((0, 2, 3)), rtol=1e-4)


def test_batches_count_by_their_rows():
    model, sizes = conv_net(), [25, 4, 11]
    recalibrate(model, cut(DATA, sizes), Objective())
    features = [model[0](inputs) for inputs, _ in cut(DATA, sizes)]
    assert torch.allclose(
        model[1].running_mean, torch.cat(features).mean((0, 2, 3)), atol=1e-6
    )  # of the data, although the batches are ragged
    variances = torch.stack([one.var((0, 2, 3)) for one in features])
    wanted = torch.tensor(sizes, dtype=torch.float32) @ variances / 40
    assert torch.allclose(model[1].running_var, wanted, rtol=1e-5)


def test_old_statistics_leave_no_trace_and_momentum_comes_back():
    spoiled, fresh = conv_net(), conv_net()
    spoiled[1].running_mean.fill_(torch.nan)  # as an overflow leaves it
    spoiled[1].momentum = 0.3
    spoiled[5].momentum = None
    for model in (spoiled, fresh):
        recalibrate(model, cut(DATA, [20, 20]), Objective())
    assert torch.equal(spoiled[1].running_mean, fresh[1].running_mean)
    assert (spoiled[1].momentum, spoiled[5].momentum) == (0.3, None)
    assert spoiled.training


def test_a_model_without_running_statistics_is_not_run():
    def fail(model, batch):
        raise AssertionError("the model was run")

    recalibrate(mlp(), [DATA], Objective(loss_fn=fail))
    plain = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, track_running_stats=False))
    recalibrate(plain, [DATA], Objective(loss_fn=fail))


def test_a_last_row_alone_joins_the_batch_before_it():
    x = torch.randn(9, 3)
    whole, cut = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    objective = Objective(loss_fn=lambda m, batch: (m(batch[0]).sum(), len(batch[0])))
    recalibrate(whole, [(x,)], objective)
    recalibrate(cut, [(x[:8],), (x[8:],)], objective)
    assert torch.equal(whole.running_var, cut.running_var)
    assert torch.equal(whole.running_mean, cut.running_mean)
