"""``protocol: yang2021`` against a plain re-implementation of what the paper measured.

The oracles are written from the description of the paper's code, with autograd and loops. They
share with the package where random numbers come from, and nothing else.
"""

from __future__ import annotations

import copy
import math

import blobs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from landscape_fast._native import normals_, signs_
from landscape_fast.sweep.config import Study
from landscape_fast.sweep.measurements import OF_ONE, OF_TWO, Question
from landscape_fast.sweep.options import CkaOptions, HessianOptions, Measure
from landscape_fast.sweep.questions import questions
from landscape_fast.sweep.subjects import subjects_of

MEASURE = {"protocol": "yang2021"}


def asked(folder, **changes):
    """Options of every measurement of the first cell: {metric: [options of each model or pair]}."""
    study = Study.model_validate(blobs.study(**{"measure": MEASURE, **changes}))
    subjects = [one for one in subjects_of(study, folder) if one.cell == (2, 8)]
    found = {}
    for metric, _, options in questions(study.measure, subjects):
        found.setdefault(metric, []).append(options)
    return found


@pytest.fixture(scope="module")
def data():
    return blobs.blobs(samples=1800)


@pytest.fixture(scope="module")
def pair(data):
    """Two networks trained for a moment."""
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = blobs.network(5, classes=3)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(4):
            for x, y in zip(data.train_inputs.split(50), data.train_targets.split(50), strict=True):
                optimiser.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimiser.step()
        models.append(model)
    return tuple(models)


def answer(metric, models, data, options):
    measure = (OF_ONE if len(models) == 1 else OF_TWO)[metric]
    return measure(Question(models, data, F.cross_entropy, options))


def hessian_form(model, data, options):
    """v -> (v^T H v, H v) on a random mini-batch of 200, in evaluation mode."""
    model = copy.deepcopy(model).eval()
    rows = np.random.default_rng(options["seed"]).permutation(len(data.train_targets))[:200]
    loss = F.cross_entropy(model(data.train_inputs[rows]), data.train_targets[rows])
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([part.reshape(-1) for part in gradient])

    def product(v):
        parts = torch.autograd.grad(flat @ v, parameters, retain_graph=True)
        image = torch.cat([part.reshape(-1) for part in parts])
        return float(v @ image), image

    return len(flat), product


@pytest.mark.parametrize("seed", range(2))
def test_the_top_eigenvalue_is_that_of_the_papers_power_iteration(pair, data, tmp_path, seed):
    options = {**asked(tmp_path)["top_eigs"][0], "seed": seed}
    n, form = hessian_form(pair[0], data, options)
    v = normals_(torch.empty(1, n), options["seed"])[0]
    v = v / (v.norm() + 1e-6)
    last, steps, settled = None, 0, False
    for _ in range(100):
        value, image = form(v)
        steps += 1
        v = image / (image.norm() + 1e-6)
        if last is not None and abs(last - value) / (abs(last) + 1e-6) < 1e-3:
            settled = True
            break
        last = value
    found = answer("top_eigs", pair[:1], data, options)
    assert float(found.values[0]) == pytest.approx(last, rel=1e-5)
    assert (found.products, found.converged) == (steps, settled)
    assert found.samples == 200


@pytest.mark.parametrize("seed", range(4))
def test_the_trace_is_that_of_the_papers_stopping_rule(pair, data, tmp_path, seed):
    options = {**asked(tmp_path)["trace"][0], "seed": seed}
    n, form = hessian_form(pair[0], data, options)
    forms, trace = [], 0.0
    for i in range(100):
        forms.append(form(signs_(torch.empty(1, n), options["seed"], first_row=i)[0])[0])
        if abs(np.mean(forms) - trace) / (trace + 1e-6) < 1e-3:
            break
        trace = np.mean(forms)
    found = answer("trace", pair[:1], data, options)
    assert found.value == pytest.approx(np.mean(forms), rel=1e-5)
    assert found.products == len(forms)


