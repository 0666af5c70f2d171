"""Files of a reconstruction, in ``backprojection/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jobtypes.common.fourier import resolution_at
from jobtypes.common.volumes import write_volume
from jobtypes.common.whole_files import link_whole
from jobtypes.dynamight.backprojection.figures import draw_fsc, draw_slices
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star, write_fsc_xml
from jobtypes.dynamight.backprojection.local_gain import Places, local_gain, places
from jobtypes.dynamight.backprojection.normal_equations import wiener_filter
from jobtypes.dynamight.backprojection.reconstruction import Maps
from jobtypes.dynamight.backprojection.verdict import Verdict
from jobtypes.dynamight.outputs import MAP_LABEL, gather_logbook
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

FOLDER = "backprojection"
HALF_MAP_LABEL = "DensityMap.mrc.relion.halfmap.dynamight"
MASK_LABEL = "Mask3D.mrc.relion.dynamight"
# what PostProcess takes; RELION's schemer can name the files at the top of a node's job directory and no others
LINKED_AT_TOP = {"map_half1.mrc": HALF_MAP_LABEL, "map_half2.mrc": HALF_MAP_LABEL, "mask.mrc": MASK_LABEL}


@dataclass(frozen=True)
class Resolutions:
    """Resolution in A at FSC 0.143 within the mask and without it; keys "rigid" and "deformed"."""

    masked: dict[str, float]
    unmasked: dict[str, float]

    @classmethod
    def of(cls, maps: Maps, pixel_size_angstroms: float) -> Resolutions:
        """Read them off the curves."""
        pairs = {"rigid": maps.rigid, "deformed": maps.deformed}
        box = maps.rigid.maps[1].shape[0]
        return cls(
            {name: resolution_at(pair.fsc, box, pixel_size_angstroms) for name, pair in pairs.items()},
            {name: resolution_at(pair.fsc_unmasked, box, pixel_size_angstroms) for name, pair in pairs.items()},
        )

    def sentence(self) -> str:
        """Say them in words."""
        within, without = (
            f"deformed {kind['deformed']:.2f} A, rigid {kind['rigid']:.2f} A" for kind in (self.masked, self.unmasked)
        )
        return f"Resolution at FSC 0.143: {within} in the mask; {without} without one."


def write_outputs(job: RunningJob, maps: Maps, verdict: Verdict, mask: Tensor, *, pixel_size_angstroms: float) -> list[str]:
    """Write all maps, curves and figures and register the maps; return what they show in sentences.

    ``map_half1.mrc`` and ``map_half2.mrc`` are the deformed half maps, neither filtered nor sharpened nor masked, on the
    absolute scale of the data, so that relion_postprocess takes them as they are; ``rigid_half*.mrc`` are the same without
    deformation. ``*_filtered.mrc`` are their averages filtered by the FSC. Links at the top of the job directory lead to the
    deformed half maps and the mask.
    """
    folder = job.directory / FOLDER
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
    link_at_top(job)
    halves = {name: (pair.maps[1], pair.maps[2]) for name, pair in pairs.items()}
    gain = local_gain(halves["rigid"], halves["deformed"], mask, pixel_size_angstroms=pixel_size_angstroms)
    write_volume(folder / "local_gain.mrc", gain, pixel_size_angstroms)
    where = places(gain, mask, pixel_size_angstroms)
    resolutions = Resolutions.of(maps, pixel_size_angstroms)
    _write_curves(folder, maps, verdict, resolutions, where, pixel_size_angstroms)
    draw_fsc(
        folder / "figures" / "fsc.png", maps, verdict, pixel_size_angstroms=pixel_size_angstroms, resolutions=resolutions.masked
    )
    draw_slices(folder / "figures" / "maps.png", filtered["rigid"], filtered["deformed"], gain, mask)
    gather_logbook(job.directory, job)
    return [where.sentence(), resolutions.sentence()]


def link_at_top(job: RunningJob) -> None:
    """Let links at the top of the job directory lead to what PostProcess takes, and register them; a warning where none can be.

    They are symbolic and relative: they always lead to the present maps, and a directory that is moved to the Trash and back, or
    set aside, keeps them.
    """
    for name, label in LINKED_AT_TOP.items():
        try:
            link_whole(job.directory / name, f"{FOLDER}/{name}")
        except UserError as error:
            job.warn(str(error))
        else:
            job.add_output(job.directory / name, label)


def _write_curves(
    folder: Path, maps: Maps, verdict: Verdict, resolutions: Resolutions, where: Places, pixel_size_angstroms: float
) -> None:
    pairs, box = {"deformed": maps.deformed, "rigid": maps.rigid}, maps.rigid.maps[1].shape[0]
    figures = {
        "rlnFinalResolution": resolutions.masked["deformed"],
        "rlnDynamightRigidResolution": resolutions.masked["rigid"],
        "rlnDynamightVerdict": verdict.word,
        "rlnDynamightLikelihoodGain": verdict.gain,
        "rlnDynamightLikelihoodGainError": verdict.gain_error,
        "rlnDynamightLatentInformation": verdict.information,
        "rlnDynamightHeldOutParticles": verdict.n_particles,
        "rlnDynamightGainedFraction": where.gained,
        "rlnDynamightLostFraction": where.lost,
    }
    curves = {name: (pair.fsc.cpu(), pair.fsc_unmasked.cpu()) for name, pair in pairs.items()}
    write_fsc_star(folder / "fsc.star", curves, box=box, pixel_size_angstroms=pixel_size_angstroms, figures=figures)
    for name, (curve, _) in curves.items():
        write_fsc_xml(
            folder / f"fsc_{name}.xml", curve, box=box, pixel_size_angstroms=pixel_size_angstroms, title=f"DynaMight {name} FSC"
        )
