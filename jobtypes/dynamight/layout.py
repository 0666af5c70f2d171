"""Names of the folders and files of a job directory, and the types of its nodes, each spelled here alone. No torch here.

Every path is relative to the job directory. What a half set has of its own is a function of the half, 1 or 2. Names in capitals
that end in ``_PATTERN`` are for `Path.glob` in the job directory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HALF_MAP_LABEL = "DensityMap.mrc.relion.halfmap.dynamight"
MAP_LABEL = "DensityMap.mrc.relion.dynamight"
MASK_LABEL = "Mask3D.mrc.relion.dynamight"
PARTICLES_LABEL = "ParticleGroupMetadata.star.relion.dynamight"
OPTIMISATION_SET_LABEL = "TomoOptimisationSet.star.relion.dynamight"
LOGFILE_LABEL = "LogFile.pdf.relion.dynamight"
PAGE_LABEL = "LogFile.html.relion.dynamight"

FORWARD = Path("forward_deformations")
INVERSE = Path("inverse_deformations")
BACKPROJECTION = Path("backprojection")
VISUALIZATION = Path("visualization")
STATE_MAPS = Path("states")
MAPS = Path("maps")
MOVIES = Path("movies")
SUBSETS = Path("subsets")
# everything that follows from a training, set aside together when another one starts in its place
RESULT_FOLDERS = (FORWARD, INVERSE, BACKPROJECTION, VISUALIZATION, STATE_MAPS, MAPS, MOVIES)
SET_ASIDE_PATTERN = "previous_[0-9]*"  # as `common.earlier_results` names them

# figures of all tasks, in the order of logfile.pdf
_FIGURES = "figures"
FIGURE_PATTERNS = tuple(str(task / _FIGURES / "*.png") for task in (FORWARD, VISUALIZATION, INVERSE, BACKPROJECTION, STATE_MAPS))


# --- forward deformations ---
CHECKPOINTS = FORWARD / "checkpoints"
FINAL_CHECKPOINT = CHECKPOINTS / "checkpoint_final.pth"
CHECKPOINT_PATTERN = str(CHECKPOINTS / "[0-9]*.pth")  # without the final one
SPECTRA_PATTERN = str(FORWARD / "spectra_half*.tmp")
HISTORY = FORWARD / "history.json"
PARTICLES = FORWARD / "particles.star"
AGREEMENT_FIGURE = FORWARD / _FIGURES / "00_inputs.png"
TRAINING_FIGURE = FORWARD / _FIGURES / "01_training.png"
LATENTS_FIGURE = FORWARD / _FIGURES / "02_latents.png"
GAUSSIANS_FIGURE = FORWARD / _FIGURES / "03_gaussians.png"
DISPLACEMENTS_FIGURE = FORWARD / _FIGURES / "04_displacements.png"
QUALITY_FIGURE = FORWARD / _FIGURES / "05_quality.png"
OCCUPANCY_FIGURE = FORWARD / _FIGURES / "06_occupancy.png"


def checkpoint(epoch: int) -> Path:
    """Checkpoint of a training that has done `epoch` epochs."""
    return CHECKPOINTS / f"{epoch:03d}.pth"


def spectra(half: int, process: int = 0) -> Path:
    """Where images that memory does not hold are kept while the job runs, by each of the processes that share a half set."""
    return FORWARD / f"spectra_half{half}{f'_{process}' if process else ''}.tmp"


def consensus(half: int) -> Path:
    """Map of the undeformed Gaussians."""
    return FORWARD / f"consensus_half{half}.mrc"


def part_map(half: int, number: int) -> Path:
    """Map of a part, counted from 1, that some particles of a half set lack."""
    return FORWARD / f"part{number:02d}_half{half}.mrc"


def gaussians(half: int) -> Path:
    """The Gaussians as atoms."""
    return FORWARD / f"gaussians_half{half}.pdb"


def motion_arrows(half: int) -> Path:
    """The first main motion as arrows."""
    return FORWARD / f"motion01_half{half}.bild"


# --- inverse deformations ---
FINAL_INVERSE = INVERSE / "inv_chkpt.pth"
INVERSE_PATTERN = str(INVERSE / "inv_chkpt_[0-9]*.pth")  # without the final one
INVERSE_ACCURACY = INVERSE / "accuracy.json"
INVERSE_TRAINING_FIGURE = INVERSE / _FIGURES / "01_training.png"
ROUND_TRIP_FIGURE = INVERSE / _FIGURES / "02_round_trip.png"


def inverse_checkpoint(epoch: int) -> Path:
    """Checkpoint of an inverse training that has done `epoch` epochs."""
    return INVERSE / f"inv_chkpt_{epoch:03d}.pth"


# --- backprojection ---
PARTIAL_SUMS_INDEX = BACKPROJECTION / "partial_sums.pth"
PARTIAL_SUMS_INDICES = BACKPROJECTION / "partial_sums*.pth"  # of all processes that share the work
PARTIAL_SUMS = BACKPROJECTION / "partial_sums"
MAP = BACKPROJECTION / "map_filtered.mrc"
RIGID_MAP = BACKPROJECTION / "rigid_filtered.mrc"
MASK = BACKPROJECTION / "mask.mrc"
LOCAL_GAIN = BACKPROJECTION / "local_gain.mrc"
FSC_TABLE = BACKPROJECTION / "fsc.star"
FSC_FIGURE = BACKPROJECTION / _FIGURES / "fsc.png"
SLICES_FIGURE = BACKPROJECTION / _FIGURES / "maps.png"


def half_map(half: int) -> Path:
    """The deformed half map."""
    return BACKPROJECTION / f"map_half{half}.mrc"


def rigid_half_map(half: int) -> Path:
    """The same without deformation."""
    return BACKPROJECTION / f"rigid_half{half}.mrc"


# what PostProcess takes; RELION's schemer can name the files at the top of a node's job directory and no others
LINKED_AT_TOP = {half_map(1): HALF_MAP_LABEL, half_map(2): HALF_MAP_LABEL, MASK: MASK_LABEL}


def sums_index(process: int) -> Path:
    """What one of the processes that share a reconstruction has summed."""
    return PARTIAL_SUMS_INDEX.with_stem(f"{PARTIAL_SUMS_INDEX.stem}_{process}") if process else PARTIAL_SUMS_INDEX


def partial_sums(half: int, part: str, number: int) -> Path:
    """Sums of a bin of the particles of a part, ``train`` or ``all``."""
    return PARTIAL_SUMS / f"half{half}_{part}_bin{number:04d}.pth"


def fsc_xml(name: str) -> Path:
    """FSC curve of the maps of a name, ``deformed`` or ``rigid``."""
    return BACKPROJECTION / f"fsc_{name}.xml"


# --- maps of states ---
STATE_MAPS_TABLE = STATE_MAPS / "states.star"
STATE_MAPS_FIGURE = STATE_MAPS / _FIGURES / "states.png"
STATE_MAPS_CURVES_FIGURE = STATE_MAPS / _FIGURES / "widths.png"
STATE_MAP_PATTERN = str(STATE_MAPS / "state[0-9]*")
SOLVED_STATES_INDEX = STATE_MAPS / "solved.pth"
SOLVED_STATES = STATE_MAPS / "solved"


def state_half_map(number: int, half: int) -> Path:
    """Half map of a state, counted from 1, from the particles around it."""
    return STATE_MAPS / f"state{number:03d}_half{half}.mrc"


def plain_state_half_map(number: int, half: int) -> Path:
    """The same particles, with the same weights, without any deformation."""
    return STATE_MAPS / f"state{number:03d}_plain_half{half}.mrc"


def mapped_states(half: int) -> Path:
    """Where the mapped states are along the main motions of a half set."""
    return STATE_MAPS / f"states_half{half}.star"


def state_map(number: int, kind: str = "") -> Path:
    """Filtered mean of the half maps of a state, or another map of a kind."""
    return STATE_MAPS / f"state{number:03d}{kind and '_'}{kind}.mrc"


def state_fsc(number: int) -> Path:
    """FSC curves of the maps of a state."""
    return STATE_MAPS / f"state{number:03d}_fsc.star"


def solved_state(key: str) -> Path:
    """Maps of a half set that an unfinished run has solved."""
    return SOLVED_STATES / f"{key}.pth"


# --- visualization ---
ALL_GAUSSIANS_FIGURE = VISUALIZATION / _FIGURES / "02_gaussians.png"
ALL_DISPLACEMENTS_FIGURE = VISUALIZATION / _FIGURES / "03_displacements.png"
DISAGREEMENT_FIGURE = VISUALIZATION / _FIGURES / "06_disagreement.png"
DISAGREEMENT = VISUALIZATION / "disagreement.json"
HELD_OUT_PARTICLES = VISUALIZATION / "particles_half0.star"
PAGE = VISUALIZATION / "explore.html"
ANIMATION_STEM = "animation"  # files of a movie's folder from here on
MOVIE_ARROWS = "motion.bild"
MOVIE_SCRIPT = "play.cxc"
VOLUME_PATTERN = "volume[0-9]*.mrc"


def shown_states(half: int) -> Path:
    """List of the maps that a run has written."""
    return VISUALIZATION / f"states_half{half}.star"


def shown_regions(half: int) -> Path:
    """Table of displacement per region."""
    return VISUALIZATION / f"regions_half{half}.star"


def landscape(half: int) -> Path:
    """Densities of states along the main motions, and stable states."""
    return VISUALIZATION / f"landscape_half{half}.star"


def shown_gaussians(half: int) -> Path:
    """The Gaussians as atoms."""
    return VISUALIZATION / f"gaussians_half{half}.pdb"


def shown_particles(half: int) -> Path:
    """Particles with their latents and clusters."""
    return VISUALIZATION / f"particles_half{half}.star"


def latents_figure(half: int) -> Path:
    """Density and displacement in the latent space."""
    return VISUALIZATION / _FIGURES / f"01_latents_half{half}.png"


def colourings_figure(half: int) -> Path:
    """What else the latent space can be coloured by."""
    return VISUALIZATION / _FIGURES / f"01_latents_more_half{half}.png"


def motion_figure(number: int, half: int) -> Path:
    """States along a main motion, counted from 1."""
    return VISUALIZATION / _FIGURES / f"04_motion{number:02d}_half{half}.png"


def clusters_figure(half: int) -> Path:
    """States of the clusters."""
    return VISUALIZATION / _FIGURES / f"05_clusters_half{half}.png"


def listed_states_figure(half: int) -> Path:
    """States that the user has listed."""
    return VISUALIZATION / _FIGURES / f"06_listed_states_half{half}.png"


def parts_figure(half: int) -> Path:
    """States with and without the parts that some particles lack."""
    return VISUALIZATION / _FIGURES / f"08_parts_half{half}.png"


def landscape_figure(half: int) -> Path:
    """Densities of states along the main motions."""
    return VISUALIZATION / _FIGURES / f"01_populations_half{half}.png"


def state_path_figure(first: int, last: int, half: int) -> Path:
    """States on the way from a stable state to another."""
    return VISUALIZATION / _FIGURES / f"07_path{first:02d}to{last:02d}_half{half}.png"


def trajectory_figure(half: int) -> Path:
    """States along a path through the listed ones."""
    return VISUALIZATION / _FIGURES / f"07_trajectory_half{half}.png"


def saved_latents_figure(method: str, colouring: str, half: int) -> Path:
    """The latent space as it was saved in the window."""
    return VISUALIZATION / _FIGURES / f"07_{method}_{colouring.replace(' ', '_')}_half{half}.png"


def volume(index: int) -> str:
    """A map in the folder of a movie."""
    return f"volume{index:03d}.mrc"


@dataclass(frozen=True)
class Series:
    """Files or folders that are numbered on from run to run: ``STEMNNN_halfH``, or ``STEMNNN`` of both halves, of any ending.

    Attributes
    ----------
    folder
        Where they are.
    stem
        What their names begin with.
    digits
        Of the number, at least.
    """

    folder: Path
    stem: str
    digits: int

    def path(self, number: int, half: int | None, ending: str = "") -> Path:
        """One of them; half None: of both."""
        of_half = "" if half is None else f"_half{half}"
        return self.folder / f"{self.stem}{number:0{self.digits}d}{of_half}{ending}"

    def number_and_half(self, name: str) -> tuple[int, int | None] | None:
        """What a file name says; None where it is none of the series."""
        found = re.fullmatch(rf"{self.stem}(\d+)(?:_half(\d))?(\..*)?", name)
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None


STATES = Series(MAPS, "map", digits=3)
STATE_MOVIES = Series(MOVIES, "movie", digits=2)
WINDOW_PICTURES = Series(VISUALIZATION, "window", digits=3)
PARTICLE_SUBSETS = Series(SUBSETS, "subset_", digits=3)
# what a later run makes again
STATE_PATTERN = str(MAPS / "*.mrc")
MOVIE_VOLUME_PATTERN = str(MOVIES / "*" / "*.mrc")
