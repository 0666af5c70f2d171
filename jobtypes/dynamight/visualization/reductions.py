"""Two dimensions in which the latent space is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_jobs.contract.errors import UserError

METHODS = ("pca", "umap", "ica", "raw")


@dataclass(frozen=True)
class Reduction:
    """Particles in two dimensions.

    Attributes
    ----------
    method
        One of `METHODS`.
    points : (P, 2)
        Of pca in A, of the others without a unit.
    labels
        What the two axes are.
    dimensions
        The main motions (pca) or latent dimensions (raw) that the axes are, from 0; empty where the axes are neither.
    """

    method: str
    points: NDArray[np.float64]
    labels: tuple[str, str]
    dimensions: tuple[int, ...] = ()

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points / self._width)

    @cached_property
    def _width(self) -> NDArray[np.float64]:
        """(2,) extent of the drawing, so that both axes count the same."""
        low, high = np.percentile(self.points, (0.5, 99.5), axis=0)
        width: NDArray[np.float64] = np.maximum(high - low, 1e-9)
        return width

    def nearest(self, points: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances, as shares of the width of the drawing, and particles that lie nearest to points (m, 2): (m, count) each."""
        count = min(count, len(self.points))
        distance, index = self._tree.query(np.atleast_2d(points) / self._width, k=np.arange(1, count + 1))
        return distance, index


def reduce(
    coordinates: NDArray[np.float64],
    latents: NDArray[np.float64],
    method: str,
    *,
    dimensions: tuple[int, int] = (0, 1),
    seed: int = 1,
) -> Reduction:
    """Draw particles in two dimensions.

    Parameters
    ----------
    coordinates : (P, D) A
        Along the main motions.
    latents : (P, d)
        Posterior means.
    method
        ``pca``: two main motions, in A; ``raw``: two latent dimensions; ``ica``: independent components of the latents;
        ``umap``: needs umap-learn. A single latent dimension is drawn as by ``pca``; by ``ica`` so is a single one of several
        that images tell of, beside which the others stay at their prior.
    dimensions
        Of pca and raw: which two, from 0.
    seed
        Of ica and umap.

    Raises
    ------
    UserError
        No such method or dimension, or umap-learn is missing.
    """
    if method not in METHODS:
        raise UserError(f"'{method}' is no way to draw the latent space; expected one of {', '.join(METHODS)}.")
    if method == "umap":
        return Reduction(method, _umap(latents, seed), ("UMAP 1", "UMAP 2"))
    extent = np.ptp(latents, axis=0)
    told = latents[:, extent > 0]
    if method == "ica" and told.shape[1] > 1:
        return Reduction(method, _ica(told, seed), ("independent component 1", "independent component 2"))
    if method == "raw" and latents.shape[1] > 1:
        _check_dimensions(dimensions, latents.shape[1], "latent dimensions")
        first, second = dimensions
        return Reduction(method, latents[:, dimensions], (f"latent {first + 1}", f"latent {second + 1}"), dimensions)
    if coordinates.shape[1] == 1:  # one motion: draw the first latent beside it
        first = int(extent.argmax())
        points = np.column_stack((coordinates[:, 0], latents[:, first]))
        return Reduction("pca", points, ("main motion 1 (Å)", f"latent {first + 1}"), (0,))
    _check_dimensions(dimensions, coordinates.shape[1], "main motions")
    first, second = dimensions
    labels = (f"main motion {first + 1} (Å)", f"main motion {second + 1} (Å)")
    return Reduction("pca", coordinates[:, dimensions], labels, dimensions)


def _check_dimensions(dimensions: tuple[int, int], count: int, what: str) -> None:
    for index in dimensions:
        if not 0 <= index < count:
            raise UserError(f"Dimension {index + 1} was asked for, but there are {count} {what}; choose from 1 to {count}.")


def _ica(latents: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import FastICA

    found = FastICA(2, random_state=seed, max_iter=2000, tol=1e-3, whiten="unit-variance").fit_transform(latents)
    return np.asarray(found, dtype=np.float64)


def _umap(latents: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError("Embedding 'umap' needs umap-learn: pip install umap-learn, or choose pca, ica or raw.") from error
    neighbours = min(15, len(latents) - 1)
    return np.asarray(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(latents), dtype=np.float64)
