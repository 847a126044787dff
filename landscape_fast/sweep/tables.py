"""The results of a study as rows: one for each run, each pair and each cell.

Columns are named as in the published measurements of Yang et al. (2021), arXiv:2107.11228; the two
knobs keep their own names. What was not measured is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from landscape_fast.results import Connectivity
from landscape_fast.store import Store
from landscape_fast.sweep.options import MOST_REPEATS
from landscape_fast.sweep.plan import Plan
from landscape_fast.sweep.subjects import cells_of
from landscape_fast.sweep.tasks import Work

Row = dict[str, Any]

_NAN = math.nan
_CURVES = ("connectivity", *(f"connectivity_{repeat}" for repeat in range(2, MOST_REPEATS + 1)))


@dataclass(frozen=True, slots=True)
class Tables:
    """All rows of a study."""

    runs: list[Row]  # one per model
    pairs: list[Row]  # one per pair of models of a cell, each pair once
    cells: list[Row]  # one per cell


def gather(plan: Plan, store: Store) -> Tables:
    """Read the results of a study, as far as they are there.

    A cell's values are means over its runs or pairs, leaving out those that are not finite, with
    standard deviations (n - 1) beside them; logarithms are natural and of the mean. Its column
    ``converged`` says that every measurement is there and within its tolerance; those of a model
    whose training diverged are not there. The published protocol knows no tolerance: there it says
    that they are there. A curve that changes more than allowed when it is trained for longer did
    not converge either. Of repeated curves, ``mc`` is the mean, ``mc_repeat_std`` the deviation.
    """
    works: dict[tuple[int | float, int | float], list[Work]] = {}
    for work in plan.works:
        works.setdefault(work.subjects[0].cell, []).append(work)
    tables = Tables([], [], [])
    for cell, members in cells_of(plan.subjects).items():
        place = dict(zip(plan.study.grid.knobs, cell, strict=True))
        found = _results(works.get(cell, []), store)
        certified = plan.study.measure.protocol == "certified"
        curves = plan.study.measure.connectivity
        within = None if curves is None else curves.settled_within
        runs = [
            {**place, "seed": one.seed, **_run(found.get((one.key,), {}), certified)}
            for one in members
        ]
        pairs = [
            {
                **place,
                "seed_i": one.seed,
                "seed_j": other.seed,
                **_pair(found.get((one.key, other.key), {}), certified, within),
            }
            for one, other in combinations(members, 2)
        ]
        tables.runs.extend(runs)
        tables.pairs.extend(pairs)
        of_all = found.get(tuple(one.key for one in members), {})
        tables.cells.append({**place, **_cell(runs, pairs, of_all)})
    return tables


def _results(works: Iterable[Work], store: Store) -> dict[tuple[str, ...], dict[str, Any]]:
    """Results of one cell by model or pair; those of a whole study need not fit into memory."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for work in works:
        of = found.setdefault(tuple(subject.key for subject in work.subjects), {})
        of[work.metric] = store.load(work.key, work.name)
    return found


def _run(found: dict[str, Any], certified: bool) -> Row:
    train, test = found.get("quality_train"), found.get("quality_test")
    eigs, trace = found.get("top_eigs"), found.get("trace")
    return {
        "n_params": _NAN if eigs is None else eigs.vectors.shape[1],
        "train_loss": getattr(train, "loss", _NAN),
        "train_acc": getattr(train, "accuracy", _NAN),
        "test_loss": getattr(test, "loss", _NAN),
        "test_acc": getattr(test, "accuracy", _NAN),
        "hessian_top_eig": _NAN if eigs is None else float(eigs.values[0]),
        "hessian_trace": getattr(trace, "value", _NAN),
        "hessian_trace_stderr": getattr(trace, "stderr", _NAN),
        "converged": _sound(found, certified),
    }


