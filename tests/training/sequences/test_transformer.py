import copy
import math

import pytest
import torch
from oracles import assert_relative, dense_hessian
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from landscape_fast.linearise.operators import HessianOperator
from landscape_fast.metrics.sharpness import top_eigs
from landscape_fast.metrics.trace import trace
from landscape_fast.training.sequences.transformer import transformer

VOCABULARY, LENGTH = 7, 5


def made(norm="pre", *, width=4, seed=0, **options) -> nn.Module:
    torch.manual_seed(seed)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "head_width": 2, "feed_forward": 1}
    options = {"classes": VOCABULARY, **sizes, **options}
    return transformer(width, norm=norm, **options).double().eval()


def sentences(count=5, length=LENGTH) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pairs of different lengths, the first one of the full length."""
    draws = torch.Generator().manual_seed(0)
    inputs = torch.zeros(count, 2, length, dtype=torch.long)
    targets = torch.full((count, length), -100)
    for row in range(count):
        source, target = (
            torch.randint(
                3, VOCABULARY, (LENGTH - 1 - (row + side) % (LENGTH - 1),), generator=draws
            )
            for side in range(2)
        )
        inputs[row, 0, : len(source)], inputs[row, 0, len(source)] = source, 2
        inputs[row, 1, 0], inputs[row, 1, 1 : len(target) + 1] = 1, target
        targets[row, : len(target)], targets[row, len(target)] = target, 2
    return inputs, targets


class TorchLayers(nn.Module):
    """The same network of torch's own layers, with the weights of ``ours``."""

    def __init__(self, ours, norm):
        super().__init__()
        width, heads = ours.embedding.embedding_dim, ours.encoder[0].attention.heads
        options = {"dropout": 0.0, "batch_first": True, "norm_first": norm == "pre"}
        sizes = (width, heads, ours.encoder[0].feed_forward[0].out_features)
        self.ours = ours
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(*sizes, **options) for _ in ours.encoder
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(*sizes, **options) for _ in ours.decoder
        )
        names = {"attention": "self_attn", "source_attention": "multihead_attn"}
        norms = ["attention_norm", "source_norm", "feed_forward_norm"]
        for one, other in zip(
            [*ours.encoder, *ours.decoder], [*self.encoder, *self.decoder], strict=True
        ):
            own = {}
            for name, theirs in names.items():
                if (attention := getattr(one, name, None)) is not None:
                    parts = attention.query, attention.key, attention.value
                    for kind in ("weight", "bias"):
                        stacked = torch.cat([getattr(part, kind) for part in parts])
                        own[f"{theirs}.in_proj_{kind}"] = stacked
                        own[f"{theirs}.out_proj.{kind}"] = getattr(attention.out, kind)
            kept = [norm for norm in norms if hasattr(one, norm)]
            modules = {f"norm{i}": getattr(one, name) for i, name in enumerate(kept, 1)}
            modules |= {"linear1": one.feed_forward[0], "linear2": one.feed_forward[2]}
            for name, module in modules.items():
                own |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
            other.load_state_dict(own)
        self.double()

    def forward(self, tokens):
        (source, target), length = tokens.unbind(1), tokens.shape[-1]
        width = self.ours.embedding.embedding_dim
        positions = torch.tensor(
            [
                [math.sin(t / 10000 ** (2 * i / width)) for i in range(width // 2)]
                + [math.cos(t / 10000 ** (2 * i / width)) for i in range(width // 2)]
                for t in range(length)
            ],
            dtype=torch.float64,
        )
        x, y = (
            self.ours.embedding(side) * math.sqrt(width) + positions for side in (source, target)
        )
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        for layer in self.encoder:
            x = layer(x, src_key_padding_mask=source == 0)
        x = self.ours.encoder_norm(x)
        for layer in self.decoder:
            y = layer(y, x, tgt_mask=later, memory_key_padding_mask=source == 0)
        return self.ours.output(self.ours.decoder_norm(y)).transpose(1, 2)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_network_is_the_one_of_torchs_own_layers(norm):
    ours = made(norm, width=12, encoder_layers=2, decoder_layers=3, head_width=4, feed_forward=3)
    inputs, _ = sentences()
    assert_relative(ours(inputs), TorchLayers(ours, norm)(inputs), 1e-14)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_number_of_parameters_is_the_one_stated(norm, tied):
    w, v, e, d, f = 6, 11, 2, 3, 5
    model = made(
        norm, width=w, classes=v, encoder_layers=e, decoder_layers=d, feed_forward=f, tied=tied
    )
    layers = e * ((4 + 2 * f) * w**2 + (9 + f) * w) + d * ((8 + 2 * f) * w**2 + (15 + f) * w)
    stated = w * v * (1 if tied else 2) + layers + (4 * w if norm == "pre" else 0)
    assert sum(p.numel() for p in model.parameters()) == stated


def test_a_token_is_predicted_from_earlier_ones_alone():
    model, (inputs, _) = made(), sentences()
    changed = inputs.clone()
    changed[:, 1, 3:] = 6
    before, after = model(inputs), model(changed)
    assert torch.equal(before[..., :3], after[..., :3])
    assert not torch.equal(before[..., 3:], after[..., 3:])


def test_padding_changes_no_loss():
    model, (inputs, targets) = made(), sentences()
    longer, ignored = sentences(length=LENGTH + 3)
    assert_relative(
        cross_entropy(model(longer), ignored), cross_entropy(model(inputs), targets), 1e-14
    )
    with torch.no_grad():
        model.embedding.weight[0] += 5.0
        model.output.weight = nn.Parameter(made().embedding.weight)  # there padding is an answer
    assert_relative(
        cross_entropy(model(longer), ignored), cross_entropy(made()(inputs), targets), 1e-14
    )


def test_every_layer_starts_anew_where_it_is_asked_to():
    torch.manual_seed(1)
    model, before = made(), made()
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    same = [
        name
        for (name, one), other in zip(model.named_parameters(), before.parameters(), strict=True)
        if torch.equal(one, other) and "norm" not in name
    ]
    assert not same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 5, "head_width": 5}, "width must be even"),
        ({"width": 6, "head_width": 4}, "width must be a multiple of head_width 4, got 6"),
        ({"encoder_layers": 0}, "encoder_layers must be a whole number of at least 1, got 0"),
        ({"norm": "both"}, "norm must be 'pre' or 'post', got 'both'"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made(**options)


# ---- curvature ----


def problem(norm):
    """A network in float64, and pairs of different lengths in ragged batches."""
    model, (inputs, targets) = made(norm, tied=norm == "pre"), sentences()
    batches = list(zip(inputs.split(3), targets.split(3), strict=True))
    return model, batches, lambda m: cross_entropy(m(inputs), targets)


@pytest.mark.parametrize("norm", ["pre", pytest.param("post", marks=pytest.mark.slow)])
def test_products_and_forms_are_those_of_double_backward_of_the_loss_per_token(norm):
    model, batches, whole_loss = problem(norm)
    op = HessianOperator(model, batches)
    assert op.engine == "captured", op.engine_note
    assert not op.slow_operations
    vectors = torch.randn(2, op.shape[0], dtype=torch.float64)
    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        slopes = torch.autograd.grad(whole_loss(model), parameters, create_graph=True)
        slope = torch.cat([part.flatten() for part in slopes])
        products = [
            torch.autograd.grad(slope, parameters, vector, retain_graph=True) for vector in vectors
        ]
    exact = torch.stack([torch.cat([part.flatten() for part in product]) for product in products])
    assert_relative(op(vectors), exact, 1e-12)
    assert_relative(op.quadratic(vectors), (exact * vectors).sum(1), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_eigenvalues_and_trace_are_those_of_the_dense_hessian_per_token(norm):
    model, batches, whole_loss = problem(norm)
    with sdpa_kernel(SDPBackend.MATH):
        dense = dense_hessian(model, whole_loss)
    values = torch.linalg.eigvalsh(dense)
    assert_relative(top_eigs(model, batches, k=2, tol=1e-6).values, values.flip(0)[:2], 1e-6)
    found = trace(model, batches, rtol=0.1, max_products=400)
    assert abs(found.value - float(dense.trace())) < 4 * found.stderr + 1e-6
    single = HessianOperator(copy.deepcopy(model).float(), batches)
    vectors = torch.randn(1, len(dense))
    assert_relative(single(vectors).double(), vectors.double() @ dense, 1e-4)
