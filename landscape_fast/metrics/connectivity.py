"""Mode connectivity: whether a curve of low loss joins two trained models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

from landscape_fast.arguments import require_choice, require_whole
from landscape_fast.linearise.objective import Criterion, LossFunction
from landscape_fast.metrics.between import between, profile
from landscape_fast.metrics.curve_fit import KINDS, fit_bends, require_training, starting_curve
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
    curve: Literal["bezier", "polychain"] = "bezier",
    seed: int = 0,
) -> Connectivity:
    r"""Mode connectivity of two trained models along a trained curve.

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
        curve: ``"bezier"``, the curve above; ``"polychain"``, straight segments over equal steps of
            t from one bend to the next (Garipov et al. 2018, section 3). Of one bend the former is
            smooth, the latter goes through it.
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
    require_training(epochs, lr, momentum, weight_decay)
    require_whole(1, batch_size=batch_size, bends=bends)
    require_whole(2, points=points)
    require_choice(("linear", "random", "released"), bend=bend)
    require_choice(tuple(KINDS), curve=curve)
    with between(
        model_a,
        model_b,
        loader,
        criterion=criterion,
        loss_fn=loss_fn,
        batch_size=batch_size,
        seed=seed,
    ) as joined:
        if torch.equal(*joined.points):
            epochs, bend = 0, "linear"
        path = starting_curve(joined.network, joined.points, bend, bends, curve)
        steps = fit_bends(
            path,
            joined.network,
            joined.data,
            joined.objective,
            joined.rng,
            epochs=epochs,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
        )
        return profile(joined, path, points, steps=steps)
