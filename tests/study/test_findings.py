"""Findings: planted effects come out with their size and verdict, and missing cells are said."""

from __future__ import annotations

import grids
import numpy as np
import pytest
from scipy.stats import spearmanr

from landscape_fast.study.evidence import Evidence
from landscape_fast.study.findings import QUESTIONS, findings
from landscape_fast.study.table import read_table
from landscape_fast.study.taxonomy import classify

NOISY = {"label_noise": 0.1}
NUMBERS = ["1", "2a", "2b", "3", "4a", "4b", "4c", "4d", "5", "6", "7"]


def of(number, table, load="width", settings=None, replicates=300, **options):
    """One finding, without the work of the others."""
    columns = {name: np.asarray(values) for name, values in table.items()}
    given = {"label_noise": 0.0, **(settings or {})}
    grid = Evidence(columns, load, "batch_size", given, replicates=replicates, **options)
    found = QUESTIONS[NUMBERS.index(number)](grid)
    assert found.number == number
    return found


def levels(**by_phase):
    """Accuracy by phase: IVB=89.0 for IV-B; 80 elsewhere."""
    by_phase = {name.replace("IV", "IV-"): value for name, value in by_phase.items()}
    return lambda table: np.array([by_phase.get(name, 80.0) for name in table["phase"]])


@pytest.mark.parametrize(("planted", "verdict"), [(2.0, "supported"), (-2.0, "contradicted")])
def test_the_best_phase_is_found_with_its_lead(planted, verdict):
    found = of("1", grids.grid(levels(IVB=86.0 + planted, IVA=86.0)))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(planted, abs=0.6)
    assert found.interval[0] < planted < found.interval[1]
    assert found.interval[1] - found.interval[0] < 2.5
    assert found.basis == "bootstrap over seeds"


def test_a_lead_within_the_noise_is_not_told():
    table = grids.grid(levels(IVB=86.1, IVA=86.0), spread=2.0)
    assert of("1", table).verdict == "cannot tell"


def test_accuracies_without_errors_give_no_interval():
    table = grids.grid(levels(IVB=89.0))
    del table["test_acc_std"]
    found = of("1", table)
    assert found.verdict == "cannot tell"
    assert found.effect > 7.0
    assert "Errors of these values are not known" in found.sentence


def test_few_runs_share_their_variance():
    table = grids.grid(levels(IVB=89.0))
    table["n_seeds"] = np.full(64, 2)
    calm = table["phase"] == "IV-B"
    table["test_acc_std"] = np.where(calm, 0.1, np.where(np.arange(64) % 2, 0.0, 0.6))
    noise, freedom = Evidence(table, "width", "batch_size").noise()
    assert noise[calm] == pytest.approx(0.1 / np.sqrt(2))  # wild cells elsewhere do not count
    assert freedom[calm] == pytest.approx(calm.sum())
    cells = table["phase"] == "IV-A"  # two widths, one of them with no spread
    assert noise[cells] == pytest.approx(0.6 / np.sqrt(2) / np.sqrt(2))
    table["n_seeds"] = np.full(64, 4)
    noise, freedom = Evidence(table, "width", "batch_size").noise()
    assert noise == pytest.approx(table["test_acc_std"] / 2.0)
    assert (freedom == 3).all()


def test_equal_sharpness_with_other_accuracy_supports_that_sharpness_does_not_order():
    found = of("2a", grids.grid(levels(III=80.0, IVA=84.0), spread=0.1))
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(4.0, abs=0.1)
    assert "median width of the former is 4, of the latter 24" in found.sentence
    assert of("2a", grids.grid(levels(III=84.0, IVA=80.0))).verdict == "contradicted"


def test_without_matches_in_sharpness_it_cannot_tell():
    table = grids.grid(levels())
    table["log_hessian_trace"] += np.where(table["phase"] == "IV-A", 3.0, 0.0)
    found = of("2a", table)
    assert found.verdict == "cannot tell"
    assert "0 cells of phase III and 0 of IV-A" in found.sentence


@pytest.mark.parametrize(("planted", "verdict"), [(3.0, "supported"), (-3.0, "contradicted")])
def test_training_to_zero_loss_costs_what_was_planted(planted, verdict):
    table = grids.grid(levels(I=82.0 + planted, III=82.0), spread=0.3)
    found = of("3", table, settings=NOISY)
    assert found.verdict == verdict
    assert found.effect == pytest.approx(planted, abs=0.3)
    assert of("3", table).verdict == "cannot tell"  # clean labels
    assert "none of its cells has noisy labels" in of("3", table).sentence
    table["train_loss_mean"] = np.full(64, 0.5)
    assert "0 loads have cells of phase III" in of("3", table, settings=NOISY).sentence


def test_cells_with_other_data_are_not_compared_as_if_they_were_other_training():
    table = grids.grid(dipping(4.0), spread=0.1)
    table["label_noise"] = 0.1 * np.log2(table.pop("batch_size"))
    columns = {name: np.asarray(values) for name, values in table.items()}
    grid = Evidence(columns, "width", "label_noise", replicates=10)
    before, dip = QUESTIONS[NUMBERS.index("3")](grid), QUESTIONS[NUMBERS.index("5")](grid)
    assert "differ in label_noise, which changes the data" in before.sentence
    assert "0 of its rows and columns cross" in dip.sentence


