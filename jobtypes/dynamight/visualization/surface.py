"""Shaded pictures of a map's surface, by casting rays: no OpenGL, no display."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS
from jobtypes.dynamight.visualization.rays import SurfaceRays

_GREY = 0.82
_BACKGROUND = np.array((1.0, 1.0, 1.0))


class SurfaceCamera:
    """An orthographic camera on a map.

    Parameters
    ----------
    rotation : (3, 3)
        Rows: the directions, in the map's frame, that point right, up and towards the viewer.
    centre_angstroms : (3,)
        Point in the middle of the picture.
    extent_angstroms
        Side of the square that it shows.
    pixels
        Side of the picture.
    """

    def __init__(self, rotation: Tensor, centre_angstroms: Tensor, extent_angstroms: float, pixels: int = 300) -> None:
        self.rotation, self.centre_angstroms = rotation.float(), centre_angstroms.float()
        self.extent_angstroms, self.pixels = extent_angstroms, pixels

    def with_pixels(self, pixels: int) -> SurfaceCamera:
        """Give the same view with another number of pixels."""
        return SurfaceCamera(self.rotation, self.centre_angstroms, self.extent_angstroms, pixels)

    def picture(
        self,
        volume: Tensor,
        pixel_size_angstroms: float,
        level: float,
        colour_points: Tensor | None = None,
        colours: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Draw the surface of `volume` (N, N, N) at a density.

        Parameters
        ----------
        volume : (N, N, N)
            Map.
        pixel_size_angstroms
            Its A per voxel.
        level
            Density of the surface.
        colour_points : (n, 3) A
            The surface takes the colour of the nearest of these points.
        colours : (n, 3)
            Their colours, 0 to 1. None: a light grey.

        Returns
        -------
        (pixels, pixels, 3)
            Red, green and blue, 0 to 1, on white.
        """
        nearest, seen, looks = self._cast(volume, pixel_size_angstroms, level)  # (p, p), (p, p), (p, p, 2)
        shade, gloss = looks.unbind(2)
        drawn = torch.nonzero(seen, as_tuple=True)
        base = np.full((len(drawn[0]), 3), _GREY)
        if colour_points is not None and colours is not None and len(base):
            base = self._coloured(nearest, colour_points, colours)[drawn[0].numpy(), drawn[1].numpy()]
        picture = np.broadcast_to(_BACKGROUND, (self.pixels, self.pixels, 3)).copy()
        of_drawn = [values[drawn].numpy()[:, None] for values in (shade, gloss, 1 - seen)]
        picture[drawn[0].numpy(), drawn[1].numpy()] = base * of_drawn[0] + of_drawn[1] + of_drawn[2] * _BACKGROUND
        return np.asarray(np.clip(picture, 0, 1))

    def _coloured(self, nearest: Tensor, points: Tensor, colours: NDArray[np.float64]) -> NDArray[np.float64]:
        """Colours (p, p, 3) of a surface at depths (p, p) in A: the mean of those of the four nearest points (n, 3) A.

        They change slowly, so that four pixels in a square have those of the place in front; where there is no surface, any.
        """
        front = torch.nn.functional.max_pool2d(nearest[None, None], 2, ceil_mode=True)[0, 0]
        there = torch.nonzero(torch.isfinite(front), as_tuple=True)
        up, right = (torch.nn.functional.avg_pool1d(along[None], 2, ceil_mode=True)[0] for along in self._rays(self.pixels))
        hits = torch.stack((right[there[1]], up[there[0]], front[there].float()), dim=1) @ self.rotation
        _, index = cKDTree(points.cpu().numpy()).query((hits + self.centre_angstroms).numpy(), k=4)
        found = np.zeros((*front.shape, 3))
        found[there[0].numpy(), there[1].numpy()] = colours[index].mean(1)
        return found.repeat(2, 0).repeat(2, 1)[: self.pixels, : self.pixels]

    def _cast(self, volume: Tensor, pixel_size_angstroms: float, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """What each of p x p pixels shows of the surface.

        Returns
        -------
        tuple
            Depth (p, p) in A, towards the viewer, of the part in front, -inf: background; share (p, p) of the pixel that it
            fills; and what `ray_loops.shade` makes of it, (p, p, 2). A pixel at an edge is the mean of four rays.
        """
        extent = self.extent_angstroms / pixel_size_angstroms
        coarse_side = min(int(np.ceil(extent)), 160)
        centre = self.centre_angstroms / pixel_size_angstroms + volume.shape[0] // 2
        rays = SurfaceRays(volume, level, self.rotation, centre, extent)

        def at(pixels: Tensor, side: int) -> list[Tensor]:
            """Coordinates (r,) of pixels (r,), by their number in a picture of so many rows and columns."""
            up, right = (coordinates / pixel_size_angstroms for coordinates in self._rays(side))
            return [up[pixels // side], right[pixels % side]]

        all_coarse = torch.arange(coarse_side**2)
        coarse = rays.march(torch.full((coarse_side**2,), extent / 2), *at(all_coarse, coarse_side)).view(coarse_side, -1)
        # a fine ray starts two steps before the nearest surface around its coarse ray, and is not cast where there is none
        near = _largest_around(coarse)[None, None]
        starts = torch.nn.functional.interpolate(near, size=(self.pixels,) * 2, mode="nearest").flatten() + 2
        cast = torch.nonzero(torch.isfinite(starts)).flatten()
        nearest = torch.full_like(starts, -torch.inf)
        nearest[cast] = rays.march(starts[cast], *at(cast, self.pixels))
        at_edge = _edges(nearest.view(self.pixels, -1)).flatten()
        edges, alone = cast[at_edge[cast]], torch.nonzero(~at_edge & torch.isfinite(nearest)).flatten()
        quarters = at(_quarters(edges, self.pixels), 2 * self.pixels)
        four = rays.march(starts[edges].repeat_interleave(4), *quarters)
        seen, looks = torch.zeros(len(starts)), torch.zeros(len(starts), 2)
        seen[alone], seen[edges] = 1.0, torch.isfinite(four).float().view(-1, 4).mean(1)
        looks[alone] = rays.shade(nearest[alone], *at(alone, self.pixels))
        looks[edges] = rays.shade(four, *quarters).view(-1, 4, 2).mean(1)
        nearest[edges] = four.view(-1, 4).amax(1)
        square = (self.pixels, self.pixels)
        return nearest.view(square) * pixel_size_angstroms, seen.view(square), looks.view(*square, 2)

    def _rays(self, side: int) -> tuple[Tensor, Tensor]:
        """Coordinates up and right (side,) in A of the rows and columns of a picture, its upper row first."""
        across = (torch.arange(side) + 0.5) / side * self.extent_angstroms - self.extent_angstroms / 2
        return -across, across


def _edges(depths: Tensor) -> Tensor:
    """Pixels (h, w) around which depths in voxels, -inf: background, differ by more than a voxel."""
    return _largest_around(depths) + _largest_around(-depths) > 1


def _largest_around(depths: Tensor) -> Tensor:
    """Of each pixel (h, w) and the eight around it."""
    return torch.nn.functional.max_pool2d(depths[None, None], 3, stride=1, padding=1)[0, 0]


def _quarters(pixels: Tensor, side: int) -> Tensor:
    """Pixels (4 r,) of a picture of twice as many rows and columns in those (r,) of one of `side` rows, by their number."""
    first = 4 * side * (pixels // side) + 2 * (pixels % side)
    return (first[:, None] + torch.tensor((0, 1, 2 * side, 2 * side + 1))).flatten()


def displacement_colours(rms_angstroms: Tensor, largest: float) -> NDArray[np.float64]:
    """Colours (n, 3) of rms displacements (n,): grey at rest, darkest at `largest` A."""
    share = np.clip(rms_angstroms.cpu().numpy() / max(largest, 1e-6), 0, 1)
    return np.asarray(DISPLACEMENT_COLOURS(share))[:, :3]
