"""Files of a reconstruction, in ``backprojection/``."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from jobtypes.common.fourier import resolution_at
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.backprojection.figures import draw_fsc, draw_slices
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star, write_fsc_xml
from jobtypes.dynamight.backprojection.local_gain import local_gain
from jobtypes.dynamight.backprojection.normal_equations import wiener_filter
from jobtypes.dynamight.backprojection.reconstruction import Maps
from jobtypes.dynamight.backprojection.verdict import Verdict
from jobtypes.dynamight.outputs import MAP_LABEL, gather_logbook
from relion_jobs.contract.running_job import RunningJob

FOLDER = "backprojection"
HALF_MAP_LABEL = "DensityMap.mrc.relion.halfmap.dynamight"
MASK_LABEL = "Mask3D.mrc.relion.dynamight"


def resolutions_of(maps: Maps, *, box: int, pixel_size_angstroms: float) -> dict[str, float]:
    """Resolution in A at FSC 0.143 of the rigid and the deformed maps."""
    pairs = (("rigid", maps.rigid), ("deformed", maps.deformed))
    return {name: resolution_at(pair.fsc, box, pixel_size_angstroms) for name, pair in pairs}


def write_outputs(
    job: RunningJob, maps: Maps, verdict: Verdict, mask: Tensor, *, pixel_size_angstroms: float
) -> dict[str, float]:
    """Write all maps, curves and figures and register the maps; return the resolutions in A.

    ``map_half1.mrc`` and ``map_half2.mrc`` are the deformed half maps, neither filtered nor sharpened nor masked, on the
    absolute scale of the data, so that relion_postprocess takes them as they are; ``rigid_half*.mrc`` are the same without
    deformation. ``*_filtered.mrc`` are their averages filtered by the FSC.
    """
    folder, box = job.directory / FOLDER, mask.shape[0]
    pairs = {"rigid": maps.rigid, "deformed": maps.deformed}
    filtered = {}
    for name, pair in pairs.items():
        stem = "map" if name == "deformed" else "rigid"
        for half, volume in pair.maps.items():
            path = folder / f"{stem}_half{half}.mrc"
            write_volume(path, volume, pixel_size_angstroms)
            job.add_output(path, HALF_MAP_LABEL)
        filtered[name] = wiener_filter(pair.average, pair.fsc)
        write_volume(folder / f"{stem}_filtered.mrc", filtered[name], pixel_size_angstroms)
        job.add_output(folder / f"{stem}_filtered.mrc", MAP_LABEL)
    write_volume(folder / "mask.mrc", mask, pixel_size_angstroms)
    job.add_output(folder / "mask.mrc", MASK_LABEL)
    halves = {name: (pair.maps[1], pair.maps[2]) for name, pair in pairs.items()}
    gain = local_gain(halves["rigid"], halves["deformed"], mask, pixel_size_angstroms=pixel_size_angstroms)
    write_volume(folder / "local_gain.mrc", gain, pixel_size_angstroms)
    resolutions = resolutions_of(maps, box=box, pixel_size_angstroms=pixel_size_angstroms)
    _write_curves(folder, maps, verdict, resolutions, box=box, pixel_size_angstroms=pixel_size_angstroms)
    draw_fsc(
        folder / "figures" / "fsc.png", maps, verdict, box=box, pixel_size_angstroms=pixel_size_angstroms, resolutions=resolutions
    )
    draw_slices(folder / "figures" / "maps.png", filtered["rigid"], filtered["deformed"], gain, mask)
    gather_logbook(job.directory, job)
    return resolutions


def _write_curves(
    folder: Path, maps: Maps, verdict: Verdict, resolutions: dict[str, float], *, box: int, pixel_size_angstroms: float
) -> None:
    pairs = {"deformed": maps.deformed, "rigid": maps.rigid}
    figures = {
        "rlnFinalResolution": resolutions["deformed"],
        "rlnDynamightRigidResolution": resolutions["rigid"],
        "rlnDynamightVerdict": verdict.word,
        "rlnDynamightLikelihoodGain": verdict.gain,
        "rlnDynamightLikelihoodGainError": verdict.gain_error,
        "rlnDynamightLatentInformation": verdict.information,
        "rlnDynamightHeldOutParticles": verdict.n_particles,
    }
    curves = {name: pair.fsc.cpu() for name, pair in pairs.items()}
    write_fsc_star(folder / "fsc.star", curves, box=box, pixel_size_angstroms=pixel_size_angstroms, figures=figures)
    for name, curve in curves.items():
        write_fsc_xml(
            folder / f"fsc_{name}.xml", curve, box=box, pixel_size_angstroms=pixel_size_angstroms, title=f"DynaMight {name} FSC"
        )
