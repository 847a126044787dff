"""What every process of a gloo group checks; started by test_processes.py, one name per line out.

Three processes check as a group of three, then the first two of them as a group of two:
``python process_checks.py RANK FILE``.
"""

from __future__ import annotations

import sys
import warnings
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
import torch
from oracles import assert_relative, assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

from landscape_fast import diagonal, frobenius_norm, trace
from landscape_fast.krylov.eigen import extreme_eigenpairs
from landscape_fast.linearise.fisher import EmpiricalFisherOperator
from landscape_fast.linearise.gauss_newton import GGNOperator
from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.metrics.sharpness import top_eigs

RANK, STORE = (int(sys.argv[1]), sys.argv[2]) if __name__ == "__main__" else (0, "")
WORLD = 3
SHARES = [[4], [1, 2, 5], [3, 3]]  # rows of the batches of each rank
GROUPS: dict[int, distributed.ProcessGroup] = {}  # by size
SIZE = WORLD  # of the group that checks now


def batches(shape=(5,), dtype=torch.float64):
    """All batches, in the order of the ranks."""
    sizes = [size for share in SHARES[:SIZE] for size in share]
    x, y = classification(sum(sizes), shape)
    return cut((x.to(dtype), y), sizes)


def own(everything, rank=RANK):
    """The share of a rank."""
    start = sum(len(share) for share in SHARES[:rank])
    return everything[start : start + len(SHARES[rank])]


def pair(kind=HessianOperator, make=mlp, everything=None, **options):
    """The operator of the group, and that of all data in one process."""
    everything = everything or batches()
    options = {"engine": "autograd", **options}  # which starts faster
    group = kind(make().double(), own(everything), process_group=GROUPS[SIZE], **options)
    return group, kind(make().double(), everything, **options)


def vectors(op, k=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(k, op.shape[0], dtype=op.dtype, generator=generator)


def check_products_forms_and_random_forms_are_those_of_one_process():
    for kind, engine in (
        (HessianOperator, "captured"),
        (GGNOperator, "captured"),
        (EmpiricalFisherOperator, "autograd"),
    ):
        group, whole = pair(kind, engine=engine, weight_decay=0.1)
        v = vectors(whole)
        assert_relative(group(v), whole(v), 1e-12)
        assert_relative(group.quadratic(v), whole.quadratic(v), 1e-12)
        ours, theirs = (op.random_quadratics(4, seed=1, first=2) for op in (group, whole))
        assert_relative(ours, theirs, 1e-12)
        assert abs(group.loss - whole.loss) < 1e-12 * whole.loss
        assert (group.samples, group.products) == (whole.samples, whole.products)


def check_the_gradient_is_that_of_one_process():
    group, whole = pair(weight_decay=0.1)
    (loss, gradient), (whole_loss, whole_gradient) = (
        op.loss_and_gradient() for op in (group, whole)
    )
    assert_relative(gradient, whole_gradient, 1e-12)
    assert abs(loss - whole_loss) < 1e-12


def check_eigenvalues_are_those_of_one_process():
    model = mlp().double()
    found = top_eigs(model, own(batches()), 3, tol=1e-8, process_group=GROUPS[SIZE])
    alone = top_eigs(model, batches(), 3, tol=1e-8)
    assert found.complete
    assert found.samples == alone.samples
    assert_relative(found.values, alone.values, 1e-10)


def check_class_weights_and_ignored_targets_divide_once():
    for criterion in (
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 1.0]).double(), ignore_index=1),
        nn.CrossEntropyLoss(reduction="sum"),
    ):
        group, whole = pair(criterion=criterion)
        v = vectors(whole)
        assert_relative(group(v), whole(v), 1e-12)


def check_monte_carlo_targets_belong_to_the_row_of_the_whole_data():
    group, whole = pair(GGNOperator, monte_carlo=2, seed=3)
    v = vectors(whole)
    assert_relative(group(v), whole(v), 1e-12)


def check_results_are_equal_to_the_bit_in_every_process():
    group, _ = pair(make=conv_net, everything=batches((1, 6, 6)))
    found = extreme_eigenpairs(group, 2)
    mine = torch.cat([found.values, found.vectors.reshape(-1)])
    everyones = [torch.empty_like(mine) for _ in range(SIZE)]
    distributed.all_gather(everyones, mine, group=GROUPS[SIZE])
    assert all(torch.equal(one, mine) for one in everyones)


