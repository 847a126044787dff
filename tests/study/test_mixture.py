"""Two normal laws: found where they were put, and not found where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from landscape_fast.study.mixture import two_normals


def drawn(seed, count=400, share=0.3, apart=4.0):
    random = np.random.default_rng(seed)
    upper = random.random(count) < share
    return random.normal(np.where(upper, apart, 0.0), 1.0), upper


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_maximum_likelihood_fit(seed):
    values, _ = drawn(seed)
    found = two_normals(values, start=float(values.mean()), least_deviation=1e-6)
    theirs = GaussianMixture(2, covariance_type="tied", tol=1e-10, max_iter=2000, random_state=0)
    theirs.fit(values[:, None])
    assert found.means == pytest.approx(sorted(theirs.means_.ravel()), abs=1e-3)
    assert found.deviation == pytest.approx(float(np.sqrt(theirs.covariances_).item()), abs=1e-3)
    alone = GaussianMixture(1).fit(values[:, None]).bic(values[:, None])
    assert found.gain == pytest.approx(alone - theirs.bic(values[:, None]), abs=0.02)


def test_planted_laws_come_back_with_their_threshold():
    values, upper = drawn(0, count=20_000)
    found = two_normals(values, start=1.0, least_deviation=1e-6)
    assert found.means == pytest.approx((0.0, 4.0), abs=0.1)
    assert found.weight == pytest.approx(0.3, abs=0.02)
    assert found.threshold == pytest.approx(2.0 + np.log(0.7 / 0.3) / 4.0, abs=0.1)
    sure = found.upper(values)
    near = (sure > 0.4) & (sure < 0.6)
    assert upper[near].mean() == pytest.approx(0.5, abs=0.12)
    assert found.upper(np.array([found.threshold]))[0] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_one_law_is_enough_for_one_law(seed):
    values = np.random.default_rng(seed).normal(0.7, 0.05, 80)
    assert two_normals(values, start=0.7, least_deviation=1e-3).gain < 0.0


def test_groups_of_single_values_do_not_divide_by_zero():
    found = two_normals(np.array([0.5] * 4 + [0.8] * 4), start=0.6, least_deviation=0.0035)
    assert found.deviation == 0.0035
    assert found.threshold == pytest.approx(0.65)
