import numpy as np
import pytest
import torch

from jobtypes.simulate.render import AtomRenderer
from relion_jobs.contract.errors import UserError


def renderer(box, elements, **changes):
    return AtomRenderer(box, 3.0, elements, **changes)


@pytest.mark.parametrize("box", [24, 25])
def test_the_sum_of_the_map_along_z_is_the_image(box):
    elements = ["C", "N", "O", "S", "C"]
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)) * 8
    make = renderer(box, elements)
    image = make.images(points[None, :, :2])[0]
    torch.testing.assert_close(make.volume(points).sum(0), image, atol=1e-5, rtol=1e-4)


def test_the_map_sums_to_the_scattering_of_its_atoms_at_zero_angle():
    make = renderer(24, ["C", "O"], amplitude=2.0, solvent_share=0.0)
    total = float(make.volume(torch.zeros(2, 3)).sum()) * 3.0**3
    assert total == pytest.approx(2 * (2.5089 + 1.9826), rel=1e-3)


def test_an_atom_at_a_voxel_is_brightest_there_in_z_y_x_order():
    volume = renderer(24, ["C"]).volume(torch.tensor([[3.0, -6.0, 9.0]]))
    assert np.unravel_index(int(volume.argmax()), volume.shape) == (12 + 3, 12 - 2, 12 + 1)


def test_magnification_and_bfactor_blur():
    sharp, blurred = (renderer(24, ["C"], bfactor=b, solvent_share=0.0).images(torch.zeros(1, 1, 2)).max() for b in (50, 500))
    near, far = (renderer(24, ["C"], magnification=m, solvent_share=0.0).images(torch.zeros(1, 1, 2)).max() for m in (1, 2))
    assert sharp > blurred
    assert near > far


def test_parts_of_a_model_add_up():
    elements = np.array(["C", "N", "O", "C"])
    points = torch.randn(1, 4, 2, generator=torch.Generator().manual_seed(1)) * 8
    make = renderer(24, elements)
    first, second = np.array([0, 2]), np.array([1, 3])
    parts = make.spectra(points[:, first], first) + make.spectra(points[:, second], second)
    torch.testing.assert_close(parts, make.spectra(points), atol=1e-5, rtol=1e-4)


def test_an_unknown_element_is_named():
    with pytest.raises(UserError, match="Xx"):
        renderer(24, ["C", "Xx"])
