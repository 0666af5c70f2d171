"""Matrix products in which every number counts in full.

A GPU may be told, by its user or by the container that it runs in, to round what goes into its float32 matrix products to ten
bits (TF32). Sums of networks bear that. Phases and places do not: a CTF would be off by 0.3, a place by a tenth of a pixel.
"""

from __future__ import annotations

from functools import reduce

from torch import Tensor


def product_in_full(left: Tensor, right: Tensor) -> Tensor:
    """Product of matrices (..., m, k) and (..., k, n) of a few k, added up term by term: (..., m, n)."""
    terms = [(left[..., :, j, None], right[..., j, None, :]) for j in range(left.shape[-1])]
    first, *others = terms
    return reduce(lambda total, term: total.addcmul(*term), others, first[0] * first[1])
