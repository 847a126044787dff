"""The memory format of a network and of its data changes no answer, and costs no fast path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape_fast import GGNOperator, HessianOperator, diagonal

FORMATS = ("network", "images", "both")


def images(rows=6):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 3, 8, 8, generator=rng, dtype=torch.float64)
    return x, torch.randint(10, (rows,), generator=rng)


class Residual(nn.Module):
    """Normalised layers around a shortcut that leaves out places and adds channels."""

    def __init__(self, stride=2):
        super().__init__()
        self.one, self.other = (
            nn.Conv2d(8, 16, 3, stride, 1, bias=False),
            nn.Conv2d(16, 16, 3, 1, 1),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)])

    def forward(self, x):
        y = self.norms[1](self.other(self.norms[0](self.one(x)).relu()))
        return (y + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).relu()


def convolution(inputs=8, outputs=8, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


# What follows a first convolution and a tanh, and leaves so many numbers for the last layer.
MIDDLES = {
    "pooled to one place": ([nn.AdaptiveAvgPool2d, 1], 8),
    "pooled to four places": ([nn.AdaptiveAvgPool2d, 2], 32),
    "average pool": ([nn.AvgPool2d, 4], 32),
    "flattened": ([nn.Identity], 512),
    "max pool": ([nn.MaxPool2d, 4], 32),
    "residual": ([Residual], 256),
    "groups": ([lambda: convolution(groups=8)], 512),
    "transposed": ([nn.ConvTranspose2d, 8, 8, 2, 2], 2048),
    "upsampled": ([nn.Upsample, None, 2], 2048),
    "group norm": ([nn.GroupNorm, 2, 8], 512),
    "batch norm, convolution, batch norm": (
        [lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), convolution(), nn.BatchNorm2d(8))],
        512,
    ),
}


def network(middle):
    (make, *arguments), outputs = MIDDLES[middle]
    torch.manual_seed(0)
    parts = convolution(3), nn.Tanh(), make(*arguments), nn.Flatten(), nn.Linear(outputs, 10)
    model = nn.Sequential(*parts).double().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            part.weight.data.uniform_(0.5, 2.0)
    return model


def laid(what, model, data):
    """The model and its images, channels last where ``what`` says so."""
    x, y = data
    if what in ("network", "both"):
        model = model.to(memory_format=torch.channels_last)
    if what in ("images", "both"):
        x = x.contiguous(memory_format=torch.channels_last)
    return model, [(x, y)]


@pytest.mark.parametrize("what", FORMATS)
@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("kind", [HessianOperator, GGNOperator])
def test_products_are_those_of_the_plain_format(kind, middle, what):
    plain = kind(network(middle), [images()], engine="autograd")
    v = torch.randn(3, plain.shape[0], dtype=torch.float64)
    op = kind(*laid(what, network(middle), images()), engine="captured")
    torch.testing.assert_close(op(v), plain(v), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(op.quadratic(v), plain.quadratic(v), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("middle", MIDDLES)
def test_diagonals_are_those_of_the_plain_format(middle):
    plain = diagonal(network(middle), [images()])
    found = diagonal(*laid("both", network(middle), images()))
    assert found.exact == plain.exact
    torch.testing.assert_close(found.values, plain.values, rtol=1e-9, atol=1e-11)


def test_batches_of_several_formats_share_a_program():
    x, y = images()
    last = x.contiguous(memory_format=torch.channels_last)
    plain = HessianOperator(network("residual"), [(x, y), (x, y)], engine="autograd")
    op = HessianOperator(network("residual"), [(x, y), (last, y)], engine="captured")
    v = torch.randn(plain.shape[0], dtype=torch.float64)
    torch.testing.assert_close(op(v), plain(v), rtol=1e-9, atol=1e-11)


class Windows(nn.Module):
    """Overlapping windows by strides."""

    def __init__(self, transposed=False):
        super().__init__()
        self.layer, self._transposed = nn.Linear(6, 6).double(), transposed
        self.last = nn.Linear(8, 10).double()

    def forward(self, x):
        y = self.layer(x.flatten(1)[:, :6]).tanh()
        y = y.t() if self._transposed else y
        rows, columns = (1, 6) if self._transposed else (6, 1)
        return self.last(y.as_strided((6, 4, 2), (rows, columns, columns)).flatten(1))


def windows(transposed=False):
    torch.manual_seed(0)
    return Windows(transposed)


def test_windows_by_strides_are_read_as_they_were_traced():
    plain = HessianOperator(windows(), [images()], engine="autograd")
    op = HessianOperator(windows(), [images()], engine="captured")
    v = torch.randn(3, plain.shape[0], dtype=torch.float64)
    torch.testing.assert_close(op(v), plain(v), rtol=1e-9, atol=1e-11)


def test_windows_of_what_was_not_contiguous_are_left_to_autograd():
    op = HessianOperator(windows(transposed=True), [images()])
    assert op.engine == "autograd"
    assert "as_strided reads a tensor that is not contiguous" in op.engine_note
