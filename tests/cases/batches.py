"""Batches of every form."""

from __future__ import annotations

import torch.nn.functional as F
import zoo
from cases.case import function, labels, noise

BATCHES = {
    "nested dict": function(
        lambda m, b: F.cross_entropy(m(b["data"]["x"]), b["y"]),
        batch=lambda: {"data": {"x": noise(5)}, "y": labels(3)},
    ),
    "dataclass": function(
        lambda m, b: F.cross_entropy(m(b.inputs), b.target),
        batch=lambda: zoo.Sample(noise(5), labels(3)),
    ),
    "several outputs": function(
        lambda m, b: F.cross_entropy(m(b[0])["kind"], b[1]) + F.mse_loss(m(b[0])["size"], b[2]),
        zoo.Heads,
        lambda: (noise(5), labels(2), noise()),
    ),
}
