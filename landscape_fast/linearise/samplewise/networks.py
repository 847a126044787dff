"""Networks of per-sample gradients for data whose rows are of several kinds."""

from __future__ import annotations

import torch
from torch import nn

from landscape_fast.linearise.objective import Objective
from landscape_fast.linearise.params import ParameterSpace
from landscape_fast.linearise.samplewise.network import SampledNetwork
from landscape_fast.linearise.samplewise.table import Table

CHECKED = 4  # rows that one way of computing is held to another with, in float64


class SampledNetworks:
    """One :class:`SampledNetwork` per kind of rows: where rows lie in values differs between kinds.

    Args:
        model: The module, in evaluation mode.
        objective: The loss.
        space: The selected parameters.
    """

    def __init__(self, model: nn.Module, objective: Objective, space: ParameterSpace) -> None:
        self._of = model, objective, space
        self._found: dict[str, SampledNetwork] = {}

    def of(self, table: Table) -> SampledNetwork:
        """The network for the rows of a table, made at the first one of its kind.

        Raises:
            Exception: As :class:`SampledNetwork`.
        """
        if table.kind not in self._found:
            places = torch.linspace(0, table.rows - 1, min(CHECKED, table.rows))
            few = table.take(places.round().long())
            self._found[table.kind] = SampledNetwork(*self._of, few)
        return self._found[table.kind]
