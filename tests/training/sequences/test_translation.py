import pytest
import torch

pytest.importorskip("tokenizers", reason="pip install 'landscape_fast[text]'")

from landscape_fast.training.sequences.pairs import Pair
from landscape_fast.training.sequences.translation import iwslt16, multi30k, translation

PAIRS = [
    Pair("ab", "a"),
    Pair("a" * 9 + " b c d e f", "too long"),
    Pair("b", "ab a"),
    Pair("ba", "b"),
]


def made(pairs=2, length=6):
    return translation(PAIRS, PAIRS[:1], pairs=pairs, vocabulary=259, length=length)


def test_the_target_is_the_shifted_input_with_an_end_and_padding_has_no_target():
    data = made()
    for inputs, targets in zip(data.train_inputs, data.train_targets, strict=True):
        valid = int((targets != -100).sum())
        assert inputs[1, 0] == 1
        assert torch.equal(inputs[1, 1:valid], targets[: valid - 1])
        assert targets[valid - 1] == 2
        assert not inputs[1, valid:].any()
        source = inputs[0]
        end = int((source == 2).nonzero())
        assert (source[:end] > 2).all()
        assert not source[end + 1 :].any()


def test_the_first_pairs_that_fit_are_kept_in_order_and_none_is_cut():
    data = made()
    # " a" and " ab a": bytes with a blank before each word, and the end
    assert (data.train_targets != -100).sum(1).tolist() == [3, 6]
    assert torch.equal(data.train_inputs[:1], made(pairs=1).train_inputs)
    assert len(made(pairs=None).train_targets) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": 0}, "pairs must be a whole number of at least 1, got 0"),
        ({"length": 1}, "length must be a whole number of at least 2"),
        ({"pairs": 4}, "pairs is 4, but only 3 of 4 training pairs have at most 6 tokens"),
        ({"length": 3, "pairs": None}, "only 0 of 4"),
    ],
)
def test_pairs_that_are_not_there_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        made(**arguments)


@pytest.mark.data
def test_the_real_sets_give_the_pairs_asked_for_the_same_on_every_reading(shared_data):
    first, again = (
        iwslt16(shared_data / "iwslt16", pairs=100, vocabulary=600, length=24) for _ in range(2)
    )
    assert first.train_inputs.shape == (100, 2, 24)
    assert first.classes == 600
    assert torch.equal(first.train_inputs, again.train_inputs)
    assert torch.equal(first.test_targets, again.test_targets)
    captions = multi30k(shared_data / "multi30k", pairs=100, vocabulary=600, length=48)
    assert captions.train_targets.shape == (100, 48)
