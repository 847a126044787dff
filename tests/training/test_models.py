import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.training.models import (
    MODELS,
    build_model,
    mlp,
    resnet18,
    resnet34,
    resnet50,
    small_cnn,
    vgg11,
    vgg11_bn,
    vit,
)
from landscape_fast.training.models.registry import width_in_words

OF_IMAGES = ("mlp", "resnet18", "resnet34", "resnet50", "small_cnn", "vgg11", "vgg11_bn", "vit")


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("k", [1, 2, 3, 16, 64])
def test_resnet18_has_the_published_number_of_parameters(k):
    assert parameters(resnet18(width=k)) == 2724 * k**2 + 257 * k + 10


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize(
    ("make", "square", "linear"),
    [
        # 9 of 3x3 convolutions, 1 of shortcuts; stage s has 4**s times the square of the first.
        # Rows: blocks within the stages; their first convolutions; shortcuts.
        (
            resnet34,
            9 * (6 + 7 * 4 + 11 * 16 + 5 * 64) + 9 * (2 + 8 + 32) + (2 + 8 + 32),
            # stem 27, BatchNorm 2 for every channel of 33 layers and 3 shortcuts, classifier 80
            27 + 2 * (1 + 6 + 8 * 2 + 12 * 4 + 6 * 8 + 2 + 4 + 8) + 80,
        ),
        # Per stage of d blocks from i channels to 4 w: 1x1 i w, 3x3 9 w**2, 1x1 4 w**2, shortcut
        # 4 i w; the others 4 w**2, 9 w**2, 4 w**2.
        (
            resnet50,
            sum(
                (5 * i * w + 13 * w**2) + (d - 1) * 17 * w**2
                for d, i, w in [(3, 1, 1), (4, 4, 2), (6, 8, 4), (3, 16, 8)]
            ),
            27 + 2 + 2 * sum((6 * d + 4) * w for d, w in [(3, 1), (4, 2), (6, 4), (3, 8)]) + 320,
        ),
        (vgg11, 9 * (2 + 8 + 16 + 32 + 3 * 64), 27 + (1 + 2 + 8 + 32) + 80),
        (vgg11_bn, 9 * (2 + 8 + 16 + 32 + 3 * 64), 27 + 2 * (1 + 2 + 8 + 32) + 80),
    ],
)
def test_parameters_are_counted_in_closed_form(make, square, linear, k):
    assert parameters(make(width=k)) == square * k**2 + linear * k + 10
    counted = f"{square} width**2 + {linear} width + 10"
    assert counted in " ".join(make.__doc__.split())


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_parameters_of_a_perceptron_are_counted_in_closed_form(width, depth):
    model = mlp(width, classes=7, input_shape=(2, 5, 3), depth=depth)
    assert parameters(model) == (
        30 * width + width + (depth - 1) * (width**2 + width) + width * 7 + 7
    )
    assert model(torch.zeros(4, 2, 5, 3)).shape == (4, 7)


@pytest.mark.parametrize("width", [4, 12])
def test_the_parameters_of_a_vision_transformer_are_counted_in_closed_form(width):
    model = vit(width, classes=7, input_shape=(2, 8, 12), depth=3)
    patches, pixels = 6, 2 * 16
    attention, perceptron = 4 * width**2 + 4 * width, 8 * width**2 + 5 * width
    block = attention + perceptron + 2 * 2 * width
    ends = pixels * width + width + patches * width + 2 * width + width * 7 + 7
    assert parameters(model) == ends + 3 * block
    assert block == 12 * width**2 + 13 * width
    assert model(torch.zeros(4, 2, 8, 12)).shape == (4, 7)


def test_attention_is_that_of_torch():
    """Weights of one head after the other, as torch's own layer stacks them."""
    torch.manual_seed(0)
    ours = vit(8, input_shape=(1, 8, 8), depth=1, heads=2).double().blocks[0].attention
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.qkv.weight, ours.qkv.bias
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    expected = theirs(tokens, tokens, tokens, need_weights=False)[0]
    assert torch.allclose(ours(tokens), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 6}, "heads must divide width, got heads 4 and width 6"),
        ({"input_shape": (3, 28, 30)}, r"patch 4 must divide the sides .* \(3, 28, 30\)"),
        ({"input_shape": (64,)}, "patch 4 must divide the sides of an image"),
        ({"depth": 0}, "depth must be a whole number of at least 1"),
    ],
)
def test_a_vision_transformer_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        vit(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_IMAGES)
def test_the_engine_captures_every_network(name):
    """The product agrees with plain double backward, on two images in float64."""
    torch.manual_seed(0)
    width = 4 if name == "vit" else 2
    model = build_model(name, width=width, classes=10, channels=3, input_shape=(3, 32, 32))
    model = model.double().eval()
    batch = (torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 7]))
    operator = HessianOperator(model, [batch], criterion=nn.CrossEntropyLoss())
    assert operator.engine == "captured", operator.engine_note
    vector = torch.randn(1, parameters(model), dtype=torch.float64)
    plain = HessianOperator(model, [batch], criterion=nn.CrossEntropyLoss(), engine="autograd")
    exact = plain(vector)
    assert (operator(vector) - exact).norm() <= 1e-9 * exact.norm()


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


@settings(max_examples=15)
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
        ("smal_cnn", {}, r"model must be one of mlp, resnet18, .*did you mean 'small_cnn'"),
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


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_axis_of_a_width_says_what_the_network_has_so_many_of(name):
    model = build_model(name, width=12, classes=10, channels=3, input_shape=(3, 32, 32))
    first = next(module for module in model.modules() if hasattr(module, "weight"))
    kind, axis = {
        "mlp": ("units of a hidden layer", 0),
        "transformer": ("embedding dimension", 1),
        "vit": ("embedding dimension", 0),
    }.get(name, ("channels of the first layer", 0))
    assert first.weight.shape[axis] == 12
    assert width_in_words(name) == f"Width ({kind})"
