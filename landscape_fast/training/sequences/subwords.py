"""A joint subword vocabulary, learned from the training pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

PADDING, START, END = 0, 1, 2
_SPECIAL = ("<pad>", "<s>", "</s>")
_SMALLEST = len(_SPECIAL) + 256  # every byte has a token, so no text is unknown


class Subwords:
    """Byte-pair encoding of bytes, one vocabulary for both languages.

    Tokens 0, 1 and 2 are padding, start and end; 256 stand for bytes; the rest are the most
    frequent merges. The same sentences in the same order give the same vocabulary. Nothing is
    downloaded, and nothing is written to disk.

    Args:
        sentences: To learn from.
        size: Tokens in all, the special ones included. Texts with fewer merges give fewer.

    Raises:
        ImportError: The library ``tokenizers`` is not installed.
        ValueError: ``size`` is below 259.

    References:
        Sennrich, Haddow and Birch (2016), doi:10.18653/v1/P16-1162.

    Example:
        >>> subwords = Subwords(["a small example"] * 2, size=280)
        >>> subwords.decode(subwords.encode(["a small example"])[0])
        'a small example'
    """

    def __init__(self, sentences: Iterable[str], *, size: int) -> None:
        if size < _SMALLEST:
            raise ValueError(
                f"size must be at least {_SMALLEST}, one for each byte and {len(_SPECIAL)} "
                f"special tokens, got {size}"
            )
        try:
            from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        except ImportError as error:
            raise ImportError(
                "sentences are cut by the library tokenizers: pip install 'landscape_fast[text]'"
            ) from error
        self._tokenizer: Any = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        self._tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=list(_SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self._tokenizer.train_from_iterator(sentences, trainer)
        # A text may contain the name of a special token; it is no special token there.
        self._tokenizer.encode_special_tokens = True

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Tokens of each sentence, without start and end."""
        return [found.ids for found in self._tokenizer.encode_batch(sentences)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ``tokens``; special ones are left out."""
        return self._tokenizer.decode(tokens, skip_special_tokens=True).strip()
