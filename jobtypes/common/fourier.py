"""Fourier transforms of centred images and maps, shells and FSC; the only caller of torch.fft.

Conventions (zero frequency in the corner, phases counted from voxel N // 2, no normalisation) are those of `conventions`.
Everything is differentiable, works on any device and keeps the precision of its input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jobtypes.common.products import product_in_full
from relion_jobs.contract.errors import UserError

_IMAGE_AXES = (-2, -1)
_VOLUME_AXES = (-3, -2, -1)


def rfft2(images: Tensor) -> Tensor:
    """Transform real images, centre at pixel N // 2, into half-plane spectra.

    Parameters
    ----------
    images : (..., N, N) real

    Returns
    -------
    (..., N, N // 2 + 1) complex, zero frequency at [0, 0]; its value there is the sum of the image.
    """
    _check_cubic(images, _IMAGE_AXES)
    spectra: Tensor = torch.fft.rfftn(torch.fft.ifftshift(images, dim=_IMAGE_AXES), dim=_IMAGE_AXES)
    return spectra


def irfft2(spectra: Tensor, box: int) -> Tensor:
    """Invert `rfft2`: (..., N, N // 2 + 1) complex -> (..., N, N) real, N = `box`."""
    _check_half(spectra, box, _IMAGE_AXES)
    images: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectra, s=(box, box), dim=_IMAGE_AXES), dim=_IMAGE_AXES)
    return images


def rfft2_columns(images: Tensor, n_columns: int, first_row: int = 0) -> Tensor:
    """Transform real images, phases counted from the corner, into the first columns kx = 0 .. of the half plane.

    Parameters
    ----------
    images : (..., H, N) real
        Some rows of images (..., N, N); in the others there is nothing.
    n_columns
        At most (N + 1) // 2, so none is its own conjugate but the first; the others are never computed.
    first_row
        Of those H.

    Returns
    -------
    (..., N, n_columns) complex
    """
    height, box = images.shape[-2:]
    if not 0 <= first_row <= box - height:
        raise ValueError(f"{height} rows from row {first_row} are more than the {box} of an image as wide")
    columns: Tensor = torch.fft.rfft(images, dim=-1)[..., :n_columns]
    if height < box:
        columns = torch.nn.functional.pad(columns, (0, 0, first_row, box - height - first_row))
    columns = torch.fft.fft(columns, dim=-2)
    return columns


def irfft2_columns(columns: Tensor, box: int, rows: slice = slice(None)) -> Tensor:
    """Sum the plane waves of the first columns of a half plane and their conjugates: `rfft2_columns` inverted, times N^2.

    With the columns but the first halved it is the adjoint of `rfft2_columns` between real vector spaces.

    Parameters
    ----------
    columns : (..., N, n_columns) complex
    box
        N.
    rows
        Those that are wanted, H of them.

    Returns
    -------
    (..., H, N) real
    """
    lines = torch.fft.ifft(columns, dim=-2, norm="forward")[..., rows, :]
    images: Tensor = torch.fft.irfft(lines, n=box, dim=-1, norm="forward")
    return images


def fast_size(at_least: int) -> int:
    """Return the smallest even size that is a product of 2, 3 and 5 and not below `at_least`: quick to transform."""
    size = at_least + at_least % 2
    while _without_small_factors(size) != 1:
        size += 2
    return size


def _without_small_factors(number: int) -> int:
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number


def rfft3(volumes: Tensor) -> Tensor:
    """Transform real volumes (..., N, N, N) [z, y, x], centre at voxel N // 2, into (..., N, N, N // 2 + 1)."""
    _check_cubic(volumes, _VOLUME_AXES)
    spectra: Tensor = torch.fft.rfftn(torch.fft.ifftshift(volumes, dim=_VOLUME_AXES), dim=_VOLUME_AXES)
    return spectra


def irfft3(spectra: Tensor, box: int) -> Tensor:
    """Invert `rfft3`: (..., N, N, N // 2 + 1) complex -> (..., N, N, N) real, N = `box`."""
    _check_half(spectra, box, _VOLUME_AXES)
    volumes: Tensor = torch.fft.fftshift(torch.fft.irfftn(spectra, s=(box, box, box), dim=_VOLUME_AXES), dim=_VOLUME_AXES)
    return volumes


