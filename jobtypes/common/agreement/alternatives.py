"""What goes wrong between programs: other ways to take the inputs, commonest first, each with what it is in words."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.agreement.readings import Reading
from jobtypes.common.agreement.samples import Sample

Change = Callable[[Reading], Reading]
_AXES = "xyz"
_ANGLES = ("rot", "tilt", "psi")


@dataclass(frozen=True)
class Alternative:
    """Another way to take the inputs.

    Attributes
    ----------
    what
        That the particles fit, such as "the mirror image of the map".
    remedy
        What to do, without a full stop.
    change
        Reading -> the reading with this taken the other way.
    phase_flipped
        Whether images are then taken for phase-flipped: True or False; None: that is not the question.
    """

    what: str
    remedy: str
    change: Change
    phase_flipped: bool | None = None


def all_alternatives(sample: Sample) -> list[Alternative]:
    """Everything that is tried for some particles but sizes and places of the map, which are searched for."""
    return [
        *_of_ctf(sample),
        *_of_maps(),
        *_of_contrast(),
        *_of_origins(sample),
        *_of_angles(),
        *_of_defocus(sample),
        *_of_images(),
        *_of_rows(sample),
    ]


# --- CTF -------------------------------------------------------------------------------------------------------------
def _of_ctf(sample: Sample) -> Iterator[Alternative]:
    optics = sample.table.optics
    used = sample.group.unique().numpy()
    flipped, premultiplied = bool(optics.phase_flipped[used].any()), bool(optics.premultiplied[used].any())
    flag = "in data_optics (rlnCtfDataArePhaseFlipped, rlnCtfDataAreCtfPremultiplied)"
    if not flipped or premultiplied:
        # of images that are said to be premultiplied it is not enough to take the modulus: the flag itself is wrong
        found = None if premultiplied else True
        yield _transfer("phase-flipped images", torch.abs, f"set them to 1 and 0 {flag}", phase_flipped=found)
    if not premultiplied:
        yield _transfer(
            "images that were multiplied by their CTF", torch.square, "set rlnCtfDataAreCtfPremultiplied to 1 in data_optics"
        )
    if flipped or premultiplied:
        found = None if premultiplied else False
        yield _transfer("raw images", lambda values: values, f"set both flags to 0 {flag}", phase_flipped=found)
    yield _transfer(
        "images whose CTF was corrected for in full",
        torch.ones_like,
        "extract the particles again from micrographs that are not CTF-corrected",
    )


def _transfer(what: str, transfer: Callable[[Tensor], Tensor], remedy: str, *, phase_flipped: bool | None = None) -> Alternative:
    return Alternative(what, remedy, lambda reading: replace(reading, transfer=transfer), phase_flipped)


def _of_defocus(sample: Sample) -> Iterator[Alternative]:
    remedy = "correct rlnDefocusU and rlnDefocusV, which are in A and positive for underfocus"
    yield _defocus("the opposite sign of the defocus", -1.0, remedy)
    for factor, unit in ((1e4, "micrometres"), (10.0, "nanometres"), (0.1, "tenths of an A")):
        yield _defocus(f"a defocus {factor:g} times that of the STAR file, as if it were in {unit}", factor, remedy)
    for kilovolts in (300.0, 200.0, 120.0, 100.0):
        if not bool((_voltages(sample) == kilovolts).all()):
            set_to = partial(torch.full_like, fill_value=kilovolts)
            yield Alternative(
                f"CTFs at {kilovolts:g} kV", "correct rlnVoltage of data_optics", _ctf_changed("voltage_kilovolts", set_to)
            )
    astigmatism = "correct rlnDefocusAngle, which is from x to y, of rlnDefocusU"
    yield Alternative(
        "the opposite sign of the angle of astigmatism",
        astigmatism,
        _ctf_changed("defocus_angle_degrees", operator.neg),
    )
    yield Alternative(
        "rlnDefocusU and rlnDefocusV exchanged",
        astigmatism,
        _ctf_changed("defocus_angle_degrees", partial(operator.add, 90)),
    )
    yield Alternative(
        "CTFs with a phase shift that is 90 degrees larger",
        "correct rlnPhaseShift (degrees), which a phase plate needs",
        _ctf_changed("phase_shift_degrees", partial(operator.add, 90)),
    )


def _voltages(sample: Sample) -> Tensor:
    return torch.from_numpy(sample.table.optics.voltage_kilovolts[sample.group.numpy()])


def _defocus(what: str, factor: float, remedy: str) -> Alternative:
    return Alternative(what, remedy, partial(with_defocus_times, factor=factor))


def of_defocus_factor(factor: float, sample: Sample) -> Alternative:
    """A factor that was found."""
    pixel = sample.terms.pixel_size_angstroms
    return _defocus(
        f"a defocus {factor:.3g} times that of the STAR file, or a pixel size of {pixel * factor**-0.5:.4g} A where that of the "
        f"CTFs is {pixel:.4g} A",
        factor,
        "correct rlnDefocusU and rlnDefocusV, or rlnImagePixelSize of data_optics and the pixel size of the map",
    )


def of_map_size(factor: float, sample: Sample) -> Alternative:
    """A size of the molecule in the map, over that in the images, that was found."""
    pixel = sample.terms.pixel_size_angstroms
    return Alternative(
        f"a map of {pixel / factor:.4g} A per voxel, not of {pixel:.4g} A",
        "give the map of the refinement that these poses come from, or rescale it (relion_image_handler --i MAP --o NEW --angpix "
        f"{pixel / factor:.4g} --rescale_angpix {pixel:.4g} --new_box {sample.terms.box})",
        partial(with_map_size, factor=factor),
    )


def of_displacement(shift_angstroms: Tensor, sample: Sample) -> Alternative:
    """A shift (3,) of the map that was found."""
    x, y, z = (round(shift / sample.terms.pixel_size_angstroms) for shift in shift_angstroms.tolist())
    return Alternative(
        f"the map moved by {x}, {y}, {z} pixels in x, y, z",
        "give the map of the refinement that these poses come from, or move it (relion_image_handler --i MAP --o NEW "
        f"--shift_x {x} --shift_y {y} --shift_z {z})",
        lambda reading: replace(reading, map_shift_angstroms=shift_angstroms),
    )


def with_map_size(reading: Reading, factor: float) -> Reading:
    """The reading with another size of the molecule in the map."""
    return replace(reading, map_scale=reading.map_scale * factor)


def with_defocus_times(reading: Reading, factor: float) -> Reading:
    """The reading with other defocus values."""
    u, v = reading.ctf.defocus_u_angstroms, reading.ctf.defocus_v_angstroms
    return replace(reading, ctf=replace(reading.ctf, defocus_u_angstroms=u * factor, defocus_v_angstroms=v * factor))


def _ctf_changed(name: str, change: Callable[[Tensor], Tensor]) -> Change:
    return lambda reading: replace(reading, ctf=replace(reading.ctf, **{name: change(getattr(reading.ctf, name))}))


def _changed(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda reading: replace(reading, **{name: change(getattr(reading, name))})


# --- map and images --------------------------------------------------------------------------------------------------
def _of_contrast() -> Iterator[Alternative]:
    yield Alternative(
        "the map with inverted contrast",
        "images and map must both be white on black: invert the images (relion_preprocess --operate_on STACK --invert_contrast) "
        "or the map (relion_image_handler --multiply_constant -1)",
        _changed("contrast", operator.neg),
    )


def _of_maps() -> Iterator[Alternative]:
    """All ways to turn or mirror a map onto its own axes: single mirrors first, then as few exchanged axes as possible."""
    yield Alternative(
        "the map with its centre at its first voxel, the corner of the box",
        "move its centre to the middle of the box (relion_image_handler --shift_x, --shift_y and --shift_z by half the box)",
        _changed("centre_at_corner", operator.not_),
    )
    for order in sorted(itertools.permutations(range(3)), key=lambda order: sum(a != b for a, b in enumerate(order))):
        for signs in sorted(itertools.product((1, -1), repeat=3), key=lambda signs: (signs.count(-1) % 2 == 0, signs.count(-1))):
            axes = torch.zeros(3, 3)
            axes[range(3), list(order)] = torch.tensor(signs, dtype=torch.float32)
            if not torch.equal(axes, torch.eye(3)):
                yield _map_axes(axes)


def _map_axes(axes: Tensor) -> Alternative:
    taken = ", ".join(
        ("-" if sign < 0 else "") + _AXES[axis] for sign, axis in zip(axes.sum(1), axes.abs().argmax(1), strict=True)
    )
    mirrored = bool(torch.linalg.det(axes) < 0)
    flipped = [_AXES[axis] for axis in range(3) if axes[axis, axis] < 0]
    if mirrored and len(flipped) == 1 and bool(axes.diagonal().abs().all()):
        flip = f"mirror it along {flipped[0]} (relion_image_handler --i MAP --o NEW --flip{flipped[0].upper()})"
    else:
        flip = f"exchange its axes: x, y, z must become {taken}"
    name = "the mirror image of the map" if mirrored else "the map turned"
    return Alternative(
        f"{name} (its x, y, z taken as {taken})",
        f"give the map of the refinement that these poses come from, or {flip}",
        _changed("map_axes", partial(torch.matmul, axes)),
    )


def _of_images() -> Iterator[Alternative]:
    names = {
        "mirrored in x": ((-1, 0), (0, 1)),
        "mirrored in y": ((1, 0), (0, -1)),
        "with x and y exchanged": ((0, 1), (1, 0)),
        "turned by 180 degrees": ((-1, 0), (0, -1)),
        "turned by 90 degrees": ((0, -1), (1, 0)),
        "turned by -90 degrees": ((0, 1), (-1, 0)),
        "with x and y exchanged and both reversed": ((0, -1), (-1, 0)),
    }
    for name, axes in names.items():
        yield Alternative(
            f"images {name}",
            "the stacks were written with other axes than RELION's: extract the particles again, or convert the stacks",
            _changed("image_axes", partial(torch.matmul, torch.tensor(axes, dtype=torch.float32))),
        )


# --- poses -----------------------------------------------------------------------------------------------------------
def _of_origins(sample: Sample) -> Iterator[Alternative]:
    pixel = sample.table.pixel_size_angstroms
    remedy = "correct rlnOriginXAngst and rlnOriginYAngst, which are in A, the shift that centres the projection"
    factors = {
        "with the opposite sign": (-1.0, -1.0),
        "times the pixel size, as if they were in pixels": (pixel, pixel),
        "over the pixel size, as if they had been multiplied by it twice": (1 / pixel, 1 / pixel),
        "of 0, as of images that are centred already": (0.0, 0.0),
        "with the opposite sign in x": (-1.0, 1.0),
        "with the opposite sign in y": (1.0, -1.0),
        "with the opposite sign and times the pixel size": (-pixel, -pixel),
    }
    for name, factor in factors.items():
        yield Alternative(
            f"origins {name}",
            remedy,
            _changed("origins_angstroms", partial(torch.mul, torch.tensor(factor, dtype=torch.float64))),
        )
    yield Alternative(
        "origins with x and y exchanged",
        remedy,
        _changed("origins_angstroms", torch.fliplr),
    )


def _of_angles() -> Iterator[Alternative]:
    remedy = "the angles follow another program's convention: convert the poses anew to RELION's"
    for order, signs in itertools.product(((0, 1, 2), (2, 1, 0)), itertools.product((1, -1), repeat=3)):
        if (order, signs) != ((0, 1, 2), (1, 1, 1)):
            taken = ", ".join(("-" if sign < 0 else "") + _ANGLES[angle] for angle, sign in zip(order, signs, strict=True))
            inverse = " (the inverse rotation)" if order[0] == 2 and signs == (-1, -1, -1) else ""
            yield Alternative(f"poses whose rot, tilt, psi are taken as {taken}{inverse}", remedy, _angles_taken(order, signs))
    for angle, degrees in itertools.product((2, 0), (90.0, -90.0, 180.0)):
        change = torch.zeros(3, dtype=torch.float64)
        change[angle] = degrees
        yield Alternative(
            f"poses whose {_ANGLES[angle]} is {degrees:g} degrees larger",
            remedy,
            _changed("angles_degrees", partial(torch.add, change)),
        )
    yield Alternative(
        "poses whose angles are taken as radians",
        "write rlnAngleRot, rlnAngleTilt and rlnAnglePsi in degrees",
        _changed("angles_degrees", torch.rad2deg),
    )


def _angles_taken(order: tuple[int, ...], signs: tuple[int, ...]) -> Change:
    def change(reading: Reading) -> Reading:
        angles = reading.angles_degrees[:, list(order)]
        return replace(reading, angles_degrees=angles * angles.new_tensor(signs))

    return change


def _of_rows(sample: Sample) -> Iterator[Alternative]:
    for step, name in ((1, "next"), (-1, "last")):
        yield Alternative(
            f"the poses and CTFs of the {name} particle of the STAR file",
            "image numbers (rlnImageName) count from 1, and rows must not be shifted against the stacks",
            partial(_of_other_rows, sample, step),
        )


def _of_other_rows(sample: Sample, step: int, reading: Reading) -> Reading:
    rows = (reading.rows + step) % len(sample.table)
    taken = Reading.of_rows(sample, rows)
    return replace(
        reading, rows=rows, angles_degrees=taken.angles_degrees, origins_angstroms=taken.origins_angstroms, ctf=taken.ctf
    )
