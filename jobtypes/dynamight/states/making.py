"""From states to maps: for each state, half maps at every width of the kernel, the best width, and what the maps say.

What is learned from one half set never reaches the other: the state of the other half is found by what both models do to the
density, every half map is of its own particles, and only their FSC, the choice of the width and the reports look at both.

Several processes share the work as in the reconstruction: each has one half, and of its bins those that are its own. The first
one looks at what they have solved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.shared_halves import halves_of
from jobtypes.common.team import Team
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.backprojection.progress import Counter, SharedProgress
from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from jobtypes.dynamight.states.agreement import DrawnMixtures, PlainChange, Shown, nearest_shell, shown, unseen
from jobtypes.dynamight.states.half_state import HowToSolve, SolvedHalf, problem_at, solve_state
from jobtypes.dynamight.states.kernel import ParticleStates, candidate_widths, effective_number, in_words
from jobtypes.dynamight.states.matching import MatchedState, Matching
from jobtypes.dynamight.states.region import Regions
from jobtypes.dynamight.states.solved_maps import SolvedMaps
from jobtypes.dynamight.states.width_choice import best, errors_of_means
from jobtypes.dynamight.visualization.given_states import GivenState
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.running_job import RunningJob


@dataclass(frozen=True)
class Width:
    """A kernel.

    Attributes
    ----------
    angstroms
        Its width in each half; infinite where all particles count alike.
    numbers
        By half: how many particles of weight 1 would be as much.
    error
        Of the mean of its half maps, see `width_choice`; nan where it was given, not chosen.
    """

    angstroms: dict[int, float]
    numbers: dict[int, float]
    error: float


@dataclass(frozen=True)
class MadeState:
    """All about one state.

    Attributes
    ----------
    number, name
        From 1, and in words.
    matched
        The state in both halves.
    widths, width
        All that were tried, and the one taken.
    halves
        Half maps by half.
    nearest
        Plain half maps of the narrowest kernel that was tried, by half: the state as it is seen without any deformation.
    molecule, moving : (N, N, N)
        Soft masks around the molecule in this state, and around what of it moves.
    drawn : (N, N, N) each
        What each half's model draws of the state.
    shown
        Share of the model's change that the images show.
    """

    number: int
    name: str
    matched: MatchedState
    widths: list[Width]
    width: Width
    halves: dict[int, SolvedHalf]
    nearest: dict[int, Tensor]
    molecule: Tensor
    moving: Tensor
    drawn: dict[int, Tensor]
    shown: Shown

    @property
    def deformed(self) -> dict[int, Tensor]:
        """Half maps in which the particles' deformations to the state are taken out."""
        return {half: solved.deformed for half, solved in self.halves.items()}

    @property
    def plain(self) -> dict[int, Tensor]:
        """Half maps of the same particles without any deformation."""
        return {half: solved.plain for half, solved in self.halves.items()}


