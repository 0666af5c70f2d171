"""FSC curves as STAR (RELION's labels) and as XML (the EMDB's format)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from jobtypes.common.small_tables import Pairs, write_small_tables
from jobtypes.common.whole_files import written_whole

_NO_RESOLUTION_ANGSTROMS = 999.0  # of shell 0, as RELION writes it


def write_fsc_star(
    path: Path,
    curves: Mapping[str, tuple[Tensor, Tensor]],
    *,
    box: int,
    pixel_size_angstroms: float,
    figures: Mapping[str, object],
) -> None:
    """Write curves and figures of a reconstruction as a STAR file, whole or not at all.

    Parameters
    ----------
    path
        File to write.
    curves
        FSC (N // 2 + 1,) within the mask and without it, by name; each pair becomes a table ``data_fsc_NAME`` that RELION's
        tools plot.
    box, pixel_size_angstroms
        N and voxel size.
    figures
        Label (without underscore) and value of each line of ``data_general``.
    """
    tables: dict[str, Pairs | pd.DataFrame] = {"general": dict(figures)}
    for name, (masked, unmasked) in curves.items():
        shells = range(len(masked))
        frequencies = [shell / (box * pixel_size_angstroms) for shell in shells]
        tables[f"fsc_{name}"] = pd.DataFrame(
            {
                "rlnSpectralIndex": shells,
                "rlnResolution": frequencies,
                "rlnAngstromResolution": [1 / frequency if frequency else _NO_RESOLUTION_ANGSTROMS for frequency in frequencies],
                "rlnFourierShellCorrelation": masked.tolist(),
                "rlnFourierShellCorrelationUnmaskedMaps": unmasked.tolist(),
            }
        )
    write_small_tables(path, tables)


def write_fsc_xml(path: Path, curve: Tensor, *, box: int, pixel_size_angstroms: float, title: str) -> None:
    """Write one curve (N // 2 + 1,) as the EMDB takes it, whole or not at all."""
    lines = [f'<fsc title="{title}" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">']
    for shell, value in enumerate(curve.tolist()):
        lines += [
            "  <coordinate>",
            f"    <x>{shell / (box * pixel_size_angstroms):.6f}</x>",
            f"    <y>{value:.6f}</y>",
            "  </coordinate>",
        ]
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, "</fsc>", ""]))
