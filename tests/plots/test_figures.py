"""The pictures show what the table says, are the same every time, and change nothing global."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
import pytest
from matplotlib import colormaps, pyplot
from matplotlib.colors import to_rgb

from landscape_fast.plots import (
    PANELS,
    curve_profiles,
    panels,
    phase_map,
    save_panels,
    single_figures,
)
from landscape_fast.plots.phases import COLOURS

WIDTHS, BATCHES = (2, 4, 8, 16), (8, 32, 128, 512)
# Rows from the hottest batch size; "" is a cell that the table does not have.
PHASES = [
    ["I", "II", "II", "II"],
    ["I", "I", "II", "IV-B"],
    ["I", "III", "undecided", "IV-B"],
    ["III", "III", "IV-A", ""],
]


def table(**more):
    rows = [
        (width, batch, PHASES[j][i])
        for j, batch in enumerate(BATCHES)
        for i, width in enumerate(WIDTHS)
        if PHASES[j][i]
    ]
    width, batch, phase = zip(*rows, strict=True)
    trace = np.linspace(3.2, 7.9, len(rows))
    trace[4] = math.nan
    return {
        "width": list(width),
        "batch_size": list(batch),
        "phase": list(phase),
        "log_hessian_trace": trace,
        "mc_train_err": np.linspace(-40.0, 10.0, len(rows)),
        "cka_softmax_mean": np.full(len(rows), np.nan),
    } | more


def drawn(figure):
    """The picture, and a function for the colour at a point given as shares of an axes."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255.0

    def colour_at(axes, point):
        column, row = axes.transAxes.transform(point)
        return picture[int(row), int(column)]

    return colour_at


def corner(row, column, rows=4, columns=4):
    """A point of a cell, counted from the top left, that its name in the middle does not cover."""
    return (column + 0.15) / columns, 1.0 - (row + 0.15) / rows


def by_title(figure):
    """Axes by the first line of their titles."""
    return {axes.get_title().partition("\n")[0]: axes for axes in figure.axes}


def test_each_cell_of_the_phase_map_has_its_phase_colour_hot_at_the_top():
    figure = phase_map(table())
    colour_at, axes = drawn(figure), figure.axes[0]
    for row, names in enumerate(PHASES):
        for column, name in enumerate(names):
            if name == "undecided":
                continue  # hatched
            expected = to_rgb(COLOURS[name]) if name else (1.0, 1.0, 1.0)
            seen = colour_at(axes, corner(row, column))
            assert seen == pytest.approx(expected, abs=0.01), (row, column, name)


def test_large_learning_rates_are_at_the_top():
    rates = [{8: 0.8, 32: 0.4, 128: 0.2, 512: 0.1}[batch] for batch in table()["batch_size"]]
    figure = phase_map(table(learning_rate=rates), temperature="learning_rate")
    seen = drawn(figure)(figure.axes[0], corner(3, 2))
    assert seen == pytest.approx(to_rgb(COLOURS["IV-A"]), abs=0.01)


def test_the_map_names_every_cell_and_marks_undecided_ones():
    texts = [text.get_text() for text in phase_map(table()).axes[0].texts]
    names = [name for row in PHASES for name in row if name]
    assert sorted(texts) == sorted("?" if name == "undecided" else name for name in names)


def test_doubt_is_written_and_striped_in_the_colour_of_the_phase():
    sure = [1.0] * 15
    sure[0], sure[1], sure[5] = 0.5, 0.998, 0.3
    axes = phase_map(table(phase_probability=sure)).axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert "I\n50%" in texts
    assert sum("%" in text for text in texts) == 2
    colours = {to_rgb(colour) for colour in COLOURS.values()}
    cells = [patch for patch in axes.patches if patch.get_facecolor()[:3] in colours]
    assert len(cells) == sum(name != "" for row in PHASES for name in row)
    stripes = [patch.get_hatch() for patch in cells if patch.get_hatch() not in (None, "xxx")]
    assert sorted(stripes) == ["///", "////"], "the more, the greater the doubt"


def test_the_legend_counts_phases_and_states_the_thresholds():
    used = {"sharpness_threshold": [5.9] * 15, "connectivity_threshold": [-2.0] * 15}
    legend = phase_map(table(**used)).axes[1].get_legend()
    said = "\n".join(text.get_text() for text in legend.get_texts())
    assert "I: sharp, poorly connected (4)" in said
    assert "IV-B: flat, connected, similar (2)" in said
    assert "undecided: not measured or not converged (1)" in said
    assert "log sharpness > 5.9" in said
    assert "mc < -2 points" in said


def test_all_panels_are_there_and_a_quantity_without_values_says_so():
    axes = by_title(panels(table()))
    assert {quantity.title for quantity in PANELS} | {"Phases"} <= set(axes)
    assert "no column l2_distance_mean" in axes["Weight distance"].texts[0].get_text()
    assert "holds no finite value" in axes["CKA similarity"].texts[0].get_text()
    assert not axes["Hessian trace"].texts


def test_each_cell_of_a_panel_has_the_colour_of_its_value_and_absent_ones_none():
    data = table()
    figure = panels(data)
    colour_at, axes = drawn(figure), by_title(figure)["Hessian trace"]
    cells = dict(
        zip(
            zip(data["width"], data["batch_size"], strict=True),
            data["log_hessian_trace"],
            strict=True,
        )
    )
    paper = colormaps["viridis_r"]
    for row, batch in enumerate(BATCHES):
        for column, width in enumerate(WIDTHS):
            value = cells.get((width, batch), math.nan)
            if math.isnan(value):
                assert colour_at(axes, corner(row, column)).min() > 0.75
                continue
            seen = colour_at(axes, ((column + 0.5) / 4, 1.0 - (row + 0.5) / 4))
            assert seen == pytest.approx(paper((value - 3.0) / 5.0)[:3], abs=0.01)


