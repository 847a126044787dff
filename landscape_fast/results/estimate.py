"""What work will take, measured on a piece of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time and memory of products that have not been made yet."""

    seconds: float  # for all of them, set-up included where it is still to come
    bytes: int  # held while they run: data, values kept between products, one block and its images
    peak_bytes: int | None  # of the device during one block, where the device can tell (CUDA)
    products: int  # vectors that were asked about
    block: int  # vectors multiplied together
    seconds_per_block: float  # measured