def check_rounding_in_float32_is_that_of_one_process():
    group = HessianOperator(
        mlp(),
        own(batches(dtype=torch.float32)),
        engine="autograd",
        process_group=GROUPS[SIZE],
    )
    single = HessianOperator(mlp(), batches(dtype=torch.float32), engine="autograd")
    _, exact = pair()
    v = vectors(single)
    wanted = exact(v.double())
    theirs = (single(v) - wanted).abs().max()
    assert (group(v) - wanted).abs().max() <= 2 * theirs + 1e-7 * wanted.abs().max()


def check_a_loader_that_is_read_again_has_the_same_answer():
    group, whole = pair(memory_budget=0)
    v = vectors(whole)
    assert_relative(group(v), whole(v), 1e-12)


def check_a_model_in_distributed_data_parallel_is_unwrapped_and_untouched():
    model = mlp().double()
    wrapped = nn.parallel.DistributedDataParallel(model, process_group=GROUPS[SIZE])
    wrapped(own(batches())[0][0]).sum().backward()
    before = snapshot(model)
    op = HessianOperator(wrapped, own(batches()), engine="autograd", process_group=GROUPS[SIZE])
    whole = HessianOperator(model, batches(), engine="autograd")
    v = vectors(whole)
    assert_relative(op(v), whole(v), 1e-12)
    assert_same_state(model, before)


def raises(text, function):
    """The error ``text`` in this process, or what another process says of it; nobody may wait."""
    with pytest.raises((ValueError, RuntimeError, FloatingPointError), match=text) as caught:
        function()
    return caught.value


def check_sharded_models_are_refused():
    if SIZE < WORLD:  # torch shards over all processes
        return
    group = GROUPS[SIZE]
    mesh = init_device_mesh("cpu", (SIZE,))
    shards = mlp()
    fully_shard(shards, mesh=mesh)
    raises("as a DTensor", lambda: HessianOperator(shards, own(batches()), process_group=group))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = FullyShardedDataParallel(mlp(), device_id=torch.device("cpu"))
    raises(
        "wrapped in FullyShardedDataParallel",
        lambda: HessianOperator(wrapped, own(batches()), process_group=group),
    )


def check_a_rank_without_data_is_an_error_in_every_process():
    share = own(batches()) if RANK else []
    error = raises(
        "loader is empty",
        lambda: HessianOperator(
            mlp().double(), share, engine="autograd", process_group=GROUPS[SIZE]
        ),
    )
    assert ("process 0 of the group failed with ValueError" in str(error)) == (RANK > 0)


def check_bad_data_and_models_of_one_rank_are_errors_in_every_process():
    last = SIZE - 1
    x, y = own(batches())[0]
    broken = [(x * float("nan"), y)] if last == RANK else [(x, y)]
    group = GROUPS[SIZE]
    raises(
        "loss is nan",
        lambda: HessianOperator(mlp().double(), broken, engine="autograd", process_group=group),
    )
    frozen = mlp().double().requires_grad_(last != RANK)
    raises(
        "no trainable parameter",
        lambda: HessianOperator(frozen, [(x, y)], engine="autograd", process_group=group),
    )


def check_a_product_that_fails_in_one_rank_fails_in_all():
    group, _ = pair()
    inner = group._engine.multiply

    def failing(*arguments):
        if RANK == 0:
            raise RuntimeError("out of luck")
        return inner(*arguments)

    group._engine.multiply = failing
    raises("out of luck", lambda: group(vectors(group)))
    group._engine.multiply = inner
    group(vectors(group))  # and the group is still in step


def check_a_product_that_is_not_finite_in_one_rank_fails_in_all():
    group, _ = pair()
    inner = group._engine.multiply
    scale = float("inf") if RANK == 0 else 1.0
    group._engine.multiply = lambda *a: [None if p is None else p * scale for p in inner(*a)]
    raises("not finite", lambda: group(vectors(group)))


def check_different_parameters_are_named():
    model = mlp().double()
    if RANK == 0:
        with torch.no_grad():
            model[0].weight[1, 1] += 1e-9
    raises(
        "parameters or buffers of model differ",
        lambda: HessianOperator(
            model, own(batches()), engine="autograd", process_group=GROUPS[SIZE]
        ),
    )


