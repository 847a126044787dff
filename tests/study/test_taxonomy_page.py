"""The numbers in docs/taxonomy.md are those that the code computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from landscape_fast.study.bootstrap import phase_probabilities
from landscape_fast.study.table import read_table
from landscape_fast.study.taxonomy import classify
from landscape_fast.study.thresholds import connectivity_split, sharpness_split, similarity_split

PAGE = Path(__file__).resolve().parents[2] / "docs" / "taxonomy.md"
BEGIN, END = "<!-- computed: begin -->\n", "<!-- computed: end -->"
NAMES = ("sharpness", "connectivity", "similarity")


def agreement(first, second):
    same = int((first["phase"] == second["phase"]).sum())
    return f"{same} of {len(first['phase'])}"


def computed(folder):
    """The lines between the marks of the page."""
    table, runs, pairs = (
        read_table(folder / f"yang2021_cifar10_resnet18{part}.csv")
        for part in ("", "_runs", "_pairs")
    )
    inside = table["in_notebook_grid"] == 1
    table = {name: values[inside] for name, values in table.items()}
    by_eye = classify(table)
    fourth = np.isin(by_eye["phase"], ("IV-A", "IV-B"))
    splits = {
        "sharpness": sharpness_split(
            table["log_hessian_trace"], table["width"], table["batch_size"]
        ),
        "connectivity": connectivity_split(table["mc_train_err"]),
        "similarity": similarity_split(table["cka_softmax_mean"][fourth]),
    }
    lines = [
        "| threshold | by eye | from the data | same phase as by eye | p of a single group |",
        "|---|---|---|---|---|",
    ]
    for name, split in splits.items():
        alone = classify(table, **{f"{name}_threshold": "data"})
        assert alone[f"{name}_threshold"][0] == split.threshold
        chance = "not asked" if np.isnan(split.p_value) else f"{split.p_value:.3f}"
        lines.append(
            f"| {name} | {by_eye[f'{name}_threshold'][0]:g} | {split.threshold:.3f} | "
            f"{agreement(alone, by_eye)} | {chance} |"
        )
    together = classify(table, **{f"{name}_threshold": "data" for name in NAMES})
    lines.append(f"| all three | | | {agreement(together, by_eye)} | |")

    favoured = "are" if splits["similarity"].gain > 0 else "are not"
    result = phase_probabilities(runs, pairs)
    sure = result.added_to(by_eye)["phase_probability"]
    inside = np.isin(runs["width"], table["width"])
    inside &= np.isin(runs["batch_size"], table["batch_size"])
    again = phase_probabilities(
        {name: values[inside] for name, values in runs.items()},
        pairs,
        **{f"{name}_threshold": "data" for name in NAMES},
        replicates=100,
    )
    lines += [
        "",
        f"Two groups of similarity inside phase IV {favoured} favoured over one: BIC "
        f"{splits['similarity'].gain:+.1f}.",
        "",
        f"Bootstrap over the five runs, thresholds by eye: {(sure > 0.95).sum()} of {len(sure)}",
        f"cells keep their phase in more than 95 % of {result.replicates} replicates; the least",
        f"sure one in {100 * sure.min():.0f} % of them.",
        "",
        f"With thresholds found again in each of {again.replicates} replicates, 95 % of these lie",
        "between the following.",
        "",
        "| threshold | from | to |",
        "|---|---|---|",
    ]
    for name, found in zip(NAMES, again.thresholds, strict=True):
        low, high = np.nanquantile(found, [0.025, 0.975])
        lines.append(f"| {name} | {low:.3f} | {high:.3f} |")
    return "\n".join(lines) + "\n"


@pytest.mark.data
def test_the_page_says_what_the_code_computes(shared_data):
    expected = computed(shared_data / "yang2021")
    found = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert found == expected, f"put this between the marks of {PAGE}:\n\n{expected}"
