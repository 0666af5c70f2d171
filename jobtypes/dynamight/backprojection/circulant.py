"""The circulant nearest to the convolution whose padded spectrum is given: what preconditions it."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import irfft3, rfft3


def optimal_circulant(kernel_spectrum: Tensor, box: int) -> Tensor:
    """Eigenvalues (N, N, N // 2 + 1), >= 0, of the circulant on the box N that lies nearest to the convolution.

    Source: T. Chan 1988; along each axis c_j = ((N - j) t_j + j t_(j - N)) / N.
    """
    size = kernel_spectrum.shape[0]
    kernel = irfft3(torch.complex(kernel_spectrum, torch.zeros_like(kernel_spectrum)), size)
    steps = torch.arange(size, device=kernel.device) - size // 2
    share = (1 - steps.abs() / box).clamp_min(0)
    for axis in range(3):
        kernel = kernel * share.view([-1 if a == axis else 1 for a in range(3)])
        folded = kernel.new_zeros([box if a == axis else n for a, n in enumerate(kernel.shape)])
        # the centred circulant: step s sits at voxel N // 2 + s of the box
        kernel = folded.index_add(axis, (steps + box // 2) % box, kernel)
    return rfft3(kernel).real.clamp_min(0)