def check_processes_out_of_step_are_told_so():
    group, _ = pair()
    v = vectors(group)
    raises("different vectors", lambda: group(v if RANK else v.flip(0) * 2))
    raises("vectors at once", lambda: group(v if RANK else v[:1]))
    raises("draws, seed or first differ", lambda: group.random_quadratics(2, seed=RANK))
    assert torch.isfinite(group(v)).all()


def check_a_group_that_does_not_hold_this_process_is_refused():
    if RANK == 0:
        op = HessianOperator(mlp().double(), batches(), engine="autograd", process_group=GROUPS[1])
        whole = HessianOperator(mlp().double(), batches(), engine="autograd")
        assert torch.equal(op(vectors(op)), whole(vectors(op)))
    else:
        raises(
            "process_group does not hold this process",
            lambda: HessianOperator(mlp().double(), batches(), process_group=GROUPS[1]),
        )


def measured(function, make, everything, **options):
    """The answer of the group, which leaves the model alone, and that of one process."""
    model = make().double()
    before = snapshot(model)
    group = function(model, own(everything), process_group=GROUPS[SIZE], **options)
    assert_same_state(model, before)
    return group, function(make().double(), everything, **options)


def many(shape=(5,)):
    """Shares of forty times as many rows."""
    sizes = [40 * size for share in SHARES[:SIZE] for size in share]
    x, y = classification(sum(sizes), shape)
    return cut((x.double(), y), sizes)


def check_exact_traces_and_diagonals_are_those_of_one_process():
    for make, shape in ((conv_net, (1, 6, 6)), (mlp, (5,))):
        everything = batches(shape)
        exact = {"rtol": 0, "rtol_omitted": 0}
        group, one = measured(trace, make, everything, per_layer=True, **exact)
        assert group.note is None
        assert (group.stderr, group.samples) == (0.0, one.samples)
        assert group.cotangents == one.cotangents
        assert_relative(group.layer_values, one.layer_values, 1e-12)
        group, one = measured(diagonal, make, everything, **exact)
        assert_relative(group.values, one.values, 1e-12)
        assert not group.stderr.any()


def check_sampled_traces_take_the_rows_that_one_process_takes():
    group, one = measured(trace, mlp, many(), rtol=0.1, gauss_newton=True)
    assert one.sampled
    assert group.sampled
    assert group.cotangents == one.cotangents
    assert_relative(group.draws, one.draws, 1e-12)
    assert abs(group.stderr / one.stderr - 1) < 1e-9


def check_what_an_exact_diagonal_omits_is_drawn_as_in_one_process():
    group, one = measured(diagonal, mlp, many(), gauss_newton=True, rtol_omitted=0.3)
    assert group.omitted == pytest.approx(one.omitted, rel=1e-12)
    assert one.omitted > 0.1
    assert_relative(group.values, one.values, 1e-12)
    assert_relative(group.stderr, one.stderr, 1e-9)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def pooling():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Mean(), nn.Linear(6, 3))


def check_shares_of_other_kinds_of_rows_add_up():
    everything = []
    for rank, share in enumerate(SHARES[:SIZE]):  # sequences of a length of its own per process
        x, y = classification(sum(share), (3 + rank, 4), seed=rank)
        everything += cut((x.double(), y), share)
    group, one = measured(diagonal, pooling, everything, rtol=0, rtol_omitted=0)
    assert (group.note, one.note) == (None, None)
    assert_relative(group.values, one.values, 1e-12)


def check_the_norm_of_a_group_is_that_of_one_process():
    group, one = measured(frobenius_norm, mlp, batches(), rtol=0.1)
    assert_relative(group.draws, one.draws, 1e-12)


def check_a_trace_that_fails_in_one_process_fails_in_all():
    data = own(batches()) if RANK else []
    raises("empty", lambda: trace(mlp().double(), data, process_group=GROUPS[SIZE]))


def main():
    global SIZE
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{STORE}",
        rank=RANK,
        world_size=WORLD,
        timeout=timedelta(seconds=60),
    )
    for size in (1, 2, 3):
        GROUPS[size] = distributed.new_group(range(size))
    for size in (3, 2):
        SIZE = size
        for name, check in list(globals().items()):
            if name.startswith("check_") and size > RANK:
                check()
                sys.stdout.write(f"{size} {name}\n")
                sys.stdout.flush()
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