def _pair(found: dict[str, Any], certified: bool, within: float | None) -> Row:
    curve = found.get("connectivity")
    longer = found.get("connectivity_longer")
    curves = [found[name] for name in found if name in _CURVES and found[name] is not None]
    line, same = found.get("barrier"), found.get("agreement")
    row = {
        "cka_logits": getattr(found.get("cka_logits"), "value", _NAN),
        "cka_softmax": getattr(found.get("cka_softmax"), "value", _NAN),
        "l2_distance": _NAN if found.get("l2_distance") is None else found["l2_distance"],
        "mc_train_err": _mean(each.value for each in curves),
        "mc_repeat_std": _std(each.value for each in curves),
        "mc_longer": getattr(longer, "value", _NAN),
        "mc_tstar": getattr(curve, "t_star", _NAN),
        "mc_train_nll": _mean(each.loss_value for each in curves),
        "curve_length": _NAN if curve is None else float(curve.lengths.sum()),
        "barrier_train_err": getattr(line, "value", _NAN),
        "barrier_train_nll": getattr(line, "loss_value", _NAN),
        "disagreement": getattr(same, "disagreement", _NAN),
        "js_divergence": getattr(same, "js_divergence", _NAN),
        "converged": _sound(found, certified) and _settled(curve, longer, within),
    }
    if curve is not None:
        for t, error, loss in zip(curve.t, curve.errors, curve.losses, strict=True):
            row[f"tr_err_t{round(100 * float(t)):03d}"] = float(error)
            row[f"tr_nll_t{round(100 * float(t)):03d}"] = float(loss)
    if line is not None:
        for t, error, loss in zip(line.t, line.errors, line.losses, strict=True):
            row[f"linear_err_t{round(100 * float(t)):03d}"] = float(error)
            row[f"linear_nll_t{round(100 * float(t)):03d}"] = float(loss)
    return row


def _cell(runs: list[Row], pairs: list[Row], of_all: dict[str, Any]) -> Row:
    mean = {name: _mean(row[name] for row in runs) for name in runs[0]}
    std = {name: _std(row[name] for row in runs) for name in runs[0]}
    pair_mean = {name: _mean(row[name] for row in pairs) for name in _pair({}, True, None)}
    pair_std = {name: _std(row[name] for row in pairs) for name in _pair({}, True, None)}
    ensemble = of_all.get("ensemble_test")
    of_repeats = _mean(row["mc_repeat_std"] ** 2 for row in pairs)
    return {
        "n_params": mean["n_params"],
        "n_seeds": len(runs),
        "train_loss_mean": mean["train_loss"],
        "train_loss_std": std["train_loss"],
        "train_acc_mean": mean["train_acc"],
        "train_acc_std": std["train_acc"],
        "test_loss_mean": mean["test_loss"],
        "test_acc_mean": mean["test_acc"],
        "test_acc_std": std["test_acc"],
        "hessian_top_eig_mean": mean["hessian_top_eig"],
        "hessian_top_eig_std": std["hessian_top_eig"],
        "log_hessian_top_eig": _log(mean["hessian_top_eig"]),
        "hessian_trace_mean": mean["hessian_trace"],
        "hessian_trace_std": std["hessian_trace"],
        "log_hessian_trace": _log(mean["hessian_trace"]),
        "cka_softmax_mean": pair_mean["cka_softmax"],
        "cka_softmax_std": pair_std["cka_softmax"],
        "cka_logits_mean": pair_mean["cka_logits"],
        "n_cka_pairs_valid": sum(math.isfinite(row["cka_softmax"]) for row in pairs),
        "l2_distance_mean": pair_mean["l2_distance"],
        "l2_distance_std": pair_std["l2_distance"],
        "mc_train_err": pair_mean["mc_train_err"],
        "mc_train_err_std": pair_std["mc_train_err"],
        "mc_repeat_std": math.sqrt(of_repeats),
        "mc_train_nll": pair_mean["mc_train_nll"],
        "curve_length": pair_mean["curve_length"],
        "barrier_train_err": pair_mean["barrier_train_err"],
        "barrier_train_nll": pair_mean["barrier_train_nll"],
        "disagreement_mean": pair_mean["disagreement"],
        "disagreement_std": pair_std["disagreement"],
        "js_divergence_mean": pair_mean["js_divergence"],
        "ensemble_test_loss": getattr(ensemble, "loss", _NAN),
        "ensemble_test_acc": getattr(ensemble, "accuracy", _NAN),
        "n_pairs": len(pairs),
        "converged": all(row["converged"] for row in [*runs, *pairs]) and _sound(of_all, True),
    }


def _sound(found: dict[str, Any], certified: bool) -> bool:
    """Whether all that was asked for is there and, if ``certified``, converged.

    A diverged model has no measurements.
    """
    return all(
        result is not None and (not certified or getattr(result, "converged", True))
        for result in found.values()
    )


def _settled(curve: Connectivity | None, longer: Connectivity | None, within: float | None) -> bool:
    """Whether training a curve for longer changed it by no more than was allowed."""
    if within is None or curve is None:
        return True
    return longer is not None and abs(longer.value - curve.value) <= within


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else _NAN


def _std(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else _NAN


def _log(value: float) -> float:
    return math.log(value) if value > 0 else _NAN