def dipping(depth):
    """Accuracy grows along both knobs, and falls by ``depth`` at the last sharp batch."""

    def accuracy(table):
        rising = 70.0 + np.log2(table["width"]) + np.log2(table["batch_size"])
        return rising - (depth + 1.0) * (table["batch_size"] == 32)

    return accuracy


def test_a_dip_at_the_transition_is_found_with_its_depth():
    found = of("5", grids.grid(dipping(4.0), spread=0.1), settings=NOISY)
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(4.0, abs=0.15)
    assert "8 of 8 rows and columns" in found.sentence
    flat = of("5", grids.grid(dipping(-1.0), spread=0.1), settings=NOISY)
    assert flat.verdict == "contradicted"
    assert flat.effect < 0.1
    assert of("5", grids.grid(dipping(4.0))).verdict == "cannot tell"


def along(name, values, **columns):
    """A grid with the knob ``name`` as load; columns are functions of it and the temperature."""
    table = grids.knobs(np.asarray(values), name=name)
    random = np.random.default_rng(0)
    for column, law in columns.items():
        table[column] = law(table[name]) + 0.05 * random.standard_normal(len(table[name]))
    return {**table, "phase": np.full(len(table[name]), "IV-A")}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("number", "knob", "values", "column", "slope"),
    [
        ("4a", "width", [2, 4, 32, 64], "mc_train_err", 0.1),
        ("4b", "fraction", [0.1, 0.2, 0.5, 0.6], "cka_softmax_mean", 1.0),
        ("4c", "fraction", [0.1, 0.2, 0.5, 0.6], "mc_train_err", -10.0),
        ("4d", "label_noise", [0.0, 0.1, 0.4, 0.5], "mc_train_err", -10.0),
    ],
)
def test_a_knob_has_the_effect_that_was_planted(number, knob, values, column, slope, sign):
    def law(x):
        middle = np.mean(values)
        low = -20.0 if column == "mc_train_err" else 0.5  # all of them barriers
        return low + sign * slope * (x - middle)

    found = of(number, along(knob, values, **{column: law}), load=knob)
    assert found.verdict == ("supported" if sign > 0 else "contradicted")
    step = np.mean(values[2:]) - np.mean(values[:2])
    assert found.effect == pytest.approx(sign * abs(slope) * step, rel=0.1)
    assert found.cells == 32


def test_a_knob_that_the_grid_does_not_vary_is_named():
    table = grids.grid(levels())
    assert "fraction is not one of its knobs" in of("4b", table).sentence
    few = along("width", [2, 4, 8], mc_train_err=lambda x: -x)
    del few["mc_train_err"]
    assert "known at 0 values of width, 2 needed" in of("4a", few).sentence
    few["mc_train_err"] = np.where(few["batch_size"] > 1000, -few["width"], np.nan)
    assert "meet at 2 values of batch_size, 3 needed" in of("4a", few).sentence
    one = along("width", [2], mc_train_err=lambda x: -x)
    assert "known at 1 values of width" in of("4a", one).sentence


def test_values_of_the_other_knob_count_alike_however_many_cells_they_have():
    table = along("width", [2, 4, 8, 32, 64, 128], mc_train_err=lambda x: -50.0 + 0.1 * x)
    cold = table["batch_size"] >= 256
    table["mc_train_err"] = table["mc_train_err"] - 30.0 * cold * (table["width"] < 16)
    kept = ~(cold & np.isin(table["width"], (8, 128)))
    found = of("4a", {name: np.asarray(values)[kept] for name, values in table.items()})
    by_row = np.where(np.unique(table["batch_size"]) >= 256, 30.0 + 4.5, 0.1 * (74.67 - 4.67))
    assert found.effect == pytest.approx(by_row.mean(), abs=0.1)


def test_a_value_in_the_middle_counts_on_neither_side():
    table = along("label_noise", [0.0, 0.1, 0.4], mc_train_err=lambda x: -5.0 - 20.0 * x)
    found = of("4d", table, load="label_noise")
    assert found.effect == pytest.approx(8.0, abs=0.1)
    assert (found.cells, found.verdict) == (16, "supported")
    assert found.basis == "bootstrap over values of batch_size"


def test_rows_without_cells_on_both_sides_do_not_bend_the_effect():
    table = along("width", [2, 4, 32, 64], mc_train_err=lambda x: -50.0 + 0.1 * x)
    cold = table["batch_size"] >= 512
    table["mc_train_err"] = table["mc_train_err"] - 30.0 * cold
    gone = cold & (table["width"] > 4)
    table["mc_train_err"][gone] = np.nan
    found = of("4a", table)
    assert found.effect == pytest.approx(4.5, abs=0.1)
    assert found.cells == 20


