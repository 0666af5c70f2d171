from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.agreement.findings import InputFindings, find_agreement
from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3

Make = Callable[..., "Made"]  # noqa: F821
Wrong = Callable[["Made"], "Made"]  # noqa: F821


def look(made) -> InputFindings:
    return find_agreement(made, made.volume, seed=1)


def defocus(factor: float) -> Wrong:
    names = ("rlnDefocusU", "rlnDefocusV")
    return lambda made: made.with_ctf_columns(**{name: made.table.ctf_columns[name] * factor for name in names})


def column(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Wrong:
    return lambda made: made.with_ctf_columns(**{name: change(made.table.ctf_columns[name])})


def angles(change: Callable[[np.ndarray], np.ndarray]) -> Wrong:
    return lambda made: made.with_table(angles_degrees=change(made.table.angles_degrees))


def origins(change: Callable[[np.ndarray], np.ndarray]) -> Wrong:
    return lambda made: made.with_table(origins_angstroms=change(made.table.origins_angstroms))


def volume(change: Callable[[Tensor], Tensor]) -> Wrong:
    return lambda made: made.with_volume(change)


def images(change: Callable[[Tensor], Tensor]) -> Wrong:
    return lambda made: made.with_images(change)


def mirrored(*axes: int) -> Callable[[Tensor], Tensor]:
    """Mirrored about the centre, as programs do that keep it."""
    return lambda values: values.flip(axes).roll((1,) * len(axes), axes)


def magnified(values: Tensor) -> Tensor:
    """The molecule 1.25 times as large."""
    inner = torch.nn.functional.interpolate(values[None, None], scale_factor=1.25, mode="trilinear")[0, 0]
    start = inner.shape[0] // 2 - len(values) // 2
    kept = slice(start, start + len(values))
    return inner[kept, kept, kept]


WRONG = {
    "map mirrored in x": (volume(mirrored(2)), "fit the mirror image of the map (its x, y, z taken as -x, y, z)"),
    "map mirrored in y": (volume(mirrored(1)), "fit the mirror image of the map (its x, y, z taken as x, -y, z)"),
    "map mirrored in z": (volume(mirrored(0)), "fit the mirror image of the map (its x, y, z taken as x, y, -z)"),
    "map mirrored through a pixel edge": (
        volume(lambda v: v.flip(0)),
        "fit the mirror image of the map (its x, y, z taken as x,",
    ),
    "map inverted through its centre": (
        volume(mirrored(0, 1, 2)),
        "fit the mirror image of the map (its x, y, z taken as -x, -y",
    ),
    "axes of the map reversed": (volume(lambda v: v.permute(2, 1, 0)), "taken as z, y, x)"),
    "map turned": (volume(mirrored(1, 2)), "fit the map turned (its x, y, z taken as -x, -y, z)"),
    "map at the corner": (volume(lambda v: v.roll((16,) * 3, (0, 1, 2))), "its centre at its first voxel"),
    "map moved": (volume(lambda v: v.roll((4, -3), (0, 2))), "fit the map moved by 3, 0, -4 pixels in x, y, z"),
    "map of another pixel size": (volume(magnified), "fit a map of 3."),
    "map of the other contrast": (volume(torch.neg), "fit the map with inverted contrast"),
    "images of the other contrast": (images(torch.neg), "fit the map with inverted contrast"),
    "images mirrored in y": (images(mirrored(1)), "fit images mirrored in y"),
    "images with x and y exchanged": (images(lambda v: v.mT), "fit images with x and y exchanged"),
    "premultiplied": (lambda made: made.filtered(lambda c: c), "fit images that were multiplied by their CTF"),
    "defocus of the other sign": (defocus(-1), "fit the opposite sign of the defocus"),
    "defocus in um": (defocus(1e-4), "as if it were in micrometres"),
    "defocus in nm": (defocus(0.1), "as if it were in nanometres"),
    "defocus of another pixel size": (defocus(1.3), "or a pixel size of 4."),
    "another voltage": (lambda made: made.with_optics(voltage_kilovolts=np.array([200.0])), "fit CTFs at 300 kV"),
    "U and V exchanged": (column("rlnDefocusAngle", lambda angle: angle + 90), "fit rlnDefocusU and rlnDefocusV exchanged"),
    "origins of the other sign": (origins(np.negative), "fit origins with the opposite sign (better"),
    "origins in pixels": (origins(lambda o: o / 4), "fit origins times the pixel size"),
    "origins over A": (origins(lambda o: o * 4), "fit origins over the pixel size"),
    "origins exchanged": (origins(lambda o: o[:, ::-1]), "fit origins with x and y exchanged"),
    "origins of x": (origins(lambda o: o * [-1, 1]), "fit origins with the opposite sign in x"),
    "inverse rotations": (angles(lambda a: -a[:, ::-1]), "(the inverse rotation)"),
    "psi of the other sign": (angles(lambda a: a * [1, 1, -1]), "taken as rot, tilt, -psi"),
    "psi turned": (angles(lambda a: a + np.array([0, 0, 90])), "poses whose psi is -90 degrees larger"),
    "radians": (angles(np.radians), "angles are taken as radians"),
    "rows against stacks": (images(lambda v: v.roll(-1, 0)), "of the next particle of the STAR file"),
}


@pytest.mark.parametrize(("wrong", "sentence"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(make_set: Make, wrong: Wrong, sentence: str) -> None:
    found = look(wrong(make_set()))
    assert len(found.errors) == 1
    assert sentence in found.errors[0]
    assert "does not fit well either" not in found.errors[0]
    assert not found.phase_flipped.any()


SOUND = {
    "as it is": lambda make: make(),
    "few particles": lambda make: make(20, noise=2.0),
    "little signal": lambda make: make(200, noise=6.0),
    "two optics groups": lambda make: make(n_groups=2),
    "a third of other things": lambda make: with_junk(make(90)),
    "one view": lambda make: seen_from_one_side(make),
    "a map of half the resolution": lambda make: make().with_volume(low_passed),
    "origins of zero": lambda make: make(origin=0.0),
    "images of different brightness": lambda make: bright(make()),
}


def symmetric(centres: Tensor, order: int, *, dihedral: bool) -> Tensor:
    """Centres (m, 3) of as many copies about z, and of these turned over about x if dihedral."""
    turns = torch.arange(order) * (2 * math.pi / order)
    zero, one = torch.zeros(order), torch.ones(order)
    rows = (turns.cos(), -turns.sin(), zero, turns.sin(), turns.cos(), zero, zero, zero, one)
    copies = torch.einsum("kij,nj->kni", torch.stack(rows, dim=1).view(-1, 3, 3), centres + torch.tensor((10.0, 0.0, 6.0)))
    return torch.cat((copies, copies * torch.tensor((1.0, -1.0, -1.0))) if dihedral else (copies,)).flatten(0, 1)


def with_junk(made):
    images = made.images.clone()
    images[::3] = images[::3].roll(7, 0).flip(1) * 2
    return made.with_images(lambda _: images)


def bright(made):
    return made.with_images(lambda images: images * torch.linspace(0.2, 5, len(images))[:, None, None])


def low_passed(values: Tensor) -> Tensor:
    keep = frequencies_3d(len(values), 4.0).norm(dim=-1) < 1 / 16
    return irfft3(rfft3(values) * keep, len(values))


def seen_from_one_side(make):
    made = make(300)
    kept = np.flatnonzero(np.abs(made.table.angles_degrees[:, 1] - 90) < 15)
    return replace(made, table=made.table.select(kept), images=made.images[torch.from_numpy(kept)])


@pytest.mark.parametrize("sound", SOUND.values(), ids=SOUND)
def test_sound_inputs_are_not_complained_about(make_set: Make, sound) -> None:
    found = look(sound(make_set))
    assert (found.errors, found.warnings) == ((), ())
    assert not found.phase_flipped.any()


@pytest.mark.parametrize(("order", "dihedral"), [(2, False), (4, False), (7, False), (3, True), (4, True)])
def test_a_symmetric_molecule_is_not_complained_about(make_set: Make, order: int, dihedral: bool) -> None:
    """Turned by its symmetry it fits as well, but no better."""
    found = look(make_set(shape=lambda centres: 0.6 * symmetric(centres, order, dihedral=dihedral)))
    assert found.errors == found.warnings == ()


def test_a_molecule_off_the_centre_of_its_box_is_not_complained_about(make_set: Make) -> None:
    found = look(make_set(shape=lambda centres: 0.7 * centres + torch.tensor((24.0, -15.0, 10.0)), origin=6.0))
    assert found.errors == found.warnings == ()


@pytest.mark.parametrize("said", [False, True])
def test_phase_flipped_images_are_taken_whatever_the_file_says(make_set: Make, said: bool) -> None:
    found = look(make_set().filtered(torch.sign).with_optics(phase_flipped=np.array([said])))
    assert (found.errors, found.warnings) == ((), ())
    assert found.phase_flipped.tolist() == [True]
    assert "are phase-flipped; the modulus of the CTF is used" in found.sentences[1]
    assert ("although rlnCtfDataArePhaseFlipped is 0" in found.sentences[1]) is not said


def test_raw_images_are_not_taken_for_phase_flipped_although_the_file_says_so(make_set: Make) -> None:
    found = look(make_set().with_optics(phase_flipped=np.array([True])))
    assert found.phase_flipped.tolist() == [False]
    assert "are not phase-flipped; the CTF is used as it is" in found.sentences[1]
    assert found.errors == ()


def test_raw_images_that_are_said_to_be_premultiplied_are_refused(make_set: Make) -> None:
    (error,) = look(make_set().with_optics(premultiplied=np.array([True]))).errors
    assert "fit raw images" in error


def test_one_optics_group_of_two_is_named(make_set: Make) -> None:
    made = make_set(80, n_groups=2)
    found = look(made.filtered(torch.sign, made.table.optics_group == 1))
    assert found.phase_flipped.tolist() == [False, True]
    assert "in optics group(s) 2 are phase-flipped" in found.sentences[1]


def test_another_angle_of_astigmatism_is_named(make_set: Make) -> None:
    found = look(column("rlnDefocusAngle", np.negative)(make_set(100)))
    assert "fit the opposite sign of the angle of astigmatism" in found.errors[0]


def test_two_faults_are_named_together(make_set: Make) -> None:
    found = look(make_set().with_images(torch.neg).with_volume(mirrored(0)))
    assert "fit the map with inverted contrast, and the mirror image" in found.errors[0] or (
        "taken as x, y, -z), and the map with inverted contrast" in found.errors[0]
    )


def test_poses_of_other_particles_fit_nothing(make_set: Make) -> None:
    order = np.random.default_rng(0).permutation(100)
    found = look(angles(lambda a: a[order])(make_set(100)))
    assert "fit the map hardly better at their own poses than at those of others" in found.errors[0]


def test_a_map_of_another_molecule_fits_nothing(make_set: Make) -> None:
    other = make_set(100, seed=2).volume
    found = look(make_set(100).with_volume(lambda _: other))
    assert "so that the map may be of another molecule" in found.errors[0]


def test_noise_alone_is_warned_of_and_not_refused(make_set: Make) -> None:
    found = look(make_set().with_images(lambda images: torch.randn(images.shape, generator=torch.Generator().manual_seed(1))))
    assert found.errors == ()
    assert "cannot be told from 48 particles" in found.warnings[0]


def test_curves_show_what_is_wrong_and_what_would_fit(make_set: Make) -> None:
    (curve,) = look(make_set().with_images(torch.neg)).curves
    assert curve.given[2] < -5 * curve.chance[2]
    assert curve.best[2] == pytest.approx(-curve.given[2])
    assert curve.frequencies_per_angstrom[0] == pytest.approx(1 / 128)


def test_the_same_seed_looks_at_the_same_particles(make_set: Make) -> None:
    made = make_set()
    assert look(made).sentences == look(made).sentences
