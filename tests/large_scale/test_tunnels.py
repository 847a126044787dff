"""Tunnels of bowls and wedges have the widths that their closed forms give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from oracles import assert_same_state, classification, conv_net, cut, mlp, snapshot
from torch import Tensor, nn

from landscape_fast.large_scale.tunnels import first_crossing, radial_tunnel, tunnel_trend
from landscape_fast.large_scale.wedges import Wedges
from landscape_fast.plots.tunnels import trends_figure
from landscape_fast.store import Store

IMAGES = classification(40, (1, 6, 6))
SQUARES = nn.MSELoss()


def bowl(radius: float, size: int = 4) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A model at distance ``radius`` from the origin whose loss is the squared distance from it."""
    model = nn.Linear(size, 1, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()[0, 0] = radius
    x = torch.eye(size, dtype=torch.float64) * math.sqrt(size)
    return model, [(x, x[:, :1] * radius)]


def wedge_loss(model: nn.Module, batch: object) -> Tensor:
    return model()


ONE_ROW = [(torch.zeros(1),)]


@pytest.mark.parametrize("radius", [1.0, 3.0])
def test_a_round_bowl_has_the_width_of_its_chord_on_a_sphere(radius):
    model, data = bowl(radius)
    found = radial_tunnel(model, data, criterion=SQUARES, threshold=0.5, directions=5, steps=151)
    wanted = math.acos(1 - 0.5 / (2 * radius**2))  # |P(phi) - P|^2 = 2 R^2 (1 - cos phi)
    assert found.widths.tolist() == pytest.approx([wanted] * 5, abs=1e-4)
    assert found.stderr < 1e-6
    assert found.norm == radius
    assert torch.allclose(found.distances, radius * found.widths)


def test_on_a_line_the_width_is_the_angle_of_its_distance():
    model, data = bowl(2.0)
    found = radial_tunnel(
        model, data, criterion=SQUARES, threshold=0.49, directions=3, steps=151, path="line"
    )
    assert found.distances.tolist() == pytest.approx([0.7] * 3, abs=1e-3)
    assert found.width == pytest.approx(math.atan(0.7 / 2.0), abs=1e-4)


def test_along_the_ray_the_loss_is_that_of_rescaled_parameters():
    model, data = bowl(2.0)
    found = radial_tunnel(model, data, criterion=SQUARES, threshold=1.1, directions=1)
    assert torch.allclose(found.radial_losses, 4.0 * (found.scales - 1).square(), atol=1e-12)
    assert found.radial_range == pytest.approx((0.5, 1.5))
    assert math.isnan(found.stderr)


def test_a_wedge_has_the_predicted_width_and_no_end_along_its_ray():
    wedges = Wedges(60, 40)
    point = torch.zeros(60, dtype=torch.float64)
    point[:40] = 1.0
    found = radial_tunnel(
        wedges.network(point), ONE_ROW, loss_fn=wedge_loss, threshold=0.5, directions=40, steps=31
    )
    low, high = found.interval(0.999)
    assert low < wedges.angular_width(math.sqrt(40.0), 0.5) < high
    assert not found.radial_losses.any()
    assert found.radial_range == (0.0, 2.0)
    assert math.isinf(wedges.angular_width(1.0, 5.0))


def test_crossings_are_found_between_points():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert first_crossing(x, torch.tensor([0.0, 1.0, 5.0, 0.0]), 2.0) == 1.25
    assert first_crossing(x, torch.tensor([0.0, 1.0, math.nan, 9.0]), 2.0) == 1.0
    assert first_crossing(x, torch.tensor([0.0, 1.0, math.inf, 9.0]), 2.0) == 1.0
    assert first_crossing(x, torch.tensor([3.0, 1.0, 1.0, 1.0]), 2.0) == 0.0
    assert first_crossing(x, torch.tensor([0.0, 1.0, 2.0, 2.0]), 2.0) == math.inf


def test_a_threshold_that_is_never_passed_gives_infinity():
    model, data = bowl(1.0)
    found = radial_tunnel(model, data, criterion=SQUARES, threshold=99.0, directions=2, steps=3)
    assert (found.width, found.radial_range) == (math.inf, (0.0, 2.0))
    assert math.isnan(found.stderr)


def test_a_model_above_the_threshold_has_no_tunnel():
    model, data = mlp(), [classification(12)]
    found = radial_tunnel(model, data, threshold=1e-6, directions=2, steps=3, radial_steps=3)
    assert found.width == 0.0
    assert found.radial_range == (1.0, 1.0)


def test_the_default_threshold_is_half_of_the_loss_of_chance():
    found = radial_tunnel(mlp(), [classification(12)], directions=1, steps=2, radial_steps=3)
    assert found.threshold == pytest.approx(math.log(3) / 2)
    assert float(found.losses[0, 0]) == pytest.approx(float(found.radial_losses[1]))
    with pytest.raises(ValueError, match=r"threshold is needed.*log\(C\) / 2"):
        radial_tunnel(*bowl(1.0), criterion=SQUARES)


def test_statistics_measured_anew_hide_the_scale_of_weights_before_a_normalisation():
    model, data = conv_net().double(), [(IMAGES[0].double(), IMAGES[1])]
    options = {"params": "0.weight", "directions": 1, "steps": 2, "radial_steps": 5}
    anew = radial_tunnel(model, data, batchnorm="recalibrate", **options)
    kept = radial_tunnel(model, data, **options)
    assert float(anew.radial_losses[1:].std() / anew.radial_losses[2]) < 1e-3
    assert float(kept.radial_losses[1:].std()) > 3 * float(anew.radial_losses[1:].std())
    assert anew.batchnorm == "recalibrate"


def test_given_directions_are_made_orthogonal_to_the_ray():
    model, data = bowl(1.0)
    given = torch.tensor([[5.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    found = radial_tunnel(
        model, data, criterion=SQUARES, threshold=0.5, directions=given, steps=151
    )
    assert found.width == pytest.approx(math.acos(0.75), abs=1e-4)
    with pytest.raises(ValueError, match="along the ray"):
        radial_tunnel(model, data, criterion=SQUARES, threshold=0.5, directions=torch.eye(4)[:1])
    with pytest.raises(TypeError, match="a tensor .* or a number, got ndarray"):
        radial_tunnel(model, data, criterion=SQUARES, threshold=0.5, directions=np.eye(4)[1:])
    with pytest.raises(ValueError, match=r"shape \(1, 3\), but 4 parameters"):
        radial_tunnel(model, data, criterion=SQUARES, threshold=0.5, directions=torch.ones(1, 3))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_went_in(fails):
    model = conv_net()
    before = snapshot(model)
    if fails:
        with pytest.raises(RuntimeError):
            radial_tunnel(model, [IMAGES, (torch.ones(3, 5), torch.zeros(3).long())])
    else:
        radial_tunnel(model, cut(IMAGES, [25, 15]), directions=2, steps=3, radial_steps=3,
                      batchnorm="recalibrate")  # fmt: skip
    assert_same_state(model, before)


def test_widths_are_gathered_by_setting():
    data = bowl(1.0)[1]
    groups = {
        0.5: [bowl(1.0)[0], bowl(1.0)[0]],
        0.1: [bowl(1.05)[0]],
    }
    trend = tunnel_trend(groups, data, criterion=SQUARES, threshold=0.5, directions=2, steps=101)
    assert trend.settings.tolist() == [0.5, 0.5, 0.1]
    assert [setting for setting, _, _ in trend.means] == [0.1, 0.5]
    assert trend.means[1][1] == pytest.approx(math.acos(0.75), abs=1e-3)
    assert trend.means[1][2] == pytest.approx(0.0, abs=1e-9)
    assert trend.norms.tolist() == pytest.approx([1.0, 1.0, 1.05])
    assert trend.rank_correlation == pytest.approx(1.0)
    assert math.isnan(tunnel_trend({1.0: [bowl(1.0)[0]]}, data, criterion=SQUARES, threshold=1.0,
                                   directions=1, steps=2).rank_correlation)  # fmt: skip
    with pytest.raises(ValueError, match="groups holds no model"):
        tunnel_trend({}, data)


def test_equal_widths_share_their_rank_and_a_direction_without_end_is_the_widest():
    data = bowl(1.0)[1]
    radii = {1.0: (1.1, 1.0), 2.0: (1.0,), 3.0: (0.9,)}  # in the last the loss is at most 1.9^2
    groups = {setting: [bowl(radius)[0] for radius in own] for setting, own in radii.items()}
    trend = tunnel_trend(groups, data, criterion=SQUARES, threshold=3.7, directions=2, largest=3.0)
    assert math.isinf(float(trend.widths[-1]))
    # Ranks 1.5, 1.5, 3, 4 and 1, 2.5, 2.5, 4.
    assert trend.rank_correlation == pytest.approx(3.75 / 4.5)


def test_profiles_and_trends_are_drawn(tmp_path):
    model, data = bowl(1.0)
    options = {"criterion": SQUARES, "threshold": 0.5, "directions": 2, "steps": 9}
    radial_tunnel(model, data, **options).plot().savefig(tmp_path / "tunnel.png")
    trend = tunnel_trend({0.0: [model], 1.0: [model]}, data, **options)
    figure = trends_figure({"dropout": trend, "width": trend})
    figure.savefig(tmp_path / "trends.png")
    assert [axes.get_xlabel() for axes in figure.axes] == ["dropout", "width"]
    with pytest.raises(ValueError, match="trends is empty"):
        trends_figure({})


def test_tunnels_come_back_from_the_store(tmp_path):
    model, data = bowl(1.0)
    options = {"criterion": SQUARES, "threshold": 0.5, "directions": 2, "steps": 9}
    store = Store(tmp_path)
    for name, found in (
        ("tunnel", radial_tunnel(model, data, **options)),
        ("trend", tunnel_trend({1.0: [model]}, data, **options)),
    ):
        store.save("cell", name, found)
        assert torch.equal(store.load("cell", name).widths, found.widths)


def test_a_network_of_layers_is_not_taken_for_a_list_of_networks():
    deep = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    data = [(torch.eye(2), torch.tensor([0, 1]))]
    with pytest.raises(TypeError, match=r"groups\[0.1\] must be a list of models"):
        tunnel_trend({0.1: deep}, data)
    with pytest.raises(TypeError, match="settings of groups must be"):
        tunnel_trend({"a": [deep]}, data)
