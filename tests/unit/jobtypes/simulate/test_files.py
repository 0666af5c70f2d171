import mrcfile
import numpy as np
import pytest
import starfile

from jobtypes.simulate.files import write_particles_star, write_stack
from jobtypes.simulate.geometry import random_poses
from jobtypes.simulate.optics import random_optics


@pytest.mark.parametrize(("float16", "mode"), [(False, 2), (True, 12)])
def test_a_stack_is_a_valid_mrc_file(tmp_path, float16, mode):
    images = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    write_stack(tmp_path / "a.mrcs", images, 2.5, float16=float16)
    with mrcfile.open(tmp_path / "a.mrcs") as file:
        assert file.header.mode == mode
        assert file.is_image_stack()
        assert float(file.voxel_size.x) == pytest.approx(2.5)
        assert float(file.header.rms) == pytest.approx(file.data.astype(float).std(), rel=1e-5)
        np.testing.assert_allclose(file.data.astype(float), images, atol=2e-3 if float16 else 0)
    assert mrcfile.validate(tmp_path / "a.mrcs")


def test_the_star_file_reads_back(tmp_path):
    poses = random_poses(4, np.random.default_rng(0), shift_range_angstroms=5)
    optics = random_optics(4, np.random.default_rng(1), defocus_angstroms=(8000, 9000), voltage_kilovolts=200)
    names = [f"{i:06d}@External/job001/Particles/a.mrcs" for i in range(1, 5)]
    half = np.array([1, 2, 2, 1])
    write_particles_star(tmp_path / "p.star", names, poses=poses, optics=optics, half=half, box=64, pixel_size_angstroms=2.5)
    tables = starfile.read(tmp_path / "p.star")
    assert tables["particles"].rlnImageName.tolist() == names
    assert tables["particles"].rlnRandomSubset.tolist() == [1, 2, 2, 1]
    columns = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"]
    np.testing.assert_allclose(tables["particles"][columns], poses.as_columns(), atol=1e-5)
    assert tables["optics"]["rlnVoltage"].item() == 200
    assert tables["optics"]["rlnImagePixelSize"].item() == 2.5
