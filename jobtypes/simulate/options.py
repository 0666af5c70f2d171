"""Presets and option values of a simulation -> one frozen dataclass. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Value

LARGEST_FAULT_SHARE = 0.9


@dataclass(frozen=True)
class Nuisances:
    """What is wrong with real particles; as it stands, nothing is.

    Parameters
    ----------
    empty_share, other_share, wrong_pose_share, neighbour_share, speck_share
        Shares of the particles that are an empty image, show another molecule, have a random orientation in the STAR file, show
        a neighbour at the edge, or a bright speck. A particle has at most one of these faults.
    other_strength
        Signal of the other molecule, rms, over that of ours.
    missing_arm_share
        Share of all particles that lack the first arm.
    side_view_share
        Share of all particles that lie near a side view; the others lie in all directions.
    amplitude_spread
        Standard deviation of the amplitudes over their mean.
    defocus_error
        Standard deviation of the error of the defocus in the STAR file, A.
    """

    empty_share: float = 0.0
    other_share: float = 0.0
    other_strength: float = 3.0
    wrong_pose_share: float = 0.0
    neighbour_share: float = 0.0
    speck_share: float = 0.0
    missing_arm_share: float = 0.0
    side_view_share: float = 0.0
    amplitude_spread: float = 0.0
    defocus_error: float = 0.0

    @property
    def fault_shares(self) -> tuple[float, ...]:
        """Shares of the faults of which a particle has at most one, in the order of their kinds in truth/kind.npy, from 1."""
        return self.empty_share, self.other_share, self.wrong_pose_share, self.neighbour_share, self.speck_share


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
        ``hinge``, ``bend``, ``elbow`` or ``turn``.
    turn_angle
        Angle between the ends of a ``turn``, degrees; it has no amplitude.
    states
        How the particles lie between the ends of each motion: ``even``, ``two_states``, ``uneven`` or ``beta``.
    nr_arms
        Arms of the molecule; they follow the motions in turn.
    core_mass
        Mass of the rigid core, kDa.
    arm_share
        Share of the whole mass that the arms hold.
    dense_part
        Part of the core that is denser than protein: ``none``, ``shell`` (like a micelle) or ``rod`` (like a nucleic acid).
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
    geometry
        ``single``: one image of each particle. ``tilt_series``: a stack of them.
    nr_tilts, largest_tilt, total_dose
        Of tilt series: frames, degrees, and e/A^2 of all frames together. The signal-to-noise ratio is then that of an image
        with the dose of all frames, and each frame, before damage, has its share.
    seed
        The same seed gives the same set.
    nr_threads
        Threads.
    nuisances
        What is wrong with the particles.
    """

    nr_particles: int = 2000
    box_size: int = 64
    angpix: float = 3.0
    snr: float = 0.2
    noise: str = "white"
    nr_motions: int = 1
    amplitude: float = 20.0
    motion_kind: str = "hinge"
    turn_angle: float = 360.0
    states: str = "even"
    nr_arms: int = 1
    core_mass: float = 60.0
    arm_share: float = 0.22
    dense_part: str = "none"
    pose_error_angle: float = 0.0
    pose_error_shift: float = 0.0
    shift_range: float = 3.0
    defocus_min: float = 8000.0
    defocus_max: float = 20000.0
    voltage: float = 300.0
    float16: bool = False
    geometry: str = "single"
    nr_tilts: int = 31
    largest_tilt: float = 60.0
    total_dose: float = 100.0
    seed: int = 1
    nr_threads: int = 1
    nuisances: Nuisances = Nuisances()

    @property
    def in_tilts(self) -> bool:
        """Whether particles are in tilt series."""
        return self.geometry == "tilt_series"


QUICK = SimulationOptions()
HARD = replace(
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
)
REAL = replace(
    HARD,
    motion_kind="elbow",
    states="uneven",
    dense_part="rod",
    nuisances=Nuisances(
        empty_share=0.05,
        other_share=0.05,
        wrong_pose_share=0.05,
        neighbour_share=0.05,
        speck_share=0.02,
        missing_arm_share=0.2,
        side_view_share=0.3,
        amplitude_spread=0.2,
        defocus_error=200.0,
    ),
)
PRESETS = {
    "quick": QUICK,
    "rigid": replace(QUICK, nr_motions=0),
    "hard": HARD,
    "real": REAL,
    "real_rigid": replace(REAL, nr_motions=0),
    "turn": replace(QUICK, nr_particles=3000, angpix=3.4, snr=0.1, motion_kind="turn", arm_share=0.3),
    "custom": QUICK,
}


def read_values(values: Mapping[str, Value]) -> SimulationOptions:
    """Take the preset and put every option that was given in its place.

    Raises
    ------
    UserError
        Two options contradict each other.
    """
    preset = PRESETS[str(values.get("preset") or "quick")]
    nuisances = replace(preset.nuisances, **_given(values, Nuisances))
    options = replace(preset, nuisances=nuisances, **_given(values, SimulationOptions))
    check(options)
    return options


def _given(values: Mapping[str, Value], kind: type[SimulationOptions | Nuisances]) -> dict[str, Any]:
    """Values that were given for the fields of a dataclass."""
    return {field.name: values[field.name] for field in fields(kind) if values.get(field.name) is not None}


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
    if sum(options.nuisances.fault_shares) > LARGEST_FAULT_SHARE:
        raise UserError(
            f"empty_share, other_share, wrong_pose_share, neighbour_share and speck_share are "
            f"{sum(options.nuisances.fault_shares):g} together; at most {LARGEST_FAULT_SHARE:g} of the particles may have one of "
            f"these faults: give less."
        )
    of_single = ("neighbour_share", "speck_share", "side_view_share", "defocus_error")
    given = next((name for name in of_single if getattr(options.nuisances, name)), None)
    if options.in_tilts and given is not None:
        raise UserError(
            f"{given} is {getattr(options.nuisances, given):g}, which is made for single images only; give {given} 0, or "
            "geometry single."
        )
    if options.nuisances.missing_arm_share > 0 and options.nr_arms == 0:
        raise UserError(
            f"missing_arm_share is {options.nuisances.missing_arm_share:g} but nr_arms is 0; "
            f"there is no arm to be missing: give nr_arms at least 1, or missing_arm_share 0."
        )
