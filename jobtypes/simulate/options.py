"""Presets and option values of a simulation -> one frozen dataclass. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Value


@dataclass(frozen=True)
class SimulationOptions:
    """What to simulate; names as in job.yaml.

    Parameters
    ----------
    nr_particles
        Images, both halves together.
    box_size
        Pixels.
    angpix
        Pixel size, A.
    snr
        Variance of the CTF-applied signal over the whole box, divided by that of the noise.
    noise
        ``white`` or ``coloured``.
    nr_motions
        0, 1 or 2 independent motions.
    amplitude
        Mean distance between the ends of a motion over the moving atoms, A.
    motion_kind
        ``hinge`` or ``bend``.
    nr_arms
        Arms of the molecule; they follow the motions in turn.
    core_mass
        Mass of the rigid core, kDa.
    arm_share
        Share of the whole mass that the arms hold.
    pose_error_angle
        Standard deviation of the error of the given orientations per axis, degrees.
    pose_error_shift
        The same of the given origins, pixels.
    shift_range
        Particles lie at most this far from the box centre in x and y, pixels.
    defocus_min, defocus_max
        A, positive: underfocus.
    voltage
        kV.
    float16
        Write stacks as 16-bit floats (MRC mode 12).
    seed
        The same seed gives the same set.
    nr_threads
        Threads.
    """

    nr_particles: int = 2000
    box_size: int = 64
    angpix: float = 3.0
    snr: float = 0.2
    noise: str = "white"
    nr_motions: int = 1
    amplitude: float = 20.0
    motion_kind: str = "hinge"
    nr_arms: int = 1
    core_mass: float = 60.0
    arm_share: float = 0.22
    pose_error_angle: float = 0.0
    pose_error_shift: float = 0.0
    shift_range: float = 3.0
    defocus_min: float = 8000.0
    defocus_max: float = 20000.0
    voltage: float = 300.0
    float16: bool = False
    seed: int = 1
    nr_threads: int = 1


QUICK = SimulationOptions()
PRESETS = {
    "quick": QUICK,
    "rigid": replace(QUICK, nr_motions=0),
    "hard": replace(
        QUICK,
        nr_particles=6000,
        box_size=96,
        angpix=2.6,
        snr=0.05,
        noise="coloured",
        nr_motions=2,
        amplitude=14.0,
        nr_arms=4,
        core_mass=200.0,
        arm_share=0.1,
        pose_error_angle=0.5,
        pose_error_shift=0.2,
    ),
    "custom": QUICK,
}


def read_values(values: Mapping[str, Value]) -> SimulationOptions:
    """Take the preset and put every option that was given in its place.

    Raises
    ------
    UserError
        Two options contradict each other.
    """
    preset = str(values.get("preset") or "quick")
    given: dict[str, Any] = {
        field.name: values[field.name] for field in fields(SimulationOptions) if values.get(field.name) is not None
    }
    options = replace(PRESETS[preset], **given)
    check(options)
    return options


def check(options: SimulationOptions) -> None:
    """Refuse options that contradict each other; each alone was checked against job.yaml.

    Raises
    ------
    UserError
        With the two options, their values and what to change.
    """
    if options.defocus_max < options.defocus_min:
        raise UserError(
            f"defocus_max is {options.defocus_max:g} A, below defocus_min, {options.defocus_min:g} A; "
            f"give the larger one as defocus_max."
        )
    if options.nr_motions > options.nr_arms:
        raise UserError(
            f"nr_motions is {options.nr_motions} but nr_arms is {options.nr_arms}; every motion needs an arm: "
            f"give nr_arms at least {options.nr_motions}."
        )
    if options.shift_range > options.box_size / 4:
        raise UserError(
            f"shift_range is {options.shift_range:g} pixels, more than a quarter of box_size, {options.box_size}; "
            f"the particles would leave the box."
        )
