"""What held-out images say of a start from an atomic model, beside a training of the same images that began from the map.

Each held-out image is set against itself, so that small differences show. The likelihood of a training with another mask, band or
split is another quantity, and is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.posteriors import HeldOutVerdict
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.result import HELD_OUT_VERDICT, read_checkpoint
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import UserError

_OF_IMAGES = ("box", "pixel_size_angstroms", "particle_diameter_angstroms", "soft_edge_angstroms")  # among the settings


@dataclass(frozen=True)
class FromMap:
    """A training of the same images that began from the map: the directory of its job, and what its held-out images say."""

    job_directory: Path
    verdicts: dict[int, HeldOutVerdict]


def find_from_map(
    job_directory: Path, options: ForwardOptions, settings: dict[str, Any], halves: dict[int, HalfTraining]
) -> FromMap | None:
    """The newest finished training from the map among the jobs beside this one whose held-out images compare with those here.

    Parameters
    ----------
    job_directory
        Of this training.
    options, settings
        As its checkpoint has them.
    halves
        Half sets of this process.
    """
    finals = [path for path in job_directory.parent.glob(f"job*/{layout.FINAL_CHECKPOINT}") if job_directory not in path.parents]
    for path in sorted(finals, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            content = read_checkpoint(path)
        except UserError:  # of another version
            continue
        if content["options"].get("fn_model") is None and _compares(content, options, settings, halves):
            verdicts = {half: HeldOutVerdict.of_state(state[HELD_OUT_VERDICT]) for half, state in content["halves"].items()}
            return FromMap(job_directory.parent / path.relative_to(job_directory.parent).parts[0], verdicts)
    return None


def _compares(
    content: dict[str, Any], options: ForwardOptions, settings: dict[str, Any], halves: dict[int, HalfTraining]
) -> bool:
    """Whether the images, the split and the Fourier terms of a checkpoint are those of half sets of a training."""
    same = [content["settings"]["inputs"]["fn_star"] == settings["inputs"]["fn_star"]]
    same += [content["settings"][name] == settings[name] for name in _OF_IMAGES]
    same.append(content["options"].get("highest_resolution") == options.highest_resolution)
    for half, training in halves.items():
        state = content["halves"][half]
        same.append(HELD_OUT_VERDICT in state)
        same.append(torch.equal(state["rows"], torch.from_numpy(training.observations.rows)))
        same.append(torch.equal(torch.nonzero(state["held_out"]).squeeze(1), training.held_out))
    return all(same)


def beside(half: int, training: HalfTraining, verdict: HeldOutVerdict, other: FromMap | None) -> str:
    """What the held-out images of a half set say of the start from a model and of that from the map, in words."""
    if other is None:
        return (
            f"Half {half}: no finished training of these particles without fn_model stands beside this job; make one, so that "
            "what held-out particles say of both can be compared."
        )
    theirs = other.verdicts[half]
    judges = verdict.is_good & theirs.is_good
    image = training.observations.image_of[training.held_out[judges]]
    gain = Evidence.of((theirs.loss - verdict.loss)[judges], image)
    is_worse = Evidence(-gain.mean, gain.error).is_sure
    said, than = ("more", "than") if gain.is_sure else ("less", "than") if is_worse else ("as", "as")
    return (
        f"Half {half}: held-out particles are {said} likely ({gain} log-likelihood units each) {than} in {other.job_directory}, "
        f"which began from the map; motion makes them more likely by {verdict.motion} here, by {theirs.motion} there."
    )
