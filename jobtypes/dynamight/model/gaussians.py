"""The consensus model of one half set: Gaussians in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GaussianModel(nn.Module):
    """A density as a sum of Gaussians.

    Parameters
    ----------
    positions_angstroms : (n, 3)
        Centres from the box centre, order x y z.
    amplitude
        Integral of each Gaussian at the start, in units of image density x pixels.
    width_angstroms
        Standard deviation at the start.
    n_widths
        Number of different widths. With more than one, each Gaussian shares its amplitude among them in a learned proportion.
    """

    def __init__(self, positions_angstroms: Tensor, amplitude: float, width_angstroms: float, n_widths: int = 1) -> None:
        super().__init__()
        n = len(positions_angstroms)
        self.positions = nn.Parameter(positions_angstroms.clone())  # (n, 3)
        self.raw_amplitudes = nn.Parameter(torch.zeros(n, dtype=positions_angstroms.dtype))
        self.log_scale = nn.Parameter(torch.tensor(math.log(amplitude), dtype=positions_angstroms.dtype))
        spread = torch.linspace(-0.5, 0.5, n_widths) if n_widths > 1 else torch.zeros(1)
        self.log_widths = nn.Parameter((math.log(width_angstroms) + spread).to(positions_angstroms.dtype))  # (n_widths,)
        self.width_logits = nn.Parameter(torch.zeros(n_widths, n, dtype=positions_angstroms.dtype))

    @property
    def amplitudes(self) -> Tensor:
        """(n,) positive integrals of the Gaussians."""
        return self.log_scale.exp() * nn.functional.softplus(self.raw_amplitudes) / math.log(2.0)

    @torch.no_grad()
    def multiply(self, members: Tensor, factor: float | Tensor) -> None:
        """Multiply the amplitudes of some Gaussians (n,), bool, by one factor or by one each."""
        raised = nn.functional.softplus(self.raw_amplitudes[members]) * factor
        self.raw_amplitudes[members] = raised + torch.log(-torch.expm1(-raised))  # inverse of softplus

    @property
    def widths_angstroms(self) -> Tensor:
        """(n_widths,) standard deviations."""
        return self.log_widths.exp()

    @property
    def mean_widths_angstroms(self) -> Tensor:
        """(n,) standard deviation of each Gaussian, the mean over its widths by their shares."""
        return self.widths_angstroms @ self.width_logits.softmax(dim=0)

    def class_amplitudes(self) -> Tensor:
        """(n_widths, n) share of each Gaussian's amplitude that has each width."""
        return self.amplitudes * self.width_logits.softmax(dim=0)

    def transfer(self, squared_frequencies: Tensor) -> Tensor:
        """Fourier transform of a unit Gaussian of each width: (n_widths, q) at squared frequencies (q,) in 1/A^2."""
        exponent = -2 * math.pi**2 * self.widths_angstroms.square()[:, None] * squared_frequencies
        return exponent.exp()


def seed_positions(
    density: Tensor, lowest: float, n_gaussians: int, pixel_size_angstroms: float, generator: torch.Generator
) -> Tensor:
    """Draw Gaussian centres from the voxels of a map above a level, in proportion to their density.

    Parameters
    ----------
    density : (N, N, N)
        Map, order z y x.
    lowest
        Density, not negative, up to which no Gaussian is placed.
    n_gaussians
        Number of centres n.
    pixel_size_angstroms
        A per voxel.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    (n, 3) A
        Positions from the box centre (voxel N // 2), order x y z, spread evenly inside each voxel.
    """
    box = density.shape[0]
    weight = torch.where(density > lowest, density, density.new_zeros(())).flatten().double()
    cumulative = weight.cumsum(0)
    # stratified draws cover the density more evenly than independent ones
    quantiles = (
        torch.arange(n_gaussians, dtype=torch.float64) + torch.rand(n_gaussians, generator=generator, dtype=torch.float64)
    ) / n_gaussians
    voxel = torch.searchsorted(cumulative, quantiles * cumulative[-1]).clamp(max=weight.numel() - 1)
    zyx = torch.stack((voxel // box**2, voxel // box % box, voxel % box), dim=1).float()
    zyx = zyx + torch.rand(n_gaussians, 3, generator=generator) - 0.5
    return (zyx.flip(1) - box // 2) * pixel_size_angstroms


def automatic_threshold(density: Tensor, inside: Tensor | None = None) -> float:
    """Density that separates molecule from solvent by Otsu's criterion, on positive voxels (inside a mask where given).

    Otsu's criterion (1979) takes the level that maximises the variance between the two classes.
    """
    values = density[density > 0] if inside is None else density[(density > 0) & inside]
    values = values.flatten().double().sort().values
    n = len(values)
    if n < 2:
        return 0.0
    below = torch.arange(1, n, dtype=torch.float64)
    sums = values.cumsum(0)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / (n - below)
    between = below * (n - below) * (mean_above - mean_below).square()
    return float(values[between.argmax()])
