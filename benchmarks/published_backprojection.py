"""The published deformable backprojection, written plainly in float32, as the baseline of `backprojection.py`.

Source: Schwab et al. 2024 (Nature Methods), as implemented for RELION 5: for every particle the inverse network is evaluated on a
grid of half the box, the image is smeared along the viewing direction, turned, warped and added; the squared transfer function
goes the same way, unwarped, and is transformed. Its work grows with N^3 for each particle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jobtypes.common.fourier import irfft2, rfft2, rfft3

N_FREQUENCIES, WIDTH, N_HIDDEN = 6, 96, 6


class InverseNetwork(nn.Module):
    """Displacement of points (m, 3), in box lengths, at one latent (d,): 36 + d inputs, 96 neurons, no biases."""

    def __init__(self, n_latent: int, box: int) -> None:
        super().__init__()
        exponent = 1 - torch.arange(N_FREQUENCIES) / (N_FREQUENCIES - 1)
        self.register_buffer("frequencies", (box / 2) ** exponent)
        layers: list[nn.Module] = [nn.Linear(6 * N_FREQUENCIES + n_latent, WIDTH, bias=False)]
        for _ in range(N_HIDDEN):
            layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.ELU()]
        self.network = nn.Sequential(*layers, nn.Linear(WIDTH, 3, bias=False), nn.ELU(), nn.Linear(3, 3, bias=False))

    def forward(self, points: Tensor, latent: Tensor) -> Tensor:
        """Displacements (m, 3)."""
        phase = points[:, :, None] * self.frequencies
        encoding = torch.cat((phase.sin(), phase.cos()), dim=2).flatten(1)
        return self.network(torch.cat((encoding, latent.expand(len(points), -1)), dim=1))


class PublishedBackprojection:
    """Sums of maps and weights, particle by particle.

    Parameters
    ----------
    box
        N.
    n_latent
        d.
    """

    def __init__(self, box: int, n_latent: int = 6) -> None:
        self.box = box
        self.network = InverseNetwork(n_latent, box).requires_grad_(False)
        axis = torch.linspace(-1, 1, box // 2)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        self.coarse = torch.stack((x, y, z), dim=-1).view(-1, 3)  # (m, 3)
        self.volume = torch.zeros(box, box, box)
        self.weight = torch.zeros(box, box, box // 2 + 1)

    def add(self, image: Tensor, ctf: Tensor, matrix: Tensor, latent: Tensor) -> None:
        """Add one particle: image (N, N), ctf (N, N // 2 + 1), pose (3, 3), latent (d,)."""
        n = self.box
        moved = self.coarse - self.network(self.coarse / 2, latent)  # first order in the displacement
        grid = moved.view(n // 2, n // 2, n // 2, 3).permute(3, 0, 1, 2)[None]
        grid = nn.functional.interpolate(grid, size=(n, n, n), mode="trilinear").permute(0, 2, 3, 4, 1)
        filtered = irfft2(rfft2(image[None]) * ctf, n)[0]
        turned = turn(filtered.expand(n, n, n), matrix)
        self.volume += nn.functional.grid_sample(turned[None, None], grid, align_corners=True)[0, 0]
        kernel = irfft2(ctf[None].to(torch.complex64), n)[0]
        self.weight += rfft3(turn(kernel.expand(n, n, n), matrix)).real.square()


def turn(volume: Tensor, matrix: Tensor) -> Tensor:
    """Map (N, N, N) read at A x."""
    n = volume.shape[0]
    grid = nn.functional.affine_grid(torch.cat((matrix, torch.zeros(3, 1)), dim=1)[None], [1, 1, n, n, n], align_corners=False)
    return nn.functional.grid_sample(volume[None, None], grid, align_corners=False)[0, 0]
