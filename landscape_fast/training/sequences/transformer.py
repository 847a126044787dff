"""The encoder-decoder Transformer of the study, by embedding dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape_fast.arguments import require_choice, require_whole
from landscape_fast.training.sequences.subwords import PADDING


def transformer(
    width: int = 512,
    *,
    classes: int = 4000,
    encoder_layers: int = 6,
    decoder_layers: int = 6,
    head_width: int = 16,
    feed_forward: int = 4,
    norm: Literal["pre", "post"] = "pre",
    tied: bool = True,
) -> nn.Module:
    r"""Build a Transformer that predicts every next token of a translation.

    It takes integer tokens (N, 2, T), source and shifted target as
    :func:`~landscape_fast.training.sequences.translation.translation` makes them, and returns
    logits (N, classes, T), so that cross-entropy with targets (N, T) is the loss per token. Source
    positions with padding are attended to by none; target positions see themselves and earlier
    ones. Embeddings are shared by source and target, positions are sines and cosines.

    Parameters: ``width * classes``, twice that if not ``tied``, and with E and D layers, w the
    width and f ``feed_forward``, :math:`E ((4 + 2 f) w^2 + (9 + f) w) + D ((8 + 2 f) w^2 + (15 + f)
    w)`, and ``4 * width`` of the last norms with ``norm="pre"``.

    Of the network of Yang et al. (2021) six layers and the embedding dimension as width, up to 512,
    are known to us; heads, feed-forward width, place of the norms, dropout and initialisation are
    not. Without ``norm="post"`` and 64 as ``head_width`` it differs in these from Vaswani et al.
    (2017). There is no dropout, so that the loss trained is the loss measured; layers start as
    torch's do.

    Args:
        width: Embedding dimension; even.
        classes: Vocabulary, padding and other special tokens included.
        encoder_layers: Layers over the source.
        decoder_layers: Layers over the target, each of which attends to the last encoder layer.
        head_width: Dimension of one attention head, so there are ``width / head_width`` of them;
            at most one where it exceeds ``width``.
        feed_forward: Width of the hidden layer after attention, in units of ``width``.
        norm: LayerNorm before each sublayer, and once at the end, or after each shortcut, which
            needs a slow start of the learning rate (Xiong et al.).
        tied: Whether the output layer has the embeddings as weights.

    Raises:
        ValueError: A number is below 1, ``width`` is odd or no multiple of ``head_width``, or
            ``norm`` is neither.

    References:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin (2017),
        arXiv:1706.03762. Xiong et al. (2020), arXiv:2002.04745, for the place of the norms.

    Example:
        >>> import torch
        >>> model = transformer(width=8, classes=20, encoder_layers=1, decoder_layers=1)
        >>> model(torch.ones(3, 2, 5, dtype=torch.long)).shape
        torch.Size([3, 20, 5])
    """
    require_whole(
        1,
        width=width,
        classes=classes,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        head_width=head_width,
        feed_forward=feed_forward,
    )
    require_choice(("pre", "post"), norm=norm)
    if width % 2:
        raise ValueError(f"width must be even, for sines and cosines of positions, got {width}")
    if width % min(head_width, width):
        raise ValueError(f"width must be a multiple of head_width {head_width}, got {width}")

    def layers(count: int, *, attends: bool) -> nn.ModuleList:
        heads = width // min(head_width, width)
        made = (
            _Layer(width, heads, feed_forward * width, attends=attends, before=norm == "pre")
            for _ in range(count)
        )
        return nn.ModuleList(made)

    return _Transformer(
        width,
        classes,
        layers(encoder_layers, attends=False),
        layers(decoder_layers, attends=True),
        before=norm == "pre",
        tied=tied,
    )


class _Embedding(nn.Embedding):
    """Tokens of unit length in the mean, also where they serve as output weights."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=self.embedding_dim**-0.5)


class _Attention(nn.Module):
    """Scaled dot products of several heads (Vaswani et al., 2017, section 3.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, seen: Tensor | None) -> Tensor:
        """``seen`` (N, 1, 1, T) says which keys may be attended to; None those up to the query."""
        q, k, v = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(queries), self.key(keys), self.value(keys))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """Attention to itself, perhaps to a source, and a feed-forward part, each with a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int, *, attends: bool, before: bool) -> None:
        super().__init__()
        self.before = before
        self.attention = _Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        if attends:
            self.source_attention = _Attention(width, heads)
            self.source_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, seen: Tensor, source: Tensor | None = None) -> Tensor:
        """A layer over ``source`` where it is given, else one of the source itself."""
        own = seen if source is None else None
        x = self._add(x, self.attention_norm, lambda y: self.attention(y, y, own))
        if source is not None:
            x = self._add(x, self.source_norm, lambda y: self.source_attention(y, source, seen))
        return self._add(x, self.feed_forward_norm, self.feed_forward)

    def _add(self, x: Tensor, norm: nn.Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        return x + part(norm(x)) if self.before else norm(x + part(x))


class _Transformer(nn.Module):
    def __init__(
        self,
        width: int,
        classes: int,
        encoder: nn.ModuleList,
        decoder: nn.ModuleList,
        *,
        before: bool,
        tied: bool,
    ) -> None:
        super().__init__()
        self.embedding = _Embedding(classes, width)
        self.encoder, self.decoder = encoder, decoder
        # After-norm layers end normalised.
        self.encoder_norm = nn.LayerNorm(width) if before else nn.Identity()
        self.decoder_norm = nn.LayerNorm(width) if before else nn.Identity()
        self.output = nn.Linear(width, classes, bias=False)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        source, target = tokens.unbind(1)
        seen = (source != PADDING)[:, None, None, :]
        x = self._embedded(source)
        for layer in self.encoder:
            x = layer(x, seen)
        memory = self.encoder_norm(x)
        # Padding of the target follows its last token, and later positions are never seen.
        x = self._embedded(target)
        for layer in self.decoder:
            x = layer(x, seen, memory)
        return self.output(self.decoder_norm(x)).transpose(1, 2)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Scaled embeddings with positions: (N, T, width)."""
        scaled = self.embedding(tokens) * self.embedding.embedding_dim**0.5
        return scaled + _positions(tokens.shape[1], scaled)


def _positions(length: int, like: Tensor) -> Tensor:
    """Sines, then cosines, of positions at wave lengths from 2 pi to 10,000 times that."""
    width = like.shape[-1]
    places = torch.arange(length, dtype=torch.float64, device=like.device)
    halves = torch.arange(0, width, 2, dtype=torch.float64, device=like.device)
    angles = places[:, None] * 10000.0 ** (-halves / width)
    return torch.cat([angles.sin(), angles.cos()], 1).to(like.dtype)
