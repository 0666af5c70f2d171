"""FSC curves as STAR (RELION's labels) and as XML (the EMDB's format)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from jobtypes.common.whole_files import written_whole


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
    lines = ["", "# version 50001", "", "data_general", ""]
    lines += [f"_{label} {_text(value)}" for label, value in figures.items()]
    labels = ("rlnSpectralIndex", "rlnResolution", "rlnAngstromResolution", "rlnFourierShellCorrelation")
    labels += ("rlnFourierShellCorrelationUnmaskedMaps",)
    for name, (masked, unmasked) in curves.items():
        lines += ["", "", "# version 50001", "", f"data_fsc_{name}", "", "loop_"]
        lines += [f"_{label} #{number}" for number, label in enumerate(labels, start=1)]
        for shell, (value, without) in enumerate(zip(masked.tolist(), unmasked.tolist(), strict=True)):
            frequency = shell / (box * pixel_size_angstroms)
            length = 1 / frequency if shell else 999.0
            lines.append(f"{shell:12d} {frequency:12.6f} {length:12.6f} {value:12.6f} {without:12.6f}")
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, "", ""]))


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


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text
