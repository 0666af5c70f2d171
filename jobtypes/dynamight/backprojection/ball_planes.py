"""Transforms of the ball of Fourier points that slices reach, plane by plane.

A plane of equal kx is transformed while it stays in a core's own cache, each axis is padded as late and cropped as early as it
can be, and columns without points are left out: a convolution (`compiled_loops.convolve`) takes the transforms that it needs and
three passes over memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from jobtypes.common.fourier import ifft_lines, irfft_lines
from jobtypes.dynamight.backprojection.ball import Ball

_PLANES = 8  # moved together between the layouts of maps and of planes: so many complex numbers fill a line of the cache

Keep = Callable[[Tensor], Tensor]  # (..., 2N) -> (..., N): what is wanted of lines


def planes(spectrum: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Planes (N, N) along z, y of a spectrum (N, N, N + 1) along z, y, kx, which takes what they are changed to."""
    for first in range(0, spectrum.shape[-1], _PLANES):
        part = spectrum[..., first : first + _PLANES]
        several = part.permute(2, 0, 1).contiguous()
        yield from enumerate(several, start=first)
        part.copy_(several.permute(1, 2, 0))


def inverse_plane(columns: Tensor, ball: Ball, kx: int, keep: Keep) -> Tensor:
    """Inverse transform of a plane (columns, 2N) along ky and kz into (N, N) along z and y."""
    lines = ball.all_columns(keep(ifft_lines(columns)).T, kx)
    return keep(ifft_lines(lines))


def inverse_transform(values: Tensor, ball: Ball, keep: Keep) -> Tensor:
    """See `GridBackend`."""
    spectrum = values.new_empty(ball.box, ball.box, ball.box + 1)
    for kx, plane in planes(spectrum):
        plane.copy_(inverse_plane(ball.plane(values, kx), ball, kx, keep))
    return keep(irfft_lines(spectrum, ball.size))
