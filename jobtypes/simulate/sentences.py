"""A score in plain words and as a table."""

from __future__ import annotations

from collections.abc import Mapping

from jobtypes.simulate.latent_measures import Latents
from jobtypes.simulate.map_measures import Agreement, MapAgreement
from jobtypes.simulate.motion_measures import DeformationAgreement, Motion
from jobtypes.simulate.occupancy_measures import OccupancyAgreement
from jobtypes.simulate.quality_measures import QualityAgreement
from jobtypes.simulate.truth import Truth

GOOD, FAIR = 0.8, 0.4
CALIBRATED = 0.05


def table(
    deformation: Mapping[int, DeformationAgreement], latents: Mapping[int, Latents], maps: Mapping[str, MapAgreement]
) -> str:
    """All figures, one measure a line."""
    lines = []
    if deformation or latents:
        lines.append(_row("", "half 1", "half 2"))
        measures = (
            ("explained motion, moving part", {h: _of(d.moving, "explained") for h, d in deformation.items()}),
            ("gain, moving part", {h: _of(d.moving, "gain") for h, d in deformation.items()}),
            ("error, moving part (A rms)", {h: _of(d.moving, "error_rms") for h, d in deformation.items()}),
            ("true motion, moving part (A rms)", {h: _of(d.moving, "true_rms") for h, d in deformation.items()}),
            ("false motion of the core (A rms)", {h: _of(d.core, "predicted_rms") for h, d in deformation.items()}),
            ("latent R2, 15 neighbours", {h: _list(z.neighbours_r2) for h, z in latents.items()}),
            ("latent R2, linear", {h: _list(z.linear_r2) for h, z in latents.items()}),
            ("view leak R2", {h: _of(z, "view_leak_r2") for h, z in latents.items()}),
        )
        lines += [_row(name, *(cells.get(half, "-") for half in (1, 2))) for name, cells in measures]
    if maps:
        if lines:
            lines.append("")
        order = [name for name in ("rigid", "result", "oracle") if name in maps]
        lines.append(_row("agreement with the true map (AUC)", *order))
        lines.append(_row("moving part, best conformation", *(_auc(maps[name].best_moving) for name in order)))
        lines.append(_row("fixed core", *(_auc(maps[name].truth_core) for name in order)))
        lines.append(_row("whole, halfway", *(_auc(maps[name].truth_whole) for name in order)))
        lines.append(
            _row("FSC 0.143 of the halves, whole (A)", *(f"{maps[name].halves_whole.resolution_143:.2f}" for name in order))
        )
    return "\n".join(lines)


def words(
    deformation: Mapping[int, DeformationAgreement], latents: Mapping[int, Latents], maps: Mapping[str, MapAgreement]
) -> str:
    """Say what the figures mean."""
    sentences = [_motion_words(half, value) for half, value in deformation.items()]
    sentences += [_latent_words(half, value) for half, value in latents.items()]
    if "result" in maps:
        sentences += _map_words(maps)
    elif maps:
        sentences.append(
            "There are no half maps of this result yet (backprojection/map_half1.mrc); the rigid maps were scored alone."
        )
    if not deformation:
        sentences.append("There are no displacements of this result.")
    return "\n".join(sentences)


def quality_table(quality: QualityAgreement) -> str:
    """Say what a quality promises beside what is true, one bin a line, and its mean for each kind of particle."""
    lines = [_row("quality of particles", "particles", "mean quality", "share good")]
    for one in quality.calibration:
        name = f"quality {one.low:g} to {one.high:g}"
        lines.append(_row(name, str(one.particles), f"{one.mean_quality:.3f}", f"{one.good_share:.3f}"))
    lines += [_row(f"mean quality, {kind}", f"{mean:.3f}") for kind, mean in quality.mean_by_kind.items()]
    return "\n".join(lines)