def test_titles_say_what_the_panel_shows():
    trace = np.log([2.0] * 14 + [60.0])
    data = table(test_acc_mean=np.arange(15.0), log_hessian_trace=trace)
    data["connectivity_threshold"] = [-2.0] * 15
    said = {
        name: axes.get_title().partition("\n")[2] for name, axes in by_title(panels(data)).items()
    }
    assert said["Test accuracy"] == "highest 14 at width 8, batch size 512"
    assert said["Hessian trace"] == "from 2 to 60, 30-fold"
    assert said["Mode connectivity"] == "barrier above 2 points in 11 of 15 cells, up to 40"
    assert said["Phases"] == "best test accuracy, 14.0 percent, in IV-A: width 8, batch size 512"


def test_only_a_temperature_is_hot():
    data = table(
        label_noise=[{8: 0, 32: 0.1, 128: 0.2, 512: 0.4}[b] for b in table()["batch_size"]]
    )
    noise = by_title(panels(data, temperature="label_noise"))["Hessian trace"]
    assert noise.get_ylabel() == "Label noise (share of labels redrawn)"
    assert by_title(panels(data))["Hessian trace"].get_ylabel().endswith("hot at the top")


def test_ticks_are_the_values_of_the_grid():
    axes = by_title(panels(table()))["Hessian trace"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4", "8", "16"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8", "32", "128", "512"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_labels_that_would_touch_are_left_out():
    widths = [round(100 * 1.02**i) for i in range(60)]
    figure = phase_map({"width": widths, "batch_size": [8] * 60, "phase": ["I"] * 60})
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert 5 < len(labels) < 30


def test_a_panel_whose_cells_mostly_lie_beyond_the_papers_limits_takes_those_of_the_data():
    (trace,) = (quantity for quantity in PANELS if quantity.key == "trace")
    assert trace.range(np.array([1.2, 3.5, 4.0, 9.0, np.nan]), "paper") == (3.0, 8.0)
    low, high = trace.range(np.array([1.2, 1.9, 2.4, 3.5]), "paper")
    assert 1.2 <= low < 1.5
    assert 3.0 < high <= 3.5


@pytest.mark.parametrize("scales", ["paper", "data"])
def test_limits_are_those_asked_for_and_values_beyond_them_are_marked(scales):
    data = table()
    figure = panels(data, scales=scales)
    mesh = by_title(figure)["Mode connectivity"].collections[0]
    bar = next(axes for axes in figure.axes if axes.get_ylabel().startswith("percentage points"))
    if scales == "paper":
        assert mesh.get_clim() == (-30.0, 30.0)
        assert bar._colorbar.extend == "min"
    else:
        low, high = mesh.get_clim()
        assert low == -high
        assert high == pytest.approx(-np.percentile(data["mc_train_err"], 2.0))


def test_a_table_without_phases_has_no_map():
    data = table()
    del data["phase"]
    assert "Phases" not in by_title(panels(data))
    with pytest.raises(ValueError, match="no column 'phase'"):
        phase_map(data)


@pytest.mark.parametrize(
    ("more", "options", "said"),
    [
        ({}, {"scales": "log"}, "scales must be 'paper' or 'data'"),
        ({"phase": ["V"] * 15}, {}, "which are no phases"),
        ({}, {"load": "depth"}, "load: the table has no column 'depth'"),
    ],
)
def test_a_wrong_question_is_refused_by_name(more, options, said):
    with pytest.raises(ValueError, match=said):
        panels(table(**more), **options)


def test_saving_writes_one_file_per_measured_panel_and_says_which(tmp_path):
    files = save_panels(table(), tmp_path / "new", dpi=30)
    assert [path.name for path in files] == [
        "panels.png",
        "phases.png",
        "trace.png",
        "connectivity.png",
        "similarity.png",
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in files
    )
    with pytest.raises(ValueError, match=r"formats: .*\['bmpx'\]"):
        save_panels(table(), tmp_path, formats=["bmpx"])


def test_pairs_with_profiles_are_drawn_too(tmp_path):
    only = {"width": [2], "batch_size": [8]}
    profile = only | {"tr_err_t000": [1.0], "tr_err_t050": [9.0], "tr_err_t100": [1.0]}
    for pairs, names in ((profile, ["panels.png", "curves.png"]), (only, ["panels.png"])):
        files = save_panels(only, tmp_path, quantities=(), pairs=pairs, dpi=20)
        assert [path.name for path in files] == names


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_the_same_table_gives_the_same_bytes_under_any_settings(tmp_path, ending):
    one = PANELS[3:4]
    first = save_panels(table(), tmp_path / "a", quantities=one, formats=[ending], dpi=30)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 7}):
        before = dict(matplotlib.rcParams)
        second = save_panels(table(), tmp_path / "b", quantities=one, formats=[ending], dpi=30)
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_no_figure_of_pyplot_is_made():
    before = pyplot.get_fignums()
    panels(table())
    assert pyplot.get_fignums() == before


def test_every_picture_says_what_the_width_of_its_model_counts():
    words = "Width (embedding dimension)"
    data = table(test_acc_mean=np.arange(15.0))
    pairs = {"width": [2], "batch_size": [8], "tr_err_t000": [0.0], "tr_err_t100": [1.0]}
    shown = {**single_figures(data, labels={"width": words}), "curves": None}
    shown["curves"] = curve_profiles(data, pairs, labels={"width": words})
    shown["panels"] = panels(data, labels={"width": words})
    for name, figure in shown.items():
        said = {axes.get_xlabel() for axes in figure.axes}
        assert words in said, name
        assert "Width" not in said, name
