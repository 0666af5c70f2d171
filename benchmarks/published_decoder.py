"""The published model of DynaMight, written plainly, as the baseline of `forward.py`.

Source: Schwab et al. 2024 (Nature Methods), as implemented for RELION 5: an image encoder of dense layers, a coordinate network
that is evaluated for every Gaussian of every particle, a bilinear splat and a Gaussian filter in Fourier space, poses that are
learned. Left out, in its favour: the three of its five graph terms that have no weight, float64 weights, full complex transforms,
statistics that it prints, and worker processes that it starts anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from measuring import Stopwatch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from jobtypes.common.fourier import frequencies_2d, rfft2, rfft3, shift_phases

N_FREQUENCIES = 10
WIDTH, N_HIDDEN = 32, 8


class PublishedDecoder(nn.Module):
    """Displacement of every Gaussian of every particle: 66 inputs, 32 neurons, 8 hidden layers, no biases."""

    def __init__(self, n_latent: int, box: int) -> None:
        super().__init__()
        exponent = 1 - torch.arange(N_FREQUENCIES) / (N_FREQUENCIES - 1)
        self.register_buffer("frequencies", (box / 2) ** exponent)
        self.first = nn.Linear(6 * N_FREQUENCIES + n_latent, WIDTH, bias=False)
        layers: list[nn.Module] = []
        for _ in range(N_HIDDEN):
            layers += [nn.Linear(WIDTH, WIDTH, bias=False), nn.ELU()]
        self.hidden = nn.Sequential(*layers, nn.Linear(WIDTH, 3, bias=False), nn.ELU(), nn.Linear(3, 3, bias=False))

    def forward(self, latent: Tensor, positions: Tensor) -> Tensor:
        """Displacements (b, n, 3) of positions (n, 3), in box lengths, at latents (b, d)."""
        phase = positions[:, :, None] * self.frequencies  # (n, 3, f)
        encoding = torch.cat((phase.sin(), phase.cos()), dim=2).flatten(1)  # (n, 6 f)
        b, n = len(latent), len(positions)
        inputs = torch.cat((encoding.expand(b, -1, -1), latent[:, None].expand(-1, n, -1)), dim=2)
        return self.hidden(self.first(inputs))


class PublishedModel(nn.Module):
    """Encoder, decoder and image formation of one half set.

    Parameters
    ----------
    positions
        (n, 3) in box lengths from the box centre.
    box
        N.
    n_latent
        d.
    """

    def __init__(self, positions: Tensor, box: int, n_latent: int) -> None:
        super().__init__()
        self.box = box
        self.encoder = nn.Sequential(
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear((box // 2) ** 2, 256), nn.ReLU(), nn.Linear(256, 128), nn.Tanh()
        )
        self.heads = nn.Linear(128, 2 * n_latent)
        self.decoder = PublishedDecoder(n_latent, box)
        self.positions = nn.Parameter(positions.clone())
        self.width_pixels = nn.Parameter(torch.tensor(box / 113))
        self.register_buffer("amplitudes", torch.ones(len(positions)))
        self.register_buffer("frequencies", frequencies_2d(box, 1.0))

    def project(self, positions: Tensor, matrices: Tensor, shifts: Tensor, watch: Stopwatch) -> Tensor:
        """Spectra (b, N, N // 2 + 1) of Gaussians at (b, n, 3), moved by (b, 2) pixels."""
        xy = positions @ matrices[:, :2].transpose(1, 2) * self.box + self.box // 2  # (b, n, 2) pixels
        images = splat(xy, self.amplitudes, self.box)
        with watch.part("FFT"):
            spectra = rfft2(images)
        spectra = spectra * torch.exp(-2 * math.pi**2 * self.width_pixels.square() * self.frequencies.square().sum(-1))
        return spectra * shift_phases(shifts, self.frequencies)

    def render(self) -> Tensor:
        """Spectrum of the consensus map, as it is written and compared after every epoch."""
        voxel = ((self.positions.detach() + 0.5) * self.box).round().long().clamp(0, self.box - 1)
        volume = torch.zeros((self.box,) * 3, device=voxel.device)
        return rfft3(volume.index_put_(tuple(voxel.flip(1).T), self.amplitudes, accumulate=True))


def splat(xy: Tensor, amplitudes: Tensor, box: int) -> Tensor:
    """Bilinear splat of (b, n, 2) pixel coordinates onto (b, N, N) images, differentiated by autograd."""
    corner = xy.detach().floor()
    fraction = xy - corner
    image = xy.new_zeros(len(xy), box * box)
    for dx in (0, 1):
        for dy in (0, 1):
            at = corner + torch.tensor((dx, dy), device=xy.device)
            inside = ((at >= 0) & (at < box)).all(-1)
            share = (fraction[..., 0] if dx else 1 - fraction[..., 0]) * (fraction[..., 1] if dy else 1 - fraction[..., 1])
            index = (at[..., 1] * box + at[..., 0]).long().clamp(0, box * box - 1)
            image = image.scatter_add(1, index, share * amplitudes * inside)
    return image.view(-1, box, box)


@dataclass
class PublishedBatch:
    """Images (b, N, N), CTF (b, N, N // 2 + 1), poses (b, 3, 3) and (b, 2) pixels that are learned, pairs (e, 2) of Gaussians."""

    images: Tensor
    ctf: Tensor
    matrices: Tensor
    shifts: Tensor
    edges: Tensor


def training_step(model: PublishedModel, optimizer: torch.optim.Optimizer, batch: PublishedBatch, watch: Stopwatch) -> None:
    """One step of the training. Calibration and validation do the same."""
    mean, log_variance, latent = encode(model, batch, watch)
    with watch.part("decoder"):
        moved = model.positions + model.decoder(latent, model.positions)
    with watch.part("projection"):
        predicted = model.project(moved, batch.matrices, batch.shifts, watch)
    with watch.part("loss and strain"):
        loss = (batch.ctf * predicted - rfft2(batch.images)).abs().square().mean()
        loss = loss - 0.5e-2 / model.box**2 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        apart = lengths(model.positions, batch.edges)
        now_apart = lengths(moved, batch.edges)
        loss = loss + (now_apart - apart).square().mean() + 0.01 * (apart.mean() - now_apart).clamp(min=0).mean()
    with watch.part("backward, optimiser"):
        optimizer.zero_grad(set_to_none=True)
        batch.matrices.grad = batch.shifts.grad = None
        loss.backward()
        optimizer.step()


def encode(model: PublishedModel, batch: PublishedBatch, watch: Stopwatch) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, log variance and a draw of the latents, (b, d) each."""
    with watch.part("encoder"):
        mean, log_variance = model.heads(model.encoder(batch.images[:, None])).chunk(2, dim=1)
        return mean, log_variance, mean + (0.5 * log_variance).exp() * torch.randn_like(mean)


@torch.no_grad()
def decode_only(model: PublishedModel, batch: PublishedBatch) -> None:
    """One batch of the pass that compares the two half sets' decoders."""
    watch = Stopwatch(batch.images.device)
    mean, _, _ = encode(model, batch, watch)
    moved = model.positions + model.decoder(mean, model.positions)
    model.project(moved, batch.matrices, batch.shifts, watch)


def lengths(positions: Tensor, edges: Tensor) -> Tensor:
    """Lengths (..., e) of pairs (e, 2) of points (..., n, 3)."""
    return (positions[..., edges[:, 0], :] - positions[..., edges[:, 1], :]).square().sum(-1).add(1e-12).sqrt()


def graph(positions: Tensor) -> Tensor:
    """Pairs (e, 2), both ways round, of points (n, 3) within one and a half mean distances to the second neighbour."""
    points = positions.detach().cpu().numpy()
    tree = cKDTree(points)
    reach = 1.5 * float(tree.query(points, k=3)[0][:, 1:].mean())
    pairs = tree.query_pairs(reach, output_type="ndarray")
    return torch.from_numpy(np.concatenate((pairs, pairs[:, ::-1]))).long().to(positions.device)