def mixup_outputs(models, data, seed, logits):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.train_targets))
    collected = ([], [])
    for batch in range(6):
        x = data.train_inputs[order[128 * batch : 128 * (batch + 1)]]
        partner = rng.permutation(len(x))
        share = rng.beta(16.0, 16.0)
        x = share * x + (1 - share) * x[partner]
        for kept, model in zip(collected, models, strict=True):
            with torch.no_grad():
                out = copy.deepcopy(model).eval()(x)
            kept.append(out if logits else out.softmax(1))
    return [torch.cat(kept).double() for kept in collected]


def plain_cka(x, y):
    m = len(x)
    centre = torch.eye(m, dtype=torch.float64) - 1.0 / m

    def cov(a, b):
        return float(torch.trace(a @ a.T @ centre @ b @ b.T @ centre)) / (m - 1) ** 2

    return cov(x, y) / math.sqrt(cov(x, x) * cov(y, y))


@pytest.mark.parametrize("outputs", ["softmax", "logits"])
def test_similarity_is_the_mean_of_both_orders_on_six_batches(pair, data, tmp_path, outputs):
    options = asked(tmp_path)[f"cka_{outputs}"][0]
    assert len(set(options["seeds"])) == 2
    values = []
    for models, seed in zip((pair, pair[::-1]), options["seeds"], strict=True):
        values.append(plain_cka(*mixup_outputs(models, data, seed, outputs == "logits")))
    found = answer(f"cka_{outputs}", pair, data, options)
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    assert found.samples == 768


