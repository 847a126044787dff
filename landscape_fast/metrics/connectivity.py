"""Mode connectivity: whether a curve of low loss joins two trained models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import nn

from landscape_fast.linearise.batches import Batches
from landscape_fast.linearise.objective import Criterion, LossFunction, Objective
from landscape_fast.linearise.state import untouched, unwrap
from landscape_fast.metrics.curve import mode_connectivity
from landscape_fast.metrics.curve_fit import fit_bends, starting_curve
from landscape_fast.metrics.minibatches import Minibatches
from landscape_fast.metrics.networks import matched_parameters, require_same_rest
from landscape_fast.metrics.placed import PlacedNetwork
from landscape_fast.metrics.points import quality_at
from landscape_fast.metrics.quality import ignored_target
from landscape_fast.randomness import start_from_seed
from landscape_fast.results import Connectivity


def connectivity(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Iterable[Any],
    *,
    criterion: Criterion | None = None,
    loss_fn: LossFunction | None = None,
    epochs: int = 50,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 128,
    points: int = 5,
    bend: str = "linear",
    bends: int = 1,
    seed: int = 0,
) -> Connectivity:
    r"""Mode connectivity of two trained models along a trained Bezier curve.

    Between the parameters a and b of the models, :math:`\gamma(t) = (1-t)^2 a + 2t(1-t) c + t^2 b`.
    The bend c is trained by SGD on :math:`\mathrm{E}_{t \sim U(0,1)} [L(\gamma(t)) + \tfrac{w}{2}
    \lVert \gamma(t) \rVert^2]`; a and b stay. Then loss and error are measured at equally spaced t,
    each time with running statistics of BatchNorm (and of any other layer of torch that has them)
    measured anew, also at the ends, which therefore differ from the models themselves. The value is
    :math:`\tfrac12 (E(a) + E(b)) - E(\gamma(t^*))` at the t of largest magnitude, E being the error
    in percent: negative for a barrier, about 0 for connected models, positive where the curve is
    better than its ends.

    A trained curve is an upper bound: a barrier says that this training found no better curve.

    Differs from the authors' released code in: any architecture, without curve layers written by
    hand; a seed; shared parameters move together; the same mini-batches set the statistics at every
    t.

    Args:
        model_a: Any module; comes back as it went in.
        model_b: The same network with other trainable parameters. ``model_a`` itself, or equal
            parameters, give the constant curve without training, with value 0.
        loader: Iterable of training batches. Held in memory; rows are shuffled anew in each epoch,
            or whole batches where rows of different batches do not fit together.
        criterion: ``criterion(model(inputs), targets)``; default cross-entropy.
        loss_fn: ``loss_fn(model, batch)``, a mean over rows or ``(sum, count)``. Called with a copy
            of ``model_a``.
        epochs: Passes over the data that train the curve. 0 measures the untrained curve: with
            ``bend="linear"`` the straight line between the models.
        lr: Learning rate, constant for half of the epochs, then falling to a hundredth.
        momentum: Of SGD.
        weight_decay: w in the objective. It acts on the whole curve, not on the bend.
        batch_size: Rows per step, whatever the batches of the loader.
        points: Positions at which the curve is measured, ends included.
        bend: Start of c. ``"linear"``: the midpoint of a and b (Garipov et al.). ``"random"``: a
            fresh initialisation by each module's ``reset_parameters``; parameters that no such
            method sets start at the midpoint. ``"released"``: the same with scales of BatchNorm
            from U(0, 1), as in the code that Yang et al. released, where torch today sets 1.
        bends: Number of bends. Two give a cubic curve.
        seed: Chooses t, the order of the data, dropout and random bends. The same seed gives the
            same bits on a CPU, for a given number of threads.

    Returns:
        ``value`` in percentage points and ``loss_value`` in the unit of the loss, with the series
        they are read from. ``bend`` is (n,) for one bend and (bends, n) for several. Where training
        diverged, the loss and error inside the curve are nan, and so is ``value``; the latter also
        where targets are not class indices.

    Raises:
        ValueError: An argument is out of range; the loader is empty; the models differ in device,
            layers, the name or shape of a parameter, frozen parameters or other buffers than batch
            statistics (the first that differs is named).

    References:
        Garipov, Izmailov, Podoprikhin, Vetrov and Wilson (2018), arXiv:1802.10026, for the curve.
        Yang et al. (2021), arXiv:2107.11228, for the protocol and the value.

    Example:
        >>> import torch
        >>> data = [(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))]
        >>> one, other = torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(1, 2, bias=False)
        >>> _ = one.load_state_dict({"weight": torch.tensor([[-1.0], [1.0]])})
        >>> _ = other.load_state_dict({"weight": torch.tensor([[-3.0], [2.0]])})
        >>> result = connectivity(one, other, data, epochs=2)
        >>> abs(result.value), result.errors
        (0.0, tensor([0., 0., 0., 0., 0.], dtype=torch.float64))
    """
    _check(epochs, lr, momentum, weight_decay, batch_size, points, bend, bends)
    model_a, model_b = unwrap(model_a), unwrap(model_b)
    space, tensors_b = matched_parameters(model_a, model_b)
    require_same_rest(model_a, model_b)
    objective = Objective(criterion, loss_fn)
    with untouched(model_a, model_b), torch.inference_mode(False), torch.enable_grad():
        rng = start_from_seed(seed, space.device)
        batches = Batches(loader, device=space.device)
        samples, data = batches.samples, Minibatches(batches, batch_size)
        del batches  # the rows live in `data` now
        ends = tuple(
            space.flatten([tensor.detach() for tensor in tensors])
            for tensors in (space.tensors, tensors_b)
        )
        network = PlacedNetwork(model_a)
        if torch.equal(*ends):
            epochs, bend = 0, "linear"
        curve = starting_curve(network, (ends[0], ends[1]), bend, bends)
        steps = fit_bends(
            curve,
            network,
            data,
            objective,
            rng,
            epochs=epochs,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        positions = torch.linspace(0.0, 1.0, points, dtype=torch.float64).tolist()
        measured = [
            quality_at(curve(t), network, data, objective, ignored_target(criterion), seed)
            for t in positions
        ]
    losses = [loss for loss, _ in measured]
    errors = [100.0 - accuracy for _, accuracy in measured]
    value, index = mode_connectivity(errors)
    trained = curve.points[1:-1].clone()
    return Connectivity(
        value=value,
        loss_value=mode_connectivity(losses)[0],
        t_star=math.nan if index is None else positions[index],
        t=torch.tensor(positions, dtype=torch.float64),
        errors=torch.tensor(errors, dtype=torch.float64),
        losses=torch.tensor(losses, dtype=torch.float64),
        lengths=curve.lengths(positions),
        bend=trained[0] if bends == 1 else trained,
        steps=steps,
        samples=samples,
    )


def _check(
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    batch_size: int,
    points: int,
    bend: str,
    bends: int,
) -> None:
    wholes = {"epochs": (epochs, 0), "batch_size": (batch_size, 1), "points": (points, 2)}
    for name, (value, least) in {**wholes, "bends": (bends, 1)}.items():
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if not 0.0 < lr < math.inf:
        raise ValueError(f"lr must be positive and finite, got {lr}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0 and finite, got {weight_decay}")
    if bend not in ("linear", "random", "released"):
        raise ValueError(f"bend must be 'linear', 'random' or 'released', got {bend!r}")
