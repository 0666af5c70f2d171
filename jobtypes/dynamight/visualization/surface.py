"""Shaded pictures of a map's surface, by casting rays: no OpenGL, no display."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS

_LIGHT = (-0.45, 0.6, 0.66)  # from the upper left, towards the viewer
_AMBIENT = 0.38
_GLOSS, _GLOSS_SHARPNESS = 0.16, 24.0  # of the highlight
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
        fine = self._supersampled(volume, pixel_size_angstroms, level, colour_points, colours)
        picture: NDArray[np.float64] = np.clip(fine.reshape(self.pixels, 2, self.pixels, 2, 3).mean((1, 3)), 0, 1)
        return picture

    def _supersampled(
        self,
        volume: Tensor,
        pixel_size_angstroms: float,
        level: float,
        colour_points: Tensor | None,
        colours: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        hits, depth, seen = self._cast(volume, pixel_size_angstroms, level)  # (S*S, 3), (S*S,), (S*S,)
        picture = np.broadcast_to(_BACKGROUND, (len(seen), 3)).copy()
        points = hits[seen]
        if len(points):
            normal = -self._gradient(volume, pixel_size_angstroms, points) @ self.rotation.T
            normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-12)
            light = torch.tensor(_LIGHT) / torch.tensor(_LIGHT).norm()
            diffuse = (normal @ light).clamp(min=0)
            rim = (1 - normal[:, 2].clamp(0, 1)).pow(3)  # darker outlines, as drawn by hand
            fog = 0.75 + 0.25 * (depth[seen] / self.extent_angstroms + 0.5).clamp(0, 1)
            shade = ((_AMBIENT + (1 - _AMBIENT) * diffuse) * (1 - 0.35 * rim) * fog).numpy()[:, None]
            halfway = light + torch.tensor((0.0, 0.0, 1.0))  # Blinn 1977
            gloss = _GLOSS * (normal @ (halfway / halfway.norm())).clamp(min=0).pow(_GLOSS_SHARPNESS).numpy()[:, None]
            base: NDArray[np.float64] = np.full((len(points), 3), 0.82)
            if colour_points is not None and colours is not None:
                _, nearest = cKDTree(colour_points.cpu().numpy()).query(points.numpy(), k=4)
                base = colours[nearest].mean(1)
            picture[seen.numpy()] = base * shade + gloss
        side = 2 * self.pixels
        return picture.reshape(side, side, 3)

    def _cast(self, volume: Tensor, pixel_size_angstroms: float, level: float) -> tuple[Tensor, Tensor, Tensor]:
        """First crossing of each ray with the surface: points (m, 3) A, depth (m,) A towards the viewer, whether there is one."""
        side = 2 * self.pixels
        coarse_side = min(int(np.ceil(self.extent_angstroms / pixel_size_angstroms)), 160)
        coarse = self._march(
            volume,
            pixel_size_angstroms,
            level,
            *self._rays(coarse_side),
            torch.full((coarse_side**2,), self.extent_angstroms / 2),
        )
        # a fine ray starts two steps before the nearest surface around its coarse ray, and is not cast where there is none
        near = torch.nan_to_num(coarse, nan=-torch.inf).view(1, 1, coarse_side, coarse_side)
        near = torch.nn.functional.max_pool2d(near, 3, stride=1, padding=1)
        start = torch.nn.functional.interpolate(near, size=(side, side), mode="nearest").flatten() + 2 * pixel_size_angstroms
        right, up = self._rays(side)
        found = self._march(volume, pixel_size_angstroms, level, right, up, start)
        seen = torch.isfinite(found)
        found = torch.nan_to_num(found, nan=0.0)
        return self._points(right, up, found), found, seen

    def _rays(self, side: int) -> tuple[Tensor, Tensor]:
        """Right and up coordinates (side^2,) in A of the rays of a picture, its upper row first."""
        across = (torch.arange(side) + 0.5) / side * self.extent_angstroms - self.extent_angstroms / 2
        up, right = torch.meshgrid(-across, across, indexing="ij")
        return right.flatten(), up.flatten()

    def _march(
        self, volume: Tensor, pixel_size_angstroms: float, level: float, right: Tensor, up: Tensor, start: Tensor
    ) -> Tensor:
        """Depth (m,) in A at which rays from depth `start` (-inf: no ray) first cross the surface; nan where they do not."""
        found = torch.full_like(start, torch.nan)
        active = torch.nonzero(torch.isfinite(start)).flatten()
        depth = start[active]
        previous = torch.zeros_like(depth)
        while len(active):
            values = sample(volume, pixel_size_angstroms, self._points(right[active], up[active], depth))
            crossed = values >= level
            share = ((level - previous) / (values - previous).clamp(min=1e-12)).clamp(0, 1)
            found[active[crossed]] = (depth + pixel_size_angstroms * (1 - share))[crossed]
            depth = depth - pixel_size_angstroms
            left = ~crossed & (depth > -self.extent_angstroms / 2)
            active, depth, previous = active[left], depth[left], values[left]
        return found

    def _points(self, right: Tensor, up: Tensor, depth: Tensor) -> Tensor:
        view = torch.stack((right, up, depth.expand_as(right)), dim=1)
        return view @ self.rotation + self.centre_angstroms

    def _gradient(self, volume: Tensor, pixel_size_angstroms: float, points: Tensor) -> Tensor:
        steps = pixel_size_angstroms * torch.eye(3)
        return torch.stack(
            [sample(volume, pixel_size_angstroms, points + s) - sample(volume, pixel_size_angstroms, points - s) for s in steps],
            dim=1,
        )


def sample(volume: Tensor, pixel_size_angstroms: float, points: Tensor) -> Tensor:
    """Map (N, N, N) at points (m, 3) A, trilinear, 0 outside: (m,)."""
    box = volume.shape[0]
    voxel = points / pixel_size_angstroms + box // 2
    grid = (2 * voxel / (box - 1) - 1).view(1, -1, 1, 1, 3)
    values = torch.nn.functional.grid_sample(volume[None, None], grid, align_corners=True, padding_mode="zeros")
    return values.view(-1)


def displacement_colours(rms_angstroms: Tensor, largest: float) -> NDArray[np.float64]:
    """Colours (n, 3) of rms displacements (n,): grey at rest, darkest at `largest` A."""
    share = np.clip(rms_angstroms.cpu().numpy() / max(largest, 1e-6), 0, 1)
    return np.asarray(DISPLACEMENT_COLOURS(share))[:, :3]
