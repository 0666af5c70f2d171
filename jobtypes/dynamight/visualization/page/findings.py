"""What was found, in one paragraph of plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobtypes.dynamight.model.disagreement import LEAST_CORRELATION
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.outputs import rms_of_gaussians
from jobtypes.dynamight.visualization.held_out import HeldOutParticles
from jobtypes.dynamight.visualization.session import Session

_MOBILE_SHARE = 0.1


def headline(told: dict[int, str], sessions: dict[int, Session], held_out: HeldOutParticles | None) -> str:
    """Say in one sentence whether there is motion, of what size, and whether the half sets agree."""
    rms = {half: _rms_of_density(session) for half, session in sessions.items()}
    size = f"{np.mean(list(rms.values())):.1f} Å rms"
    if any("no motion was found" in line for line in told.values()):
        return f"No motion was found that both half sets agree about; what was learned is {size}."
    if held_out is None:
        return f"The training has not ended; so far the density moves by {size}."
    correlation = np.mean([found.correlation for found in held_out.disagreements.values()])
    if correlation < LEAST_CORRELATION:
        return f"The half sets do not agree about a motion (correlation {correlation:.2f}); what was learned is {size}."
    error = np.mean([found.rms_error_angstroms for found in held_out.disagreements.values()])
    return (
        f"The molecule moves by {size}, and its most mobile tenth by {_mobile_tenth(sessions):.1f} Å; two half sets, learned "
        f"apart, agree about it to {error:.1f} Å (correlation {correlation:.2f})."
    )


def paragraph(forward: ForwardResult, sessions: dict[int, Session], reconstruction: dict[str, Any] | None) -> list[str]:
    """Further sentences: where it moves, by how many motions, what the maps gained, what the particles are."""
    session = sessions[1]
    sentences = [_where(session), _how_many_motions(session)]
    if reconstruction is not None:
        sentences.append(_of_maps(reconstruction["figures"]))
    sentences.append(_of_particles(forward))
    if forward.part_numbers:
        count = len(forward.part_numbers)
        sentences.append(
            f"{count} part{'s are' if count > 1 else ' is'} missing in some particles; see the switches below the molecule."
        )
    return sentences + [f"Take care: {warning}" for warning in forward.input_warnings]


def _rms_of_density(session: Session) -> float:
    weights = session.model.gaussians.amplitudes.cpu().double()
    return float((weights * rms_of_gaussians(session.part).cpu().double().square()).sum().div(weights.sum()).sqrt())


def _mobile_tenth(sessions: dict[int, Session]) -> float:
    """Rms displacement in A of the most mobile tenth of the Gaussians, mean of both half sets."""
    found = []
    for session in sessions.values():
        rms = rms_of_gaussians(session.part).cpu().double().numpy()
        found.append(np.sqrt(np.square(rms[rms >= np.quantile(rms, 1 - _MOBILE_SHARE)]).mean()))
    return float(np.mean(found))


def _where(session: Session) -> str:
    """The place of what moves most, seen from the middle of the molecule."""
    rms = rms_of_gaussians(session.part).cpu().double().numpy()
    positions = session.model.gaussians.positions.cpu().double().numpy()
    mobile = rms >= np.quantile(rms, 1 - _MOBILE_SHARE)
    place = positions[mobile].mean(0)
    coordinates = ", ".join(f"{value:.0f}" for value in place)
    return (
        f"What moves most lies around ({coordinates}) Å from the centre of the box, by {rms[mobile].mean():.1f} Å rms; the "
        f"stillest half of the molecule moves by {np.median(rms):.1f} Å or less."
    )


def _how_many_motions(session: Session) -> str:
    power = session.motions.rms_angstroms.double().square().numpy()
    shares = power / power.sum()
    needed = int(np.searchsorted(np.cumsum(shares), 0.9)) + 1
    first = f"The first main motion makes up {100 * shares[0]:.0f} % of it"
    return f"{first}." if needed == 1 else f"{first}, and {needed} together 90 %."


def _of_maps(figures: dict[str, Any]) -> str:
    word = {
        "better": "The deformed map is better than the rigid one by what held-out particles say",
        "same": "The deformed map is not better than the rigid one by what held-out particles say",
        "worse": "The deformed map is worse than the rigid one: use the rigid maps",
        "mixed": "The deformed map predicts held-out particles better, but its moving part is worse than that of the rigid one",
    }.get(figures["rlnDynamightVerdict"], "Whether the deformed map is better could not be judged")
    gain, error = float(figures["rlnDynamightLikelihoodGain"]), float(figures["rlnDynamightLikelihoodGainError"])
    return (
        f"{word} ({gain:+.1f} ± {error:.1f} log-likelihood units each); it reaches {float(figures['rlnFinalResolution']):.1f} Å "
        f"by its FSC, the rigid one {float(figures['rlnDynamightRigidResolution']):.1f} Å."
    )


def _of_particles(forward: ForwardResult) -> str:
    good = np.concatenate([part.good.cpu().numpy() for part in forward.halves.values()])
    return f"Of {len(good):,} particles {100 * good.mean():.1f} % are rather the molecule at its pose than something else."
