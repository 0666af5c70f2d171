"""Files of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jobtypes.common.fourier import resolution_at
from jobtypes.common.volumes import write_volume
from jobtypes.common.whole_files import link_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.figures import draw_fsc, draw_slices
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star, write_fsc_xml
from jobtypes.dynamight.backprojection.local_gain import Places, local_gain, places
from jobtypes.dynamight.backprojection.normal_equations import wiener_filter
from jobtypes.dynamight.backprojection.reconstruction import Maps
from jobtypes.dynamight.backprojection.verdict import Verdict
from jobtypes.dynamight.outputs import gather_logbook
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

MAPS_WRITTEN = 8  # rigid and deformed, two half maps and their filtered mean each; mask and local gain
_HALF_MAPS = {"rigid": layout.rigid_half_map, "deformed": layout.half_map}
_FILTERED = {"rigid": layout.RIGID_MAP, "deformed": layout.MAP}


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

    Half maps (`layout.half_map`, and `layout.rigid_half_map` without deformation) are neither filtered nor sharpened nor masked,
    on the absolute scale of the data, so that relion_postprocess takes them as they are; `layout.MAP` and `layout.RIGID_MAP`
    are their averages filtered by the FSC. Links at the top of the job directory lead to the deformed half maps and the mask.
    """
    folder = job.directory
    pairs = {"rigid": maps.rigid, "deformed": maps.deformed}
    filtered = {}
    for name, pair in pairs.items():
        for half, volume in pair.maps.items():
            path = folder / _HALF_MAPS[name](half)
            write_volume(path, volume, pixel_size_angstroms)
            job.add_output(path, layout.HALF_MAP_LABEL)
        filtered[name] = wiener_filter(pair.average, pair.fsc)
        write_volume(folder / _FILTERED[name], filtered[name], pixel_size_angstroms)
        job.add_output(folder / _FILTERED[name], layout.MAP_LABEL)
    write_volume(folder / layout.MASK, mask, pixel_size_angstroms)
    job.add_output(folder / layout.MASK, layout.MASK_LABEL)
    link_at_top(job)
    halves = {name: (pair.maps[1], pair.maps[2]) for name, pair in pairs.items()}
    gain = local_gain(halves["rigid"], halves["deformed"], mask, pixel_size_angstroms=pixel_size_angstroms)
    write_volume(folder / layout.LOCAL_GAIN, gain, pixel_size_angstroms)
    where = places(gain, mask, pixel_size_angstroms)
    resolutions = Resolutions.of(maps, pixel_size_angstroms)
    _write_curves(folder, maps, verdict, resolutions, where, pixel_size_angstroms)
    draw_fsc(folder / layout.FSC_FIGURE, maps, verdict, pixel_size_angstroms=pixel_size_angstroms, resolutions=resolutions.masked)
    draw_slices(folder / layout.SLICES_FIGURE, filtered["rigid"], filtered["deformed"], gain, mask, verdict)
    gather_logbook(job.directory, job)
    return [where.sentence(), resolutions.sentence()]


def link_at_top(job: RunningJob) -> None:
    """Let links at the top of the job directory lead to what PostProcess takes, and register them; a warning where none can be.

    They are symbolic and relative: they always lead to the present maps, and a directory that is moved to the Trash and back, or
    set aside, keeps them.
    """
    for path, label in layout.LINKED_AT_TOP.items():
        try:
            link_whole(job.directory / path.name, str(path))
        except UserError as error:
            job.warn(str(error))
        else:
            job.add_output(job.directory / path.name, label)


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
    if (moving := verdict.moving) is not None:
        figures |= {
            "rlnDynamightMovingCorrelation": moving.deformed,
            "rlnDynamightMovingCorrelationRigid": moving.rigid,
            "rlnDynamightMovingCorrelationError": moving.error,
            "rlnDynamightMovingLostFraction": moving.lost,
        }
    curves = {name: (pair.fsc.cpu(), pair.fsc_unmasked.cpu()) for name, pair in pairs.items()}
    write_fsc_star(folder / layout.FSC_TABLE, curves, box=box, pixel_size_angstroms=pixel_size_angstroms, figures=figures)
    for name, (curve, _) in curves.items():
        write_fsc_xml(
            folder / layout.fsc_xml(name),
            curve,
            box=box,
            pixel_size_angstroms=pixel_size_angstroms,
            title=f"DynaMight {name} FSC",
        )
