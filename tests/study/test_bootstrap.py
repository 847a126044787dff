"""Phase probabilities against cases that can be counted by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from landscape_fast.study.bootstrap import phase_probabilities
from landscape_fast.study.table import read_table
from landscape_fast.study.taxonomy import PHASES, classify


def tables(traces, mc, cka, width=2):
    """Runs and pairs of one cell; mc and cka map pairs to values."""
    count = len(traces)
    runs = {
        "width": [width] * count,
        "batch_size": [16] * count,
        "seed": list(range(count)),
        "hessian_trace": traces,
    }
    pairs = {
        "width": [width] * len(mc),
        "batch_size": [16] * len(mc),
        "seed_i": [i for i, _ in mc],
        "seed_j": [j for _, j in mc],
        "mc_train_err": list(mc.values()),
        "cka_softmax": list(cka.values()),
    }
    return runs, pairs


def joined(*parts):
    """Several (runs, pairs) as one."""
    return tuple(
        {name: [value for table in kind for value in table[name]] for name in kind[0]}
        for kind in zip(*parts, strict=True)
    )


def pairs_of(count):
    return list(itertools.combinations(range(count), 2))


def counted(traces, mc, cka, thresholds):
    """Exact probabilities: every way to draw the runs, weighed alike."""
    probabilities = dict.fromkeys(PHASES, 0.0)
    count = len(traces)
    for drawn in itertools.product(range(count), repeat=count):
        log_trace = np.log(np.mean([traces[i] for i in drawn]))
        pairs = [
            tuple(sorted(pair)) for pair in itertools.combinations(drawn, 2) if pair[0] != pair[1]
        ] or pairs_of(count)
        barrier = np.mean([mc[pair] for pair in pairs])
        alike = np.mean([cka[pair] for pair in pairs])
        if log_trace > thresholds[0]:
            name = "I" if barrier < thresholds[1] else "II"
        elif barrier < thresholds[1]:
            name = "III"
        else:
            name = "IV-B" if alike >= thresholds[2] else "IV-A"
        probabilities[name] += 1 / count**count
    return list(probabilities.values())


@pytest.mark.parametrize("both_orders", [False, True])
@pytest.mark.parametrize(
    ("traces", "barriers", "likeness"),
    [
        ([150.0, 380.0, 700.0], [-1.5, -6.0, 1.5], [0.9, 0.5, 0.65]),
        ([150.0, 250.0, 300.0, 700.0], [-1.5, -5.0, 1.5, 0.0, -9.0, 1.0], [0.9, 0.5, 0.6] * 2),
    ],
    ids=["three runs", "four runs"],
)
def test_probabilities_are_those_of_all_equally_likely_draws(
    traces, barriers, likeness, both_orders
):
    mc = dict(zip(pairs_of(len(traces)), barriers, strict=True))
    cka = dict(zip(pairs_of(len(traces)), likeness, strict=True))
    exact = counted(traces, mc, cka, (5.9, -2.0, 0.7))
    assert min(exact[:5]) > 0.03  # a case that spans the phases
    if both_orders:
        mc |= {(j, i): value for (i, j), value in mc.items()}
        cka |= {(j, i): value for (i, j), value in cka.items()}
    found = phase_probabilities(*tables(traces, mc, cka), replicates=40_000)
    assert found.probabilities[0] == pytest.approx(exact, abs=0.012)
    assert found.probabilities.sum(axis=1) == pytest.approx(1.0)


def test_a_run_drawn_twice_makes_no_pair_with_itself():
    mc = dict.fromkeys([(0, 1), (0, 0), (1, 1)], 0.0)
    cka = {(0, 1): 0.6, (0, 0): 1.0, (1, 1): 1.0}
    found = phase_probabilities(*tables([20.0, 30.0], mc, cka))
    assert found.probabilities[0, PHASES.index("IV-A")] == 1.0


def test_sharpness_is_the_logarithm_of_the_mean_not_the_mean_of_logarithms():
    # Geometric mean 100, arithmetic mean 500: log 4.6 and 6.2, either side of 5.9.
    runs, pairs = tables([10.0, 990.0], {(0, 1): 0.0}, {(0, 1): 0.6})
    found = phase_probabilities(runs, pairs, replicates=20_000)
    assert found.probabilities[0, PHASES.index("II")] == pytest.approx(0.75, abs=0.02)


def test_missing_runs_and_pairs_are_left_out_of_the_means():
    mc = dict(zip(pairs_of(3), [-9.0, np.nan, np.nan], strict=True))
    cka = dict(zip(pairs_of(3), [0.5, np.nan, 0.5], strict=True))
    found = phase_probabilities(*tables([700.0, np.nan, 700.0], mc, cka))
    assert found.probabilities[0, PHASES.index("I")] == 1.0


def test_a_cell_without_pairs_or_with_a_negative_trace_is_undecided():
    runs, pairs = joined(
        tables([700.0, 700.0], {}, {}, width=2),
        tables([-5.0, 1.0], {(0, 1): 0.0}, {(0, 1): 0.5}, width=4),
    )
    found = phase_probabilities(runs, pairs, replicates=20_000)
    undecided = found.probabilities[:, PHASES.index("undecided")]
    assert undecided[0] == 1.0
    assert undecided[1] == pytest.approx(0.75, abs=0.02)


def test_the_share_of_maps_with_several_phases_is_counted_over_the_map():
    # The first cell is always in phase I; the second in I with probability 3/4, else in III.
    runs, pairs = joined(
        tables([900.0, 900.0], {(0, 1): -9.0}, {(0, 1): 0.5}, width=2),
        tables([10.0, 990.0], {(0, 1): -9.0}, {(0, 1): 0.5}, width=4),
    )
    found = phase_probabilities(runs, pairs, replicates=20_000)
    assert found.several_phases == pytest.approx(0.25, abs=0.02)


def test_an_undecided_cell_is_no_phase_of_the_map():
    runs, pairs = joined(
        tables([900.0, 900.0], {(0, 1): -9.0}, {(0, 1): 0.5}, width=2),
        tables([900.0, 900.0], {}, {}, width=4),
    )
    assert phase_probabilities(runs, pairs).several_phases == 0.0


def test_cells_are_drawn_independently():
    # Two cells, each in phase I with probability 3/4, else in III: they differ in 2 * 3/4 * 1/4.
    mc, cka = {(0, 1): -9.0}, {(0, 1): 0.5}
    runs, pairs = joined(*(tables([10.0, 990.0], mc, cka, width=width) for width in (2, 4)))
    found = phase_probabilities(runs, pairs, replicates=20_000)
    assert found.several_phases == pytest.approx(0.375, abs=0.02)


def test_a_cell_is_drawn_alike_in_any_company_and_differently_with_another_seed():
    mc, cka = {(0, 1): -9.0}, {(0, 1): 0.5}
    alone = tables([10.0, 990.0], mc, cka, width=4)
    together = joined(tables([1.0, 2.0, 3.0], mc, cka, width=2), alone)
    first = phase_probabilities(*alone).probabilities[0]
    assert (phase_probabilities(*together).probabilities[1] == first).all()
    assert (phase_probabilities(*alone, seed=1).probabilities[0] != first).any()


def test_probabilities_join_the_table_by_cell():
    runs, pairs = joined(
        tables([900.0, 900.0], {(0, 1): -9.0}, {(0, 1): 0.5}, width=2),
        tables([10.0, 990.0], {(0, 1): -9.0}, {(0, 1): 0.5}, width=4),
    )
    found = phase_probabilities(runs, pairs)
    table = {"width": [4, 8, 2], "batch_size": [16, 16, 16], "phase": ["III", "I", "I"]}
    joint = found.added_to(table)["phase_probability"]
    assert joint[0] == pytest.approx(0.25, abs=0.05)
    assert np.isnan(joint[1])
    assert joint[2] == 1.0


@pytest.mark.parametrize("where", ["runs", "pairs"])
def test_a_cell_that_did_not_converge_stays_undecided(where):
    mc, cka = {(0, 1): -9.0}, {(0, 1): 0.5}
    runs, pairs = joined(*(tables([900.0, 900.0], mc, cka, width=width) for width in (2, 4)))
    if where == "runs":
        runs["converged"] = [True, False, True, True]
    else:
        pairs["converged"] = [False, True]
    found = phase_probabilities(runs, pairs).probabilities
    assert found[0, PHASES.index("undecided")] == 1.0
    assert found[1, PHASES.index("I")] == 1.0


def grid_of_runs(random, level):
    """Four loads x six temperatures; sharp before the third temperature; five runs each."""
    parts = []
    for width in range(4):
        for batch in range(6):
            log_trace = (7.0 if batch < 3 else level) + random.normal(0, 0.3, 5)
            pairs = pairs_of(5)
            runs, of_pairs = tables(
                list(np.exp(log_trace)), dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.5), width
            )
            runs["batch_size"] = [batch] * 5
            of_pairs["batch_size"] = [batch] * len(pairs)
            parts.append((runs, of_pairs))
    return joined(*parts)


def test_thresholds_from_the_data_are_found_again_in_every_replicate():
    runs, pairs = grid_of_runs(np.random.default_rng(0), level=4.0)
    found = phase_probabilities(runs, pairs, sharpness_threshold="data", replicates=50)
    assert found.thresholds.shape == (3, 50)
    assert found.thresholds[0].std() > 0.0
    assert found.thresholds[0].mean() == pytest.approx(5.5, abs=0.15)
    assert (found.thresholds[1] == -2.0).all()
    sharp = np.array(found.cells["batch_size"]) < 3
    assert (found.probabilities[sharp, PHASES.index("II")] == 1.0).all()
    assert (found.probabilities[~sharp, PHASES.index("IV-A")] == 1.0).all()
    fixed = phase_probabilities(runs, pairs, replicates=50)
    assert (fixed.thresholds[0] == 5.9).all()


@pytest.mark.slow
def test_thresholds_of_replicates_cover_the_planted_one():
    # Halfway between levels 7 and 4, and what the log of a mean of five adds to both.
    random = np.random.default_rng(7)
    shift = np.log(np.exp(0.3 * random.normal(size=(100_000, 5))).mean(1)).mean()
    held = []
    for seed in range(80):
        runs, pairs = grid_of_runs(np.random.default_rng(seed), level=4.0)
        found = phase_probabilities(runs, pairs, sharpness_threshold="data", replicates=80)
        low, high = np.quantile(found.thresholds[0], [0.025, 0.975])
        held.append(low <= 5.5 + shift <= high)
    assert 0.85 <= np.mean(held) <= 1.0  # five runs make it somewhat too narrow


def test_too_few_cells_for_a_threshold_are_undecided():
    runs, pairs = tables([900.0, 900.0], {(0, 1): -9.0}, {(0, 1): 0.5})
    found = phase_probabilities(runs, pairs, sharpness_threshold="data", replicates=5)
    assert np.isnan(found.thresholds[0]).all()
    assert found.probabilities[0, PHASES.index("undecided")] == 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda runs, pairs: runs.update(seed=[0, 0]), "has a run twice"),
        (lambda runs, pairs: pairs.update(seed_j=[7]), r"pairs runs \{7\}"),
        (lambda runs, pairs: runs.pop("hessian_trace"), "sharpness: .*'hessian_trace'"),
        (lambda runs, pairs: pairs.pop("cka_softmax"), "similarity: .*'cka_softmax'"),
        (lambda runs, pairs: pairs.pop("width"), "'width'"),
    ],
)
def test_tables_that_do_not_fit_are_refused(spoil, said):
    runs, pairs = tables([1.0, 2.0], {(0, 1): 0.0}, {(0, 1): 0.5})
    spoil(runs, pairs)
    with pytest.raises(ValueError, match=said):
        phase_probabilities(runs, pairs)


def test_no_replicates_is_refused():
    with pytest.raises(ValueError, match="replicates"):
        phase_probabilities(*tables([1.0], {}, {}), replicates=0)


@pytest.mark.data
def test_published_cells_far_from_every_threshold_are_sure_of_their_phase(shared_data):
    folder = shared_data / "yang2021"
    table, runs, pairs = (
        read_table(folder / f"yang2021_cifar10_resnet18{part}.csv")
        for part in ("", "_runs", "_pairs")
    )
    found = phase_probabilities(runs, pairs).added_to(classify(table))
    inside = found["in_notebook_grid"] == 1
    sure, far = found["phase_probability"], found["margin"] > 2.0
    assert (inside & far).sum() > 70
    assert sure[inside & far].min() > 0.95
    assert sure[inside & ~far].min() < 0.7
