from __future__ import annotations

from pathlib import Path

import starfile
import torch

from jobtypes.dynamight.visualization.regions import find_regions, write_regions


def two_domains() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A resting domain at x = -20 and one at x = 20 that moves along y by 3 A rms."""
    generator = torch.Generator().manual_seed(0)
    positions = 3 * torch.randn(200, 3, generator=generator)
    positions[:100, 0] -= 20
    positions[100:, 0] += 20
    basis = torch.zeros(1, 200, 3)
    basis[0, 100:, 1] = 1.0
    coefficients = torch.randn(50, 1, generator=generator)
    coefficients = 3 * (coefficients - coefficients.mean()) / coefficients.std(correction=0)
    return positions, torch.ones(200), basis, coefficients


def test_domains_are_told_apart_and_the_moving_one_comes_first(tmp_path: Path) -> None:
    regions, labels = find_regions(*two_domains(), count=2, seed=0)
    assert labels[:100].tolist() == [1] * 100
    assert labels[100:].tolist() == [0] * 100
    assert abs(regions[0].rms_angstroms - 3) < 1e-4
    assert regions[1].rms_angstroms == 0
    assert abs(regions[0].centre_angstroms[0] - 20) < 1
    assert abs(regions[0].mass_fraction - 0.5) < 1e-6


def test_the_table_has_a_row_per_region_and_replaces_that_of_version_0_1(tmp_path: Path) -> None:
    regions, _ = find_regions(*two_domains(), count=2, seed=0)
    (tmp_path / "regions.tsv").touch()
    write_regions(tmp_path / "regions.star", regions)
    table = starfile.read(tmp_path / "regions.star")
    assert table.columns.tolist() == ["region", "x_A", "y_A", "z_A", "mass_percent", "rms_displacement_A", "largest_rms_A"]
    assert table["region"].tolist() == [1, 2]
    assert table["mass_percent"].tolist() == [50.0, 50.0]
    assert table["rms_displacement_A"].tolist() == [3.0, 0.0]
    assert not (tmp_path / "regions.tsv").exists()