def quality_words(quality: QualityAgreement) -> str:
    """Say how well a quality tells particles from junk, and whether it can be taken at its word."""
    if quality.junk in (0, quality.particles):
        found = "Quality: the set holds no junk to be told from particles"
    else:
        found = (
            f"Quality: a particle has a higher one than a piece of junk in {quality.auc:.1%} of pairs "
            f"({quality.junk} of {quality.particles} particles are junk; 50 % by chance)"
        )
    word = "is calibrated" if quality.calibration_error <= CALIBRATED else "IS NOT CALIBRATED"
    return f"{found}; it {word}: on average it is {quality.calibration_error:.1%} off the share that is good."


def occupancy_words(occupancy: OccupancyAgreement) -> str:
    """Say how well the occupancy tells who lacks the first arm, and whether absence passes for motion."""
    told = " and ".join(f"{value:.2f} (half {half})" for half, value in occupancy.absence_in_latents.items())
    latents = f"; what latents tell of its absence: R2 {told}" if told else ""
    count = f"{occupancy.lacking} of {occupancy.particles} molecules lack the first arm"
    if not occupancy.lacking:
        claimed = f"but {occupancy.part} says so of some" if occupancy.part else "and none is said to"
        return f"Occupancy: no molecule lacks the first arm, {claimed}."
    if occupancy.lacking == occupancy.particles:
        return "Occupancy: all molecules lack the first arm, so that none can be told from another by it."
    if not occupancy.part:
        return f"Occupancy: {count}, and no part was found to be missing{latents}."
    return (
        f"Occupancy: {occupancy.part} is higher where the arm is there in {occupancy.auc:.1%} of pairs "
        f"({count}; 50 % by chance), and on average {occupancy.calibration_error:.1%} off the share that has it{latents}."
    )


def judged_words(truth: Truth) -> str:
    """Say by which particles motion and latents were judged."""
    return (
        f"Motion and latents were judged by good, whole particles at their pose: {truth.is_judged.sum()} of the "
        f"{len(truth.is_judged)} of the set."
    )


def _motion_words(half: int, value: DeformationAgreement) -> str:
    false = f" The core, which is fixed, moves falsely by {value.core.predicted_rms:.2f} A rms." if value.core else ""
    if value.moving is None:
        return f"Half {half}: nothing moves in truth.{false}"
    explained = value.moving.explained
    verdict = "well found" if explained >= GOOD else "partly found" if explained >= FAIR else "not found"
    return (
        f"Half {half}: the motion is {verdict}: {explained:.1%} of the true motion of the moving part "
        f"({value.moving.true_rms:.1f} A rms) is explained (0 % a rigid molecule, 100 % the truth), "
        f"its size is {value.moving.gain:.0%} of the true one.{false}"
    )


def _latent_words(half: int, value: Latents) -> str:
    if value.neighbours_r2:
        known = f"Half {half}: a particle's latent tells its place on the true path with R2 {_list(value.neighbours_r2)}"
    else:
        known = f"Half {half}: there is no path to tell"
    leak = (
        "does not betray the viewing direction"
        if value.view_leak_r2 < 0.05
        else "BETRAYS THE VIEWING DIRECTION, as it should not"
    )
    return f"{known}; it {leak} (R2 {value.view_leak_r2:.2f})."


def _map_words(maps: Mapping[str, MapAgreement]) -> list[str]:
    sentences = []
    for title, part in (("moving part", "best_moving"), ("fixed core", "truth_core")):
        values = {name: getattr(value, part) for name, value in maps.items()}
        if values["result"] is None:
            continue
        others = [
            f"{label} {values[name].auc:.3f}"
            for name, label in (("rigid", "rigid map"), ("oracle", "ceiling"))
            if values.get(name)
        ]
        beside = f" ({', '.join(others)})" if others else ""
        sentences.append(f"Map, {title}: the reconstruction agrees with the truth by {values['result'].auc:.3f}{beside}.")
    return sentences


def _row(*cells: str) -> str:
    return f"{cells[0]:<36}" + "".join(f"{cell:>16}" for cell in cells[1:])


def _of(part: Motion | Latents | None, measure: str) -> str:
    return "-" if part is None else f"{getattr(part, measure):.3f}"


def _auc(value: Agreement | None) -> str:
    return "-" if value is None else f"{value.auc:.3f}"


def _list(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values) or "-"