@pytest.mark.parametrize("bend", ["linear", "random", "released"])
def test_connectivity_is_that_of_the_papers_curve(pair, data, tmp_path, bend):
    measure = {**MEASURE, "connectivity": {"bend": bend}}
    (options,) = asked(tmp_path, measure=measure)["connectivity"]
    assert options["epochs"] == 50
    options = {**options, "epochs": 6}  # the schedule runs over these
    x, y = data.train_inputs, data.train_targets
    model = copy.deepcopy(pair[0]).train()
    names = [name for name, _ in model.named_parameters()]
    a, b = ([dict(m.named_parameters())[n].detach().clone() for n in names] for m in pair)
    if bend == "linear":
        c = [(one + other) / 2 for one, other in zip(a, b, strict=True)]
    else:
        torch.manual_seed(options["seed"])
        fresh = copy.deepcopy(model)
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if bend == "released" and isinstance(module, nn.BatchNorm1d):
                nn.init.uniform_(module.weight)
        c = [dict(fresh.named_parameters())[name].detach().clone() for name in names]
    for part in c:
        part.requires_grad_()
    optimiser = torch.optim.SGD(c, lr=0.01, momentum=0.9)

    def gamma(t):
        return {
            name: (1 - t) ** 2 * one + 2 * t * (1 - t) * bend + t**2 * other
            for name, one, bend, other in zip(names, a, c, b, strict=True)
        }

    rng = np.random.default_rng(options["seed"])
    for epoch in range(1, 7):
        alpha = epoch / 6
        factor = 1.0 if alpha <= 0.5 else 1.0 - (alpha - 0.5) / 0.4 * 0.99 if alpha <= 0.9 else 0.01
        optimiser.param_groups[0]["lr"] = 0.01 * factor
        for rows in torch.from_numpy(rng.permutation(len(y))).split(128):
            point = gamma(rng.random())
            loss = F.cross_entropy(functional_call(model, point, (x[rows],)), y[rows])
            loss = loss + 0.5 * 5e-4 * sum(part.square().sum() for part in point.values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    errors, losses = [], []
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = copy.deepcopy(model)
        at.load_state_dict({**at.state_dict(), **{n: p.detach() for n, p in gamma(t).items()}})
        norm = next(layer for layer in at.modules() if isinstance(layer, nn.BatchNorm1d))
        norm.reset_running_stats()
        seen = 0
        with torch.no_grad():
            same = np.random.default_rng(options["seed"])
            for rows in torch.from_numpy(same.permutation(len(y))).split(128):
                norm.momentum = len(rows) / (seen + len(rows))
                at.train()(x[rows])
                seen += len(rows)
            scores = at.eval()(x)
        errors.append(100 * float((scores.argmax(1) != y).double().mean()))
        losses.append(float(F.cross_entropy(scores, y)))
    deviations = [(errors[0] + errors[4]) / 2 - error for error in errors]
    wanted = max(deviations, key=abs)
    found = answer("connectivity", pair, data, options)
    assert found.losses.tolist() == pytest.approx(losses, rel=1e-4)
    assert found.errors.tolist() == pytest.approx(errors, abs=0.12)  # one row of 900
    assert found.value == pytest.approx(wanted, abs=0.24)


def test_one_curve_per_cell_and_every_pair_otherwise(tmp_path):
    grid = {**blobs.study()["grid"], "seeds": [0, 1, 2]}
    found = asked(tmp_path, grid=grid)
    counts = {metric: len(options) for metric, options in found.items()}
    assert counts["connectivity"] == 1
    assert counts["cka_softmax"] == counts["l2_distance"] == counts["agreement"] == 3
    assert counts["ensemble_test"] == 1
    assert "barrier" not in counts
    assert found["agreement"][0] == {"part": "train"}
    seeds = [options["seed"] for options in found["top_eigs"]]
    assert len(set(seeds)) == 3
    assert seeds == [options["seed"] for options in found["trace"]]
    certified = asked(tmp_path, grid=grid, measure={"connectivity": {"repeats": 2}})
    assert len(certified["connectivity"]) == len(certified["connectivity_2"]) == 3
    assert certified["connectivity_2"][0]["seed"] == certified["connectivity"][0]["seed"] + 1
    assert len(certified["barrier"]) == 3


def test_a_part_of_the_training_set_gets_as_many_steps(tmp_path):
    training = {"epochs": 3, "fraction": 0.25}
    (options,) = asked(tmp_path, training=training)["connectivity"]
    assert options["epochs"] == 200
    assert asked(tmp_path, training=training, measure={})["connectivity"][0]["epochs"] == 50


def test_a_protocol_resolves_every_option():
    resolved = Measure.model_validate({"protocol": "yang2021", "hessian": {"seed": 3}})
    assert resolved.hessian == HessianOptions(
        samples=200, batch_size=200, rtol=1e-3, max_products=100, seed=3
    )
    assert resolved.cka == CkaOptions(samples=768, debiased=False)
    assert resolved.connectivity.bend == "released"
    assert resolved.line is None
    again = Measure.model_validate(resolved.model_dump(mode="json"))
    assert again == resolved
    left_out = Measure.model_validate({"protocol": "yang2021", "cka": None})
    assert left_out.cka is None


@pytest.mark.parametrize(
    ("section", "given", "said"),
    [
        ("hessian", {"samples": 500}, r"measure\.hessian\.samples: 500 .*'yang2021', .* 200"),
        ("hessian", HessianOptions(k=3), r"measure\.hessian\.k: 3 contradicts"),
        ("connectivity", {"epochs": 10}, r"measure\.connectivity\.epochs: 10 contradicts"),
        ("connectivity", {"pairs": "all"}, r"'all' contradicts .* which takes 'first'"),
        ("cka", {"mixup_alpha": None}, r"measure\.cka\.mixup_alpha: None contradicts"),
        ("agreement", {"part": "test"}, r"measure\.agreement\.part: 'test' contradicts"),
    ],
)
def test_an_option_that_contradicts_the_protocol_is_named_with_it(section, given, said):
    with pytest.raises(ValueError, match=said):
        Measure.model_validate({"protocol": "yang2021", section: given})


def test_other_options_and_misspelt_protocols_are_judged_as_ever():
    with pytest.raises(ValueError, match="unknown key 'samplez'"):
        Measure.model_validate({"protocol": "yang2021", "hessian": {"samplez": 2}})
    with pytest.raises(ValueError, match="protocol"):
        Measure.model_validate({"protocol": "yang"})
