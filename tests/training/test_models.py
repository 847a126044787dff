import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landscape_fast.training.models import build_model, resnet18, small_cnn


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("k", [1, 2, 3, 16, 64])
def test_resnet18_has_the_published_number_of_parameters(k):
    assert parameters(resnet18(width=k)) == 2724 * k**2 + 257 * k + 10


def test_resnet18_names_its_parameters_as_the_published_code_does():
    names = resnet18(width=1).state_dict()
    for name in [
        "conv1.weight",
        "bn1.running_mean",
        "layer2.0.shortcut.0.weight",
        "layer2.0.shortcut.1.bias",
        "layer4.1.conv2.weight",
        "linear.bias",
    ]:
        assert name in names
    assert not any(name.startswith(("layer1.0.shortcut", "layer2.1.shortcut")) for name in names)


def test_resnet18_halves_the_image_three_times_and_returns_one_row_per_image():
    model, shapes = resnet18(width=2, classes=7, channels=1).eval(), []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    assert model(torch.zeros(3, 1, 32, 32)).shape == (3, 7)
    assert shapes == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]


def test_small_cnn_grows_quadratically_with_its_width():
    # conv 9w, norm 2w, conv 18w^2, norm 4w, linear 20w + 10
    for w in (1, 2, 8, 32):
        assert parameters(small_cnn(width=w)) == 18 * w**2 + 35 * w + 10


@pytest.mark.parametrize(("make", "side", "channels"), [(small_cnn, 8, 1), (resnet18, 32, 3)])
def test_evaluation_is_piecewise_linear(make, side, channels):
    """Along a line of inputs the second derivative vanishes exactly, wherever it exists."""
    torch.manual_seed(0)
    model = make(width=2).double().eval()
    start, step = torch.randn(2, 5, channels, side, side, dtype=torch.float64)
    time = torch.zeros((), dtype=torch.float64, requires_grad=True)
    output = model(start + time * step).square().sum()  # squared: its bend is twice the slope's
    outputs, slopes = torch.func.jvp(
        lambda t: model(start + t * step), (time.detach(),), (torch.ones_like(time).detach(),)
    )
    (slope,) = torch.autograd.grad(output, time, create_graph=True)
    (bend,) = torch.autograd.grad(slope, time)
    assert slope.item() == pytest.approx(2 * (outputs * slopes).sum().item())
    assert bend.item() == pytest.approx(2 * slopes.square().sum().item(), rel=1e-10)


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 6),
    classes=st.integers(1, 12),
    channels=st.integers(1, 4),
    batch=st.integers(1, 5),
    side=st.integers(4, 11),
)
def test_small_cnn_takes_any_small_image(width, classes, channels, batch, side):
    model = small_cnn(width, classes=classes, channels=channels).eval()
    assert model(torch.zeros(batch, channels, side, side)).shape == (batch, classes)


@pytest.mark.parametrize("make", [resnet18, small_cnn])
@pytest.mark.parametrize("wrong", [{"width": 0}, {"classes": -1}, {"channels": 1.5}])
def test_a_size_that_is_not_a_positive_whole_number_is_refused_by_name(make, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be .* got"):
        make(**wrong)


class Plain(nn.Module):
    """Takes none of the arguments a recipe offers."""

    def __init__(self, *, depth: int = 1) -> None:
        super().__init__()
        self.depth = depth


def narrow(width: int, classes: int, *, bias: bool = True) -> nn.Module:
    return nn.Linear(width, classes, bias=bias)


def no_model() -> int:
    return 3


HERE = "test_models_support"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Offer this file's callables under an importable name."""
    import sys
    import types

    module = types.ModuleType(HERE)
    module.Plain, module.narrow, module.no_model, module.seven = Plain, narrow, no_model, 7
    monkeypatch.setitem(sys.modules, HERE, module)


def test_a_callable_gets_the_arguments_it_names_and_its_options():
    options = {"bias": False}
    model = build_model(f"{HERE}:narrow", width=5, classes=3, channels=1, options=options)
    assert (model.in_features, model.out_features, model.bias) == (5, 3, None)
    assert build_model(f"{HERE}:Plain", classes=3, channels=1, options={"depth": 4}).depth == 4


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("smal_cnn", {}, r"model must be one of resnet18, small_cnn or .*did you mean 'small_cnn'"),
        ("a b:c", {}, "package.module:callable"),
        ("no_such_module_at_all:make", {}, "no_such_module_at_all.*cannot be imported"),
        (f"{HERE}:narow", {}, "has no 'narow'; did you mean 'narrow'"),
        (f"{HERE}:Plain", {"width": 3}, "width is 3, but model .* takes no argument 'width'"),
        (f"{HERE}:Plain", {"options": {"dept": 4}}, "model options .* did you mean 'depth'"),
        ("small_cnn", {"options": {"classes": 4}}, "may not set 'classes'"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_with_the_reason(name, given, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, classes=10, channels=1, **given)


@pytest.mark.parametrize(
    ("name", "message"), [("seven", "is not callable, it is a int"), ("no_model", "got int")]
)
def test_what_is_no_model_is_refused(name, message):
    with pytest.raises(TypeError, match=message):
        build_model(f"{HERE}:{name}", classes=10, channels=1)
