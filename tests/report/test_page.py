"""The report is one well-formed file that refers to nothing else and holds every number."""

from __future__ import annotations

import csv
import json
import re
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

from landscape_fast.cli.app import app
from landscape_fast.krylov.density import lanczos_quadrature
from landscape_fast.krylov.operator import DenseOperator
from landscape_fast.report import write_report
from landscape_fast.results import Quality
from landscape_fast.store import Store
from landscape_fast.study.findings import findings
from landscape_fast.study.table import read_table, write_table

HOSTILE = 'a < b & "c" </pre><script>alert(1)</script><img src="https://example.org/x.png">'
STUDY = {
    "name": "two-cells",
    "paper": {"figure": "Fig. 9", "finding": HOSTILE},
    "model": "small_cnn",
    "data": "digits",
    "grid": {
        "load": {"knob": "width", "values": [2, 4]},
        "temperature": {"knob": "batch_size", "values": [8]},
        "seeds": [0, 1],
    },
    "training": {"epochs": 7},
}
CELLS = [
    {
        "width": width,
        "batch_size": 8,
        "test_acc_mean": 61.23456 + width,
        "train_loss_mean": 0.0123456789,
        "log_hessian_trace": 7.7712345 - width,
        "mc_train_err": -3.0 + width,
        "cka_softmax_mean": 0.712345,
        "converged": width == 2,
        "phase": phase,
        "phase_probability": 0.987,
    }
    for width, phase in ((2, "I"), (4, "undecided"))
]
RUNS = [
    {"width": width, "batch_size": 8, "seed": seed, "test_acc": 60.0 + width + seed / 7}
    for width in (2, 4)
    for seed in (0, 1)
]
PAIRS = [
    {"width": 2, "batch_size": 8, "seed_i": 0, "seed_j": 1, "mc_train_err": -1.0}
    | {f"tr_err_t{t:03d}": 3.1234567 + t for t in (0, 50, 100)}
]
SUMMARY = {
    "thresholds": {"sharpness": 5.9, "connectivity": -2.0, "similarity": 0.7},
    "counts": {"I": 1, "II": 0, "III": 0, "IV-A": 0, "IV-B": 0, "undecided": 1},
    "bootstrap": {
        "replicates": 1000,
        "maps_with_several_phases": 0.25,
        "cells": {"width": [2, 4], "batch_size": [8, 8]},
        "probabilities": {"I": [0.987, 0.0], "undecided": [0.013, 1.0]},
    },
    "failed": [{"task": "small_cnn-w4/trace", "message": HOSTILE, "detail": ""}],
    "skipped": {},
    "diverged": {"small_cnn-w4/train": "training diverged in epoch 3"},
    "computed_again": [],
    "runs": [{"ended": "2026-01-02T03:04:05+00:00", "wall_seconds": 7200.0, "tasks": 12}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    (path / "study.yaml").write_text(f"# {HOSTILE}\n{json.dumps(STUDY)}\n")
    (path / "summary.json").write_text(json.dumps(SUMMARY))
    for name, rows in (("phases", CELLS), ("runs", RUNS), ("pairs", PAIRS)):
        write_table(path / f"{name}.csv", rows)
    store = Store(path / "results")
    for seed, seconds in ((0, 1800.0), (1, 5400.0)):
        model = {"width": 2, "batch_size": 8, "seed": seed}
        store.save(
            f"w2-s{seed}",
            "quality_test-1",
            Quality(loss=0.5, accuracy=60.0, samples=9),
            seconds=seconds,
            recipe={"metric": "quality_test", "models": [model]},
        )
    density = lanczos_quadrature(DenseOperator(torch.diag(torch.arange(5.0))), starts=1, steps=4)
    store.save(
        "w2-s0", "density-1", density, seconds=1.0, recipe={"metric": "density", "models": [model]}
    )
    return path


@pytest.fixture(scope="module")
def page(folder):
    done = CliRunner().invoke(app, ["report", str(folder), "-o", str(folder / "page.html")])
    assert done.exit_code == 0, done.output
    assert done.output == f"report: {folder}/page.html\n"
    return (folder / "page.html").read_text()


@pytest.fixture(scope="module")
def tree(page):
    assert page.lstrip().startswith("<!DOCTYPE html>")
    return ElementTree.fromstring(page[page.index("<html") :])


def rows_under(tree, label):
    """Text of a table's cells, by its caption."""
    (table,) = (t for t in tree.iter("table") if t.findtext("caption") == label)
    heads = [head.text for head in table.iter("th")]
    return heads, [["".join(cell.itertext()) for cell in row] for row in table.find("tbody")]


def test_the_page_is_well_formed_and_refers_to_nothing_outside(page, tree):
    for element in tree.iter():
        for name, value in element.attrib.items():
            if name in ("src", "href", "data", "action", "poster", "srcset"):
                assert value.startswith(("#", "data:image/")), (element.tag, name, value[:60])
    assert not list(tree.iter("link")) + list(tree.iter("iframe"))
    style = "".join(element.text or "" for element in tree.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    links = {a.get("href")[1:] for a in tree.iter("a")}
    assert links <= set(ids)


def test_text_from_outside_is_shown_and_not_run(page, tree):
    assert len(list(tree.iter("script"))) == 1
    assert HOSTILE in "".join(tree.itertext())
    assert "<script>alert" not in page


def test_every_number_of_every_table_is_there(folder, tree):
    for name, file in (("cells", "phases"), ("runs", "runs"), ("pairs", "pairs")):
        heads, rows = rows_under(tree, name)
        with (folder / f"{file}.csv").open() as lines:
            expected = list(csv.DictReader(lines))
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected, strict=True):
            for head, text in zip(heads, row, strict=True):
                value = wanted[head]
                if re.fullmatch(r"[-+.\de]+", value):
                    assert float(text) == pytest.approx(float(value), rel=1e-5), head
                else:
                    assert text == {"true": "yes", "false": "no"}.get(value, value)


def test_probabilities_failures_and_cost_are_told(tree):
    heads, rows = rows_under(tree, "Share of the drawn maps in which a cell has a phase")
    assert heads == ["width", "batch size", "I", "undecided"]
    assert rows == [["2", "8", "0.987", "0.013"], ["4", "8", "0", "1"]]
    _, failed = rows_under(tree, "Tasks without a result")
    assert failed[0] == ["failed", "small_cnn-w4/trace", HOSTILE]
    assert failed[1] == ["diverged", "small_cnn-w4/train", "training diverged in epoch 3"]
    _, cost = rows_under(
        tree, "Time of single tasks, added up over all results that the store keeps"
    )
    assert ["measure", "quality_test", "2", "2", "3.6e+03", "5.4e+03"] in cost
    assert cost[-1][:4] == ["all", "all", "3", "2"]


def test_every_claim_has_its_verdict(folder, tree):
    _, rows = rows_under(tree, "What this study says about the claims of Yang et al. (2021)")
    asked = findings(read_table(folder / "phases.csv"))
    assert [row[:4] for row in rows] == [
        [each.number, each.claim, each.verdict, each.sentence] for each in asked
    ]


def test_the_recipe_says_who_decided_what(tree):
    _, rows = rows_under(tree, "What decides a training run")
    recipe = {name: (value, how) for name, value, how in rows}
    assert recipe["width"] == ("2, 4", "grid")
    assert recipe["seed"] == ("0, 1", "grid")
    assert recipe["epochs"] == ("7", "study")
    assert recipe["momentum"] == ("0.9", "default")


def test_pictures_are_embedded_with_their_titles(tree):
    alts = [image.get("alt") for image in tree.iter("img")]
    assert alts[0].startswith("Phases: best test accuracy, 65.2 percent, in an undecided cell")
    assert any("along the curve between two models" in alt for alt in alts)
    assert any(alt.startswith("Spectral density") for alt in alts)
    assert any(alt.startswith("Hessian trace: from") for alt in alts)


def test_a_folder_without_a_finished_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no study\.yaml; run "):
        write_report(tmp_path)
