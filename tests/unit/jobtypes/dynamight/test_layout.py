"""The names in a job directory are a contract with users, their scripts and older jobs: all of them, as they have always been."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from jobtypes.common.earlier_results import set_aside
from jobtypes.dynamight import layout

LABELS = {
    "HALF_MAP_LABEL": "DensityMap.mrc.relion.halfmap.dynamight",
    "MAP_LABEL": "DensityMap.mrc.relion.dynamight",
    "MASK_LABEL": "Mask3D.mrc.relion.dynamight",
    "OPTIMISATION_SET_LABEL": "TomoOptimisationSet.star.relion.dynamight",
    "PARTICLES_LABEL": "ParticleGroupMetadata.star.relion.dynamight",
    "LOGFILE_LABEL": "LogFile.pdf.relion.dynamight",
    "PAGE_LABEL": "LogFile.html.relion.dynamight",
}
PATHS = {
    "FORWARD": "forward_deformations",
    "INVERSE": "inverse_deformations",
    "BACKPROJECTION": "backprojection",
    "VISUALIZATION": "visualization",
    "STATE_MAPS": "states",
    "MAPS": "maps",
    "MOVIES": "movies",
    "SUBSETS": "subsets",
    "SET_ASIDE_PATTERN": "previous_[0-9]*",
    "CHECKPOINTS": "forward_deformations/checkpoints",
    "FINAL_CHECKPOINT": "forward_deformations/checkpoints/checkpoint_final.pth",
    "CHECKPOINT_PATTERN": "forward_deformations/checkpoints/[0-9]*.pth",
    "SPECTRA_PATTERN": "forward_deformations/spectra_half*.tmp",
    "HISTORY": "forward_deformations/history.json",
    "PARTICLES": "forward_deformations/particles.star",
    "TRAINING_FIGURE": "forward_deformations/figures/01_training.png",
    "LATENTS_FIGURE": "forward_deformations/figures/02_latents.png",
    "GAUSSIANS_FIGURE": "forward_deformations/figures/03_gaussians.png",
    "DISPLACEMENTS_FIGURE": "forward_deformations/figures/04_displacements.png",
    "QUALITY_FIGURE": "forward_deformations/figures/05_quality.png",
    "OCCUPANCY_FIGURE": "forward_deformations/figures/06_occupancy.png",
    "AGREEMENT_FIGURE": "forward_deformations/figures/00_inputs.png",
    "FINAL_INVERSE": "inverse_deformations/inv_chkpt.pth",
    "INVERSE_PATTERN": "inverse_deformations/inv_chkpt_[0-9]*.pth",
    "INVERSE_ACCURACY": "inverse_deformations/accuracy.json",
    "INVERSE_TRAINING_FIGURE": "inverse_deformations/figures/01_training.png",
    "ROUND_TRIP_FIGURE": "inverse_deformations/figures/02_round_trip.png",
    "PARTIAL_SUMS_INDEX": "backprojection/partial_sums.pth",
    "PARTIAL_SUMS_INDICES": "backprojection/partial_sums*.pth",
    "PARTIAL_SUMS": "backprojection/partial_sums",
    "MAP": "backprojection/map_filtered.mrc",
    "RIGID_MAP": "backprojection/rigid_filtered.mrc",
    "MASK": "backprojection/mask.mrc",
    "LOCAL_GAIN": "backprojection/local_gain.mrc",
    "FSC_TABLE": "backprojection/fsc.star",
    "FSC_FIGURE": "backprojection/figures/fsc.png",
    "SLICES_FIGURE": "backprojection/figures/maps.png",
    "ALL_GAUSSIANS_FIGURE": "visualization/figures/02_gaussians.png",
    "ALL_DISPLACEMENTS_FIGURE": "visualization/figures/03_displacements.png",
    "DISAGREEMENT_FIGURE": "visualization/figures/06_disagreement.png",
    "DISAGREEMENT": "visualization/disagreement.json",
    "HELD_OUT_PARTICLES": "visualization/particles_half0.star",
    "PAGE": "visualization/explore.html",
    "ANIMATION_STEM": "animation",
    "MOVIE_ARROWS": "motion.bild",
    "MOVIE_SCRIPT": "play.cxc",
    "VOLUME_PATTERN": "volume[0-9]*.mrc",
    "STATE_MAPS_TABLE": "states/states.star",
    "STATE_MAPS_FIGURE": "states/figures/states.png",
    "STATE_MAPS_CURVES_FIGURE": "states/figures/widths.png",
    "STATE_MAP_PATTERN": "states/state[0-9]*",
    "SOLVED_STATES_INDEX": "states/solved.pth",
    "SOLVED_STATES": "states/solved",
    "STATE_PATTERN": "maps/*.mrc",
    "MOVIE_VOLUME_PATTERN": "movies/*/*.mrc",
}
CALLS = {
    "checkpoint": ((7,), "forward_deformations/checkpoints/007.pth"),
    "spectra": ((2,), "forward_deformations/spectra_half2.tmp"),
    "consensus": ((2,), "forward_deformations/consensus_half2.mrc"),
    "part_map": ((2, 1), "forward_deformations/part01_half2.mrc"),
    "gaussians": ((2,), "forward_deformations/gaussians_half2.pdb"),
    "motion_arrows": ((2,), "forward_deformations/motion01_half2.bild"),
    "inverse_checkpoint": ((20,), "inverse_deformations/inv_chkpt_020.pth"),
    "half_map": ((1,), "backprojection/map_half1.mrc"),
    "rigid_half_map": ((1,), "backprojection/rigid_half1.mrc"),
    "sums_index": ((3,), "backprojection/partial_sums_3.pth"),
    "partial_sums": ((1, "train", 12), "backprojection/partial_sums/half1_train_bin0012.pth"),
    "fsc_xml": (("rigid",), "backprojection/fsc_rigid.xml"),
    "state_half_map": ((3, 1), "states/state003_half1.mrc"),
    "mapped_states": ((1,), "states/states_half1.star"),
    "plain_state_half_map": ((3, 1), "states/state003_plain_half1.mrc"),
    "state_map": ((3, "local"), "states/state003_local.mrc"),
    "state_fsc": ((3,), "states/state003_fsc.star"),
    "solved_state": (("state003_width1_half2",), "states/solved/state003_width1_half2.pth"),
    "shown_states": ((1,), "visualization/states_half1.star"),
    "shown_regions": ((1,), "visualization/regions_half1.star"),
    "landscape": ((1,), "visualization/landscape_half1.star"),
    "landscape_figure": ((1,), "visualization/figures/01_populations_half1.png"),
    "state_path_figure": ((1, 2, 1), "visualization/figures/07_path01to02_half1.png"),
    "shown_gaussians": ((1,), "visualization/gaussians_half1.pdb"),
    "shown_particles": ((1,), "visualization/particles_half1.star"),
    "latents_figure": ((1,), "visualization/figures/01_latents_half1.png"),
    "colourings_figure": ((1,), "visualization/figures/01_latents_more_half1.png"),
    "motion_figure": ((3, 1), "visualization/figures/04_motion03_half1.png"),
    "clusters_figure": ((1,), "visualization/figures/05_clusters_half1.png"),
    "listed_states_figure": ((1,), "visualization/figures/06_listed_states_half1.png"),
    "parts_figure": ((1,), "visualization/figures/08_parts_half1.png"),
    "trajectory_figure": ((1,), "visualization/figures/07_trajectory_half1.png"),
    "saved_latents_figure": (("pca", "log density", 1), "visualization/figures/07_pca_log_density_half1.png"),
    "volume": ((4,), "volume004.mrc"),
}
SERIES = {
    "STATES": "maps/map012_half1.mrc",
    "STATE_MOVIES": "movies/movie12_half1.mrc",
    "WINDOW_PICTURES": "visualization/window012_half1.mrc",
    "PARTICLE_SUBSETS": "subsets/subset_012_half1.mrc",
}


def test_names_are_as_they_have_always_been() -> None:
    assert {name: str(getattr(layout, name)) for name in LABELS | PATHS} == LABELS | PATHS
    assert {name: str(getattr(layout, name)(*arguments)) for name, (arguments, _) in CALLS.items()} == {
        name: path for name, (_, path) in CALLS.items()
    }
    assert {name: str(getattr(layout, name).path(12, 1, ".mrc")) for name in SERIES} == SERIES


def test_no_name_is_left_out_above() -> None:
    known = {*LABELS, *PATHS, *CALLS, *SERIES, "RESULT_FOLDERS", "FIGURE_PATTERNS", "LINKED_AT_TOP", "Series"}
    mine = {name for name, value in vars(layout).items() if not inspect.ismodule(value) and not name.startswith("_")}
    assert mine - {"annotations", "Path", "dataclass"} == known


def test_what_post_process_takes_stands_at_the_top_under_its_own_name() -> None:
    assert {str(path): label.split(".")[0] for path, label in layout.LINKED_AT_TOP.items()} == {
        "backprojection/map_half1.mrc": "DensityMap",
        "backprojection/map_half2.mrc": "DensityMap",
        "backprojection/mask.mrc": "Mask3D",
    }


def test_a_training_and_what_follows_from_it_are_set_aside_together() -> None:
    kept = {"subsets"}  # of particles, which no training makes worthless
    folders = {Path(path).parts[0] for path in PATHS.values() if "/" in path} | kept
    assert {str(folder) for folder in layout.RESULT_FOLDERS} == folders - kept


def test_the_logbook_shows_each_figure() -> None:
    figures = [path for path in [*PATHS.values(), *(path for _, path in CALLS.values())] if path.endswith(".png")]
    assert figures
    assert all(any(Path(path).match(pattern) for pattern in layout.FIGURE_PATTERNS) for path in figures)


def test_what_is_set_aside_has_the_name_that_is_cleaned(tmp_path) -> None:
    assert set_aside(tmp_path, []).match(layout.SET_ASIDE_PATTERN)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (layout.CHECKPOINT_PATTERN, layout.checkpoint(1234)),
        (layout.SPECTRA_PATTERN, layout.spectra(1)),
        (layout.SPECTRA_PATTERN, layout.spectra(1, 2)),
        (str(layout.PARTIAL_SUMS_INDICES), layout.sums_index(0)),
        (str(layout.PARTIAL_SUMS_INDICES), layout.sums_index(12)),
        (layout.INVERSE_PATTERN, layout.inverse_checkpoint(20)),
        (layout.VOLUME_PATTERN, Path(layout.volume(3))),
        (layout.STATE_MAP_PATTERN, layout.state_map(1234)),
        (layout.STATE_PATTERN, layout.STATES.path(3, 1, ".mrc")),
        (layout.MOVIE_VOLUME_PATTERN, layout.STATE_MOVIES.path(3, 1) / layout.volume(3)),
    ],
)
def test_a_pattern_finds_its_files_but_no_final_one(pattern, path) -> None:
    assert path.match(pattern)
    assert not layout.FINAL_CHECKPOINT.match(pattern)
    assert not layout.FINAL_INVERSE.match(pattern)


def test_a_numbered_name_says_number_and_half() -> None:
    assert layout.STATES.number_and_half("map012_half2.pdb") == (12, 2)
    assert layout.STATE_MOVIES.number_and_half("movie1234_half1") == (1234, 1)
    assert layout.PARTICLE_SUBSETS.number_and_half(layout.PARTICLE_SUBSETS.path(3, None, ".star").name) == (3, None)
    assert layout.STATES.number_and_half("mapped_half2.pdb") is None
    assert layout.STATES.number_and_half("movie12_half1") is None