def fft_lines(lines: Tensor, size: int) -> Tensor:
    """Transform complex lines (..., n), padded with 0 to `size`, phases counted from their first number: (..., size)."""
    transformed: Tensor = torch.fft.fft(lines, n=size)
    return transformed


def ifft_lines(spectra: Tensor) -> Tensor:
    """Invert `fft_lines`, without cropping."""
    lines: Tensor = torch.fft.ifft(spectra)
    return lines


def rfft_lines(lines: Tensor, size: int) -> Tensor:
    """Transform real lines (..., n), padded with 0 to `size`: (..., size // 2 + 1) complex."""
    transformed: Tensor = torch.fft.rfft(lines, n=size)
    return transformed


def irfft_lines(spectra: Tensor, size: int) -> Tensor:
    """Invert `rfft_lines`, without cropping: (..., size // 2 + 1) complex -> (..., size)."""
    lines: Tensor = torch.fft.irfft(spectra, n=size)
    return lines


def frequencies_2d(
    box: int, pixel_size_angstroms: float, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Frequencies of a half-plane spectrum.

    Returns
    -------
    (N, N // 2 + 1, 2) in 1/angstrom, last axis (kx, ky)
    """
    full, half = _axis_frequencies(box, pixel_size_angstroms, device, dtype)
    ky, kx = torch.meshgrid(full, half, indexing="ij")
    return torch.stack((kx, ky), dim=-1)


def frequencies_3d(
    box: int, pixel_size_angstroms: float, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Frequencies of a half-space spectrum: (N, N, N // 2 + 1, 3) in 1/angstrom, last axis (kx, ky, kz)."""
    full, half = _axis_frequencies(box, pixel_size_angstroms, device, dtype)
    kz, ky, kx = torch.meshgrid(full, full, half, indexing="ij")
    return torch.stack((kx, ky, kz), dim=-1)


def shells_2d(box: int, *, device: torch.device | str | None = None) -> Tensor:
    """Shell of each pixel of a half-plane spectrum: round(N |k|), (N, N // 2 + 1) int64; corners lie beyond N // 2."""
    cycles: Tensor = frequencies_2d(box, 1.0 / box, device=device, dtype=torch.float64).norm(dim=-1)
    return cycles.round().long()


def shells_3d(box: int, *, device: torch.device | str | None = None) -> Tensor:
    """Shell of each voxel of a half-space spectrum: round(N |k|), (N, N, N // 2 + 1) int64; corners lie beyond N // 2."""
    cycles: Tensor = frequencies_3d(box, 1.0 / box, device=device, dtype=torch.float64).norm(dim=-1)
    return cycles.round().long()


def half_plane_weights(
    box: int, ndim: int, *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """How many terms of the full transform each term of the half transform stands for.

    Parameters
    ----------
    box
        N.
    ndim
        2 for images, 3 for volumes.

    Returns
    -------
    (N, N // 2 + 1) or (N, N, N // 2 + 1): 1 on the column kx = 0 and, for an even box, on the Nyquist column; 2 elsewhere.
    They sum to N**ndim.
    """
    if ndim not in (2, 3):
        raise ValueError(f"ndim is {ndim}, expected 2 or 3")
    row = torch.full((box // 2 + 1,), 2.0, device=device, dtype=dtype)
    row[0] = 1
    if box % 2 == 0:
        row[-1] = 1
    return row.expand((box,) * (ndim - 1) + row.shape).contiguous()


def shell_average(values: Tensor, shells: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean of `values` over each shell up to N // 2.

    Parameters
    ----------
    values : (..., *S) real, S the shape of `shells`
    shells : S int64, from `shells_2d` or `shells_3d`
    weights : broadcastable to S, default `half_plane_weights`; a shell without weight gives 0

    Returns
    -------
    (..., N // 2 + 1)
    """
    if weights is None:
        weights = half_plane_weights(shells.shape[0], shells.ndim, device=values.device, dtype=values.dtype)
    weights = weights.to(values.dtype).expand(shells.shape)
    totals = shell_sum(values * weights, shells)
    counts = shell_sum(weights, shells)
    return torch.where(counts > 0, totals / counts.clamp_min(torch.finfo(values.dtype).tiny), torch.zeros_like(totals))


def shell_sum(values: Tensor, shells: Tensor) -> Tensor:
    """Sum of `values` (..., *S) over each shell of `shells` (S int64) up to N // 2: (..., N // 2 + 1). No weights are applied."""
    if values.shape[values.ndim - shells.ndim :] != shells.shape:
        raise ValueError(f"values have shape {tuple(values.shape)}, expected (..., {', '.join(map(str, shells.shape))})")
    n_shells = shells.shape[0] // 2 + 1
    index = shells.reshape(-1).clamp_max(n_shells)  # corners go to one more bin, which is dropped
    flat = values.reshape(*values.shape[: values.ndim - shells.ndim], -1)
    totals = flat.new_zeros(*flat.shape[:-1], n_shells + 1)
    return totals.index_add(-1, index, flat)[..., :n_shells]


def crop_spectrum_3d(spectra: Tensor, box: int) -> Tensor:
    """Keep the low frequencies of volumes: (..., N, N, N // 2 + 1) -> (..., M, M, M // 2 + 1), M = `box` <= N.

    Values are kept, so grey values of the smaller map are (N / M)**3 times larger; multiply by (M / N)**3 to keep them instead.
    On the Nyquist planes of an even M the values of +M/2 are dropped in favour of those of -M/2, as everywhere in a discrete
    transform.

    Raises
    ------
    ValueError
        M is above N.
    """
    large = spectra.shape[-2]
    if box > large:
        raise ValueError(f"cannot crop a spectrum of box {large} to box {box}: expected {large} at most")
    row = torch.arange(box, device=spectra.device)
    rows = torch.where(row < (box + 1) // 2, row, row + (large - box))
    return spectra[..., rows, :, : box // 2 + 1][..., rows, :]


def convolve_padded(volume: Tensor, kernel_spectrum: Tensor) -> Tensor:
    """Convolve a map with a kernel up to twice as long, without wrapping round.

    Each axis is padded as late and cropped as early as it can be, which takes half the time of padding first.

    Parameters
    ----------
    volume : (N, N, N)
    kernel_spectrum : (2N, 2N, N + 1) real or complex
        From `rfft3` of the kernel, whose origin is at voxel N of 2N.

    Returns
    -------
    (N, N, N)
    """
    box, size = volume.shape[-1], kernel_spectrum.shape[0]
    _check_cubic(volume, _VOLUME_AXES)
    _check_half(kernel_spectrum, size, _VOLUME_AXES)
    spectrum = torch.fft.rfft(volume, n=size, dim=2)
    spectrum = torch.fft.fft(torch.fft.fft(spectrum, n=size, dim=1), n=size, dim=0)
    spectrum *= kernel_spectrum
    spectrum = torch.fft.ifft(torch.fft.ifft(spectrum, dim=0)[:box], dim=1)[:, :box]
    convolved: Tensor = torch.fft.irfft(spectrum, n=size, dim=2)[..., :box]
    return convolved


def shift_phases(shifts_angstroms: Tensor, frequencies: Tensor) -> Tensor:
    """Factors on spectra that move images by +shift.

    Parameters
    ----------
    shifts_angstroms : (b, D), x first
    frequencies : (*S, D) 1/angstrom, from `frequencies_2d` (D = 2) or `frequencies_3d` (D = 3)

    Returns
    -------
    (b, *S) complex, exp(-2 pi i k.s)
    """
    if shifts_angstroms.ndim != 2 or shifts_angstroms.shape[-1] != frequencies.shape[-1]:
        raise ValueError(f"shifts have shape {tuple(shifts_angstroms.shape)}, expected (b, {frequencies.shape[-1]})")
    turns = product_in_full(shifts_angstroms, frequencies.to(shifts_angstroms.dtype).flatten(0, -2).T)
    angles = turns.unflatten(1, frequencies.shape[:-1]) * (-2 * math.pi)
    return torch.polar(torch.ones_like(angles), angles)


def fsc(volume_a: Tensor, volume_b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Fourier shell correlation of two volumes, or ring correlation of two images.

    Parameters
    ----------
    volume_a, volume_b : (N, N, N) or (N, N) real
    mask : same shape, multiplied to both first

    Returns
    -------
    (N // 2 + 1,) in -1..1; 0 in a shell where one of the two has no power
    """
    if volume_a.shape != volume_b.shape or volume_a.ndim not in (2, 3):
        raise ValueError(
            f"volumes have shapes {tuple(volume_a.shape)} and {tuple(volume_b.shape)}, expected the same cube or square"
        )
    if mask is not None:
        volume_a, volume_b = volume_a * mask, volume_b * mask
    transform, shells_of = (rfft3, shells_3d) if volume_a.ndim == 3 else (rfft2, shells_2d)
    a, b = transform(volume_a), transform(volume_b)
    shells = shells_of(volume_a.shape[-1], device=a.device)
    weights = half_plane_weights(volume_a.shape[-1], volume_a.ndim, device=a.device, dtype=volume_a.dtype)
    cross = shell_sum((a * b.conj()).real * weights, shells)
    power = (shell_sum(a.abs().square() * weights, shells) * shell_sum(b.abs().square() * weights, shells)).sqrt()
    return torch.where(power > 0, cross / power.clamp_min(torch.finfo(power.dtype).tiny), torch.zeros_like(cross))


def resolution_at(curve: Tensor, box: int, pixel_size_angstroms: float, threshold: float = 0.143) -> float:
    """Resolution at which an FSC curve first falls below a threshold, interpolated between shells.

    Parameters
    ----------
    curve : (N // 2 + 1,)
    box
        N.
    pixel_size_angstroms
        Pixel size.
    threshold
        0.143 for half maps, 0.5 against a known map.

    Returns
    -------
    Angstroms; Nyquist (N pixels / (N // 2)) if the curve never falls below it, the box length if it does in the first shell.
    """
    values = [float(v) for v in curve]
    if len(values) != box // 2 + 1:
        raise ValueError(f"the curve has {len(values)} shells, expected {box // 2 + 1} for box {box}")
    length = box * pixel_size_angstroms
    for shell in range(1, len(values)):
        if not values[shell] >= threshold:  # a NaN counts as lost
            before = values[shell - 1] if shell > 1 else 1.0
            step = (before - threshold) / (before - values[shell]) if math.isfinite(values[shell]) else 0.0
            return length / max(shell - 1 + step, 1.0)
    return length / (len(values) - 1)


def _axis_frequencies(
    box: int, pixel_size_angstroms: float, device: torch.device | str | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Frequencies along a full axis (N,) and along the half axis (N // 2 + 1,), 1/angstrom."""
    if box < 2 or not pixel_size_angstroms > 0:
        raise UserError(
            f"box {box} with pixel size {pixel_size_angstroms} A has no Fourier transform; expected a box of at least 2 and a "
            f"positive pixel size."
        )
    full = torch.fft.fftfreq(box, device=device, dtype=torch.float64) / pixel_size_angstroms
    half = torch.fft.rfftfreq(box, device=device, dtype=torch.float64) / pixel_size_angstroms
    return full.to(dtype), half.to(dtype)


def _check_cubic(array: Tensor, axes: tuple[int, ...]) -> None:
    if array.ndim < len(axes) or len({array.shape[axis] for axis in axes}) != 1:
        raise ValueError(f"array has shape {tuple(array.shape)}, expected (..., {', '.join('N' * len(axes))})")


def _check_half(spectra: Tensor, box: int, axes: tuple[int, ...]) -> None:
    expected = (*(box,) * (len(axes) - 1), box // 2 + 1)
    if spectra.shape[-len(axes) :] != expected:
        raise ValueError(
            f"spectrum has shape {tuple(spectra.shape)}, expected (..., {', '.join(map(str, expected))}) for box {box}"
        )
