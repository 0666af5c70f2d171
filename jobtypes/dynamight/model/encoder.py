"""Image -> posterior of the latent, read in the molecule's own frame.

What a particle tells about its conformation is the difference between its image and the projection of the consensus. The
encoder back-projects that difference, filtered by the CTF, to fixed probe points in and around the molecule: a probe reads the
pixel that it projects to. The same part of the molecule thus meets the same input neurons whatever the viewing direction. Where
a particle has several images, a probe reads the sum of what they show, each by its signal.
"""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from jobtypes.dynamight.model.backend import Backend

# Finer detail of the difference images is mostly noise, which networks learn by heart instead of the motion.
FINEST_ANGSTROMS = 14.0


class Encoder(nn.Module):
    """Posterior mean and log variance from the probe readings.

    Parameters
    ----------
    probes_angstroms : (p, 3)
        Probe points.
    n_latent
        Latent dimensions d.
    width
        Neurons per hidden layer.
    """

    probes: Tensor

    def __init__(self, probes_angstroms: Tensor, n_latent: int, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("probes", probes_angstroms)
        self.network = nn.Sequential(nn.Linear(len(probes_angstroms) + 6, width), nn.ELU(), nn.Linear(width, width), nn.ELU())
        self.mean = nn.Linear(width, n_latent)
        self.log_variance = nn.Linear(width, n_latent)

    def forward(
        self, difference: Tensor, pixels_per_angstrom: float, matrices: Tensor, shifts: Tensor, backend: Backend
    ) -> tuple[Tensor, Tensor]:
        """Posterior of a batch.

        Parameters
        ----------
        difference : (b F, M, M)
            Filtered difference images, their standard deviation about 1, centred at pixel M // 2; F of each particle.
        pixels_per_angstrom
            Scale of these images.
        matrices : (b, 3, 3) or (b, F, 3, 3)
            Rotations of the poses; 0 for an image that is none.
        shifts : (b, 2) or (b, F, 2) A
            Shifts of the poses.
        backend
            What reads the images.

        Returns
        -------
        tuple
            Mean and log variance, each (b, d).
        """
        view = matrices[..., 2, :]  # (b, 3) viewing direction in the molecule's frame
        # its products are even in the direction, as a projection is
        products = (view[..., :, None] * view[..., None, :])[..., *torch.triu_indices(3, 3, device=view.device)]
        if matrices.ndim == 3:
            readings = self.read(difference, pixels_per_angstrom, matrices, shifts, backend)
        else:
            each = self.read(difference, pixels_per_angstrom, matrices.flatten(0, 1), shifts.flatten(0, 1), backend)
            images = view.square().sum((1, 2))[:, None]  # (b, 1) how many there are
            readings = each.unflatten(0, view.shape[:2]).sum(1) / images.sqrt()
            products = products.sum(1) / images
        hidden = self.network(torch.cat((readings, products), dim=1))
        # data only ever narrow the prior; without this bound one odd image can ask for any width, and upset everything
        return self.mean(hidden), -nn.functional.softplus(self.log_variance(hidden))

    @torch.no_grad()
    def read(self, difference: Tensor, pixels_per_angstrom: float, matrices: Tensor, shifts: Tensor, backend: Backend) -> Tensor:
        """(b, p) value of the difference images where each probe projects to. Not differentiable."""
        turns, origins = matrices[:, :2] * pixels_per_angstrom, shifts * pixels_per_angstrom + difference.shape[-1] // 2
        return backend.interpolate(difference, self.probes.T.contiguous(), turns, origins)


def probe_points(positions: Tensor, spacing_angstroms: float, margin_angstroms: float) -> Tensor:
    """A body-centred grid of points within a margin of the Gaussians.

    Parameters
    ----------
    positions : (n, 3) A
        Gaussians, on the CPU.
    spacing_angstroms
        Edge of the cube that holds one point.
    margin_angstroms
        From the nearest Gaussian at most.

    Returns
    -------
    (p, 3) A
        Probe points.
    """
    low = positions.min(0).values - margin_angstroms
    high = positions.max(0).values + margin_angstroms
    edge = spacing_angstroms * 2 ** (1 / 3)  # two points per cubic cell
    axes = [torch.arange(float(a), float(b) + edge, edge) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes)
    grid = torch.cat((grid, grid + edge / 2))
    distance, _ = cKDTree(positions.numpy()).query(grid.numpy(), distance_upper_bound=margin_angstroms)
    return grid[torch.from_numpy(distance <= margin_angstroms)]