@pytest.mark.parametrize(("trace_slope", "verdict"), [(0.0, "supported"), (9.0, "contradicted")])
def test_label_noise_shows_in_similarity_before_it_shows_in_sharpness(trace_slope, verdict):
    table = along(
        "label_noise",
        [0.0, 0.1, 0.4, 0.5],
        cka_softmax_mean=lambda x: 0.8 - 0.5 * x,
        log_hessian_trace=lambda x: 4.0 + trace_slope * x,
        train_loss_mean=lambda x: 0 * x - 1.0,  # noise cannot lift it over the bound
    )
    found = of("2b", table, load="label_noise")
    assert found.verdict == verdict
    assert found.effect == pytest.approx(0.5 * 0.4 / 0.035 - trace_slope * 0.4 / 0.15, abs=1.0)
    table["train_loss_mean"] = table["train_loss_mean"] + 5.0
    assert "known at 0 values" in of("2b", table, load="label_noise").sentence


def ranked(l2_follows):
    table = grids.grid(lambda t: 60.0 + 3 * np.log2(t["width"]) + 0.3 * np.log2(t["batch_size"]))
    random = np.random.default_rng(1)
    blur = 0.1 if l2_follows else 0.001
    table["cka_softmax_mean"] = 0.01 * table["test_acc_mean"] + blur * random.normal(size=64)
    noise = random.normal(size=64)
    table["l2_distance_mean"] = table["test_acc_mean"] if l2_follows else noise
    table["mc_train_err"] = 0.1 * (table["test_acc_mean"] - 90.0)
    return table


def test_rank_correlations_are_those_of_scipy():
    table = ranked(l2_follows=False)
    found = of("6", table)
    rho = [
        abs(spearmanr(table[name], table["test_acc_mean"]).statistic)
        for name in ("cka_softmax_mean", "l2_distance_mean")
    ]
    assert found.effect == pytest.approx(rho[0] - rho[1])
    assert found.verdict == "supported"
    assert of("6", ranked(l2_follows=True)).verdict == "contradicted"


def test_metrics_of_the_training_data_order_accuracy_or_not():
    assert of("7", ranked(l2_follows=False)).verdict == "supported"
    table = ranked(l2_follows=False)
    table["mc_train_err"] = np.random.default_rng(0).normal(size=64)
    assert of("7", table).verdict == "contradicted"


def test_cells_that_did_not_converge_do_not_count():
    table = ranked(l2_follows=False)
    table["converged"] = table["width"] < 4
    found = of("6", table)
    assert found.verdict == "cannot tell"
    assert "8 of its cells have all it takes, 12 needed" in found.sentence


def test_an_empty_grid_answers_every_question_with_cannot_tell():
    table = {"width": [2, 4], "batch_size": [8, 8], "phase": ["undecided"] * 2}
    found = findings(table)
    assert [finding.number for finding in found] == NUMBERS
    for finding in found:
        assert finding.verdict == "cannot tell"
        assert finding.sentence.startswith("This grid cannot tell: ")
        assert np.isnan([finding.effect, *finding.interval]).all()


def test_answers_depend_on_the_seed_alone():
    table = ranked(l2_follows=False)
    first, again = of("6", table, replicates=50), of("6", table, replicates=50)
    assert first == again
    assert of("6", table, replicates=50, seed=1).interval != first.interval


def test_a_wider_level_gives_a_wider_interval():
    table = ranked(l2_follows=False)
    narrow, wide = (of("6", table, level=level).interval for level in (0.5, 0.95))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"level": 1.0}, "level must be positive and below 1, got 1.0"),
        ({"replicates": 0}, "replicates must be a whole number of at least 1, got 0"),
        ({"load": "wdth"}, "load: .*'wdth'.*'width'"),
    ],
)
def test_wrong_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        findings(grids.grid(levels()), **options)


def test_a_table_without_phases_is_refused():
    table = grids.grid(levels())
    del table["phase"]
    with pytest.raises(ValueError, match="no column 'phase'"):
        findings(table)


@pytest.fixture(scope="module")
def archive(shared_data):
    table = read_table(shared_data / "yang2021" / "yang2021_cifar10_resnet18.csv")
    inside = table["in_notebook_grid"] == 1
    return {
        finding.number: finding
        for finding in findings(
            classify({name: values[inside] for name, values in table.items()}), replicates=300
        )
    }


@pytest.mark.data
def test_the_published_grid_says_what_one_grid_of_clean_labels_can(archive):
    assert archive["1"].effect == pytest.approx(89.914 - 88.518, abs=1e-3)
    assert [archive[number].verdict for number in ("1", "2a", "4a", "7")] == ["supported"] * 4
    cannot = [number for number, found in archive.items() if np.isnan(found.effect)]
    assert cannot == ["2b", "3", "4b", "4c", "4d", "5"]


@pytest.mark.data
def test_the_published_rank_correlations_come_out(archive):
    assert archive["6"].effect == pytest.approx(0.886 - 0.418, abs=2e-3)
    assert archive["7"].effect == pytest.approx(0.886, abs=1e-3)
