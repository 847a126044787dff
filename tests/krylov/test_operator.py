from __future__ import annotations

import pytest
import torch

from landscape_fast.krylov.operator import DenseOperator


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (torch.ones(2, 3), "must be square"),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "must be symmetric"),
        (torch.tensor([[torch.nan]]), "must be symmetric"),
        (torch.ones(2, 2, dtype=torch.int64), "must be float32 or float64"),
    ],
)
def test_a_matrix_that_is_no_symmetric_operator_is_named(matrix, text):
    with pytest.raises(ValueError, match=text):
        DenseOperator(matrix)