class StateMaking:
    """Makes the maps of one state after the other.

    Parameters
    ----------
    sessions
        Both halves.
    half
        In whose latent space the states are given.
    images
        All particles.
    how
        The reconstruction.
    bins
        Of all particles of each half.
    store, solved
        What is on disk of an unfinished run.
    job
        Progress and abort.
    team
        The processes that share the work; those of them that have the same half are in `how`.
    width_angstroms
        Of the kernel; None: chosen.
    """

    def __init__(
        self,
        sessions: Mapping[int, Session],
        half: int,
        images: ParticleImages,
        how: HowToSolve,
        bins: Mapping[int, Bins],
        *,
        store: SumsStore,
        solved: SolvedMaps,
        job: RunningJob,
        team: Team,
        width_angstroms: float | None = None,
    ) -> None:
        self._sessions, self._half, self._images, self._how = sessions, half, images, how
        self._store, self._solved, self._job, self._width_angstroms = store, solved, job, width_angstroms
        self._team, self._progress = team, SharedProgress(job, store, team)
        self._everywhere: dict[int, Tensor] | None = None
        self._plane = SlicePlane(images.table.box, device=sessions[half].coefficients.device)
        self._matching = Matching(sessions[half], sessions[3 - half])
        self._particles = {h: ParticleStates.of(session.part, session.motions) for h, session in sessions.items()}
        self._quality = {h: (session.part.quality * session.part.good).double().cpu() for h, session in sessions.items()}
        copy_of = torch.from_numpy(images.table.copy_of)
        self._image = {h: copy_of[torch.from_numpy(session.part.rows)] for h, session in sessions.items()}
        self._regions = Regions(sessions)
        pixel = images.table.pixel_size_angstroms
        self._finest_shell = nearest_shell(sessions[half].gaussians.resolution_angstroms, images.table.box, pixel)
        self._mixtures = {h: DrawnMixtures(session, bins[h]) for h, session in sessions.items()}

    def make(self, number: int, state: GivenState) -> MadeState | None:
        """All about the state of a number; None in all processes but the first."""
        matched, candidates = self._team.from_first(lambda: self._sought(state))
        tried = [self._solve(f"state{number:03d}_width{k}", state.name, matched, w) for k, w in enumerate(candidates)]
        is_seen = not all(map(math.isinf, candidates[-1].values()))
        everywhere = self._plain_of_all() if is_seen else {}
        if not self._team.is_first:
            return None
        molecule, moving = self._regions.molecule(matched.coordinates), self._regions.moving(matched.coordinates)
        errors = [math.nan]
        if len(candidates) > 1:
            errors = errors_of_means([{h: one.deformed for h, one in halves.items()} for halves in tried], moving)
        widths = [Width(w, self._numbers(matched, w), error) for w, error in zip(candidates, errors, strict=True)]
        chosen = best(errors)
        nearest = {h: one.plain for h, one in tried[-1].items()}
        return MadeState(
            number,
            state.name,
            matched,
            widths,
            widths[chosen],
            tried[chosen],
            nearest,
            molecule,
            moving,
            self._drawn(matched),
            self._shown(matched, candidates[-1], nearest, everywhere, moving) if is_seen else unseen(),
        )

    def _sought(self, state: GivenState) -> tuple[MatchedState, list[dict[int, float]]]:
        """A state in both halves, and the widths to choose from."""
        matched = self._matching.match(state.coordinates)
        return matched, self._candidates(matched)

    def _candidates(self, matched: MatchedState) -> list[dict[int, float]]:
        """Widths by half; of each half the same share of the particles counts, whatever its model makes of the motion's size."""
        if self._width_angstroms is not None:
            return [dict.fromkeys(HALVES, self._width_angstroms)]
        box = self._images.table.box
        of_half = {
            h: candidate_widths(self._particles[h], matched.coordinates[h], self._quality[h], self._image[h], box) for h in HALVES
        }
        return [dict(zip(HALVES, widths, strict=True)) for widths in zip(of_half[1], of_half[2], strict=False)]

    def _weights(self, half: int, matched: MatchedState, width: float) -> Tensor:
        return self._particles[half].weights(matched.coordinates[half], width)

    def _numbers(self, matched: MatchedState, widths: Mapping[int, float]) -> dict[int, float]:
        return {
            h: effective_number(self._weights(h, matched, width) * self._quality[h], self._image[h])
            for h, width in widths.items()
        }

    def _solve(
        self, name: str, title: str, matched: MatchedState, widths: Mapping[int, float], how: HowToSolve | None = None
    ) -> dict[int, SolvedHalf]:
        """Half maps of both halves; empty in all processes but the first."""
        solved = {
            half: self._solve_half(
                f"{name}_half{half}", f"{title}, {in_words(widths[half])}", half, matched, widths[half], how or self._how
            )
            for half in halves_of(self._team)
        }
        self._team.meet(self._job.abort_requested)
        return self._team.gathered(solved if self._how.crew.is_first else {}) or {}

    def _solve_half(self, name: str, title: str, half: int, matched: MatchedState, width: float, how: HowToSolve) -> SolvedHalf:
        found = self._solved.get(name)
        is_missing = how.crew.any_of(found is None)
        if found is not None and not is_missing:
            return found
        session = self._sessions[half]
        coefficients = session.state_coefficients(matched.coordinates[half])
        weights = how.crew.from_first(lambda: self._weights(half, matched, width))
        problem = problem_at(session.part, coefficients, weights, self._images, self._plane, how)
        found = solve_state(problem, self._store, name, how, lambda *stage: self._counter(f"{title}, half {half}", *stage))
        if how.crew.is_first:
            self._solved.put(name, found)
        return found

    def _drawn(self, matched: MatchedState) -> dict[int, Tensor]:
        drawn = {}
        for half, session in self._sessions.items():
            drawn[half] = session.gaussians.state(session.state_coefficients(matched.coordinates[half])).cpu()
        return drawn

    def _shown(
        self,
        matched: MatchedState,
        widths: Mapping[int, float],
        plain: Mapping[int, Tensor],
        everywhere: Mapping[int, Tensor],
        moving: Tensor,
    ) -> Shown:
        changes = {}
        for half in HALVES:
            weights = torch.stack((self._weights(half, matched, widths[half]), torch.ones_like(self._quality[half])))
            drawn_here, drawn_everywhere = self._mixtures[half].of(weights * self._quality[half])
            changes[half] = PlainChange(plain[half], everywhere[half], drawn_here, drawn_everywhere)
        return shown(changes, moving, self._finest_shell)

    def _plain_of_all(self) -> dict[int, Tensor]:
        """Plain half maps of all particles, made once; empty in all processes but the first."""
        if self._everywhere is None:
            anywhere = self._team.from_first(lambda: self._matching.match(torch.zeros(len(self._sessions[self._half].motions))))
            one_bin = replace(self._how, binning=replace(self._how.binning, most=1))
            solved = self._solve("all", "All particles", anywhere, dict.fromkeys(HALVES, math.inf), one_bin)
            self._everywhere = {half: one.plain for half, one in solved.items()}
        return self._everywhere

    def _counter(self, title: str, stage: str, total: int, unit: str) -> Counter:
        return self._progress.counter(f"{title}: {stage}", total, unit)
