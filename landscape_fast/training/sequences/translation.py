"""Translation data sets: sentence pairs as integer tensors of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from landscape_fast.arguments import require_whole, require_whole_or_none
from landscape_fast.training.data import IGNORED, Dataset
from landscape_fast.training.sequences.pairs import Pair, read_iwslt16, read_multi30k
from landscape_fast.training.sequences.subwords import END, PADDING, START, Subwords


def iwslt16(
    root: str | Path,
    *,
    pairs: int | None = 4000,
    vocabulary: int = 4000,
    length: int = 32,
    test: str = "TED.tst2014",
) -> Dataset:
    """Load German-English pairs of IWSLT 2016; see :func:`translation` for what becomes of them.

    Yang et al. (2021) use 4,000 pairs. Which ones, their subwords and their longest sentence are
    not known to us; here they are the first ones that fit.

    Args:
        root: Folder or tar archive with the standard files; nothing is downloaded.
        pairs: Training pairs; None takes all.
        vocabulary: Subwords of both languages together.
        length: Tokens of the longest sentence.
        test: Set to test on, such as ``TED.tst2014``; never trained on.

    Raises:
        FileNotFoundError: ``root`` holds no such file.
        ValueError: A file is damaged, or an argument is out of range.
        ImportError: The library ``tokenizers`` is not installed.

    References:
        Cettolo, Niehues, Stueker, Bentivogli and Federico (2016), The IWSLT 2016 evaluation
        campaign. Yang et al. (2021), arXiv:2107.11228, appendix D.4.
    """
    train, tested = read_iwslt16(root, test)
    return translation(train, tested, pairs=pairs, vocabulary=vocabulary, length=length)


def multi30k(
    root: str | Path,
    *,
    pairs: int | None = None,
    vocabulary: int = 4000,
    length: int = 32,
) -> Dataset:
    """Load the German-English captions of Multi30k; see :func:`translation` for what they become.

    Args:
        root: Folder of the files, plain or with ``.gz``; nothing is downloaded.
        pairs: Training pairs; None takes all.
        vocabulary: Subwords of both languages together.
        length: Tokens of the longest sentence.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or an argument is out of range.
        ImportError: The library ``tokenizers`` is not installed.

    References:
        Elliott, Frank, Sima'an and Specia (2016), arXiv:1605.00459.
    """
    train, tested = read_multi30k(root)
    return translation(train, tested, pairs=pairs, vocabulary=vocabulary, length=length)


def translation(
    train: Sequence[Pair],
    test: Sequence[Pair],
    *,
    pairs: int | None,
    vocabulary: int,
    length: int,
) -> Dataset:
    """Turn sentence pairs into tokens for next-token prediction.

    The vocabulary is learned from the first ``pairs`` training pairs. Then the first ``pairs`` of
    those whose sides both fit are kept, and all test pairs that fit. One row of the inputs holds
    the source with its end and the target with its start; the row's targets are the same target
    with its end, so that position t is to be predicted from the source and the target before t.

    Args:
        train: In the order of the files.
        test: Likewise.
        pairs: Training pairs to keep; None keeps all that fit.
        vocabulary: Subwords of both languages together; see
            :class:`~landscape_fast.training.sequences.subwords.Subwords`.
        length: Tokens T of the longest sentence, its start or end included. Longer ones are left
            out, not cut.

    Returns:
        Inputs (N, 2, T) int64, source and shifted target, filled up with
        :data:`~landscape_fast.training.sequences.subwords.PADDING`; targets (N, T) int64, filled up
        with :data:`~landscape_fast.training.data.IGNORED`, which cross-entropy leaves out.

    Raises:
        ValueError: ``pairs`` is below 1, ``length`` below 2, too few pairs fit, or ``vocabulary``
            is too small.
        ImportError: The library ``tokenizers`` is not installed.

    Example:
        >>> pairs = [Pair("Guten Tag", "Good day"), Pair("Gute Nacht", "Good night")]
        >>> data = translation(pairs, pairs, pairs=2, vocabulary=259, length=12)
        >>> data.train_inputs.shape, data.train_targets.shape, data.classes
        (torch.Size([2, 2, 12]), torch.Size([2, 12]), 259)
    """
    require_whole_or_none(1, pairs=pairs)
    require_whole(2, length=length)  # a token and the end
    subwords = Subwords((side for pair in train[:pairs] for side in pair), size=vocabulary)
    kept = list(islice(_fitting(train, subwords, length), pairs))
    if not kept or len(kept) < (pairs or 0):
        raise ValueError(
            f"pairs is {pairs}, but only {len(kept)} of {len(train)} training pairs have at most "
            f"{length} tokens on either side"
        )
    tested = list(_fitting(test, subwords, length))
    if not tested:
        raise ValueError(f"none of {len(test)} test pairs has at most {length} tokens a side")
    return Dataset(
        *_tensors(kept, length),
        *_tensors(tested, length),
        classes=len(subwords),
    )


Tokens = tuple[list[int], list[int]]
_ENCODED_TOGETHER = 1000  # pairs; those behind the last one that is kept are not encoded


def _fitting(pairs: Sequence[Pair], subwords: Subwords, length: int) -> Iterator[Tokens]:
    """Tokens of the pairs that leave room for one more on both sides."""
    for start in range(0, len(pairs), _ENCODED_TOGETHER):
        part = pairs[start : start + _ENCODED_TOGETHER]
        sources = subwords.encode([pair.source for pair in part])
        targets = subwords.encode([pair.target for pair in part])
        for source, target in zip(sources, targets, strict=True):
            if max(len(source), len(target)) < length:
                yield source, target


def _tensors(pairs: Sequence[Tokens], length: int) -> tuple[Tensor, Tensor]:
    inputs = torch.full((len(pairs), 2, length), PADDING)
    outputs = torch.full((len(pairs), length), IGNORED)
    for row, (source, target) in enumerate(pairs):
        inputs[row, 0, : len(source) + 1] = torch.tensor([*source, END])
        inputs[row, 1, : len(target) + 1] = torch.tensor([START, *target])
        outputs[row, : len(target) + 1] = torch.tensor([*target, END])
    return inputs, outputs
