"""Where the encoder looks."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import cdist

from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.encoder import Encoder, probe_points


@pytest.mark.parametrize("size", [20, 21])
def test_a_probe_reads_the_pixel_that_it_projects_to(size, backend):
    pixels_per_angstrom = 0.4
    matrices = euler_matrices(torch.tensor([[30.0, 70.0, -20.0], [0.0, 90.0, 45.0]]))
    shifts = torch.tensor([[2.5, -5.0], [0.0, 7.5]])
    # whole pixels from the centre in the first view, carried back into the molecule
    pixels = torch.tensor([[3.0, -2.0], [0.0, 0.0], [-4.0, 5.0]])
    view = torch.cat((pixels / pixels_per_angstrom - shifts[0], torch.tensor([[1.0], [-6.0], [2.0]])), dim=1)
    encoder = Encoder(view @ matrices[0], n_latent=1)
    images = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0))
    readings = encoder.read(images, pixels_per_angstrom, matrices, shifts, backend)
    expected = [images[0, size // 2 + int(y), size // 2 + int(x)] for x, y in pixels]
    assert torch.allclose(readings[0], torch.stack(expected), atol=1e-4)


def test_a_probe_between_pixels_reads_their_mean_and_one_outside_the_image_nothing(backend):
    encoder = Encoder(torch.tensor([[1.0, 0.0, 9.0], [500.0, 0.0, 0.0]]), n_latent=1)
    image = torch.zeros(1, 8, 8)
    image[0, 4, 4], image[0, 4, 5] = 2.0, 4.0
    readings = encoder.read(image, 0.5, torch.eye(3)[None], torch.zeros(1, 2), backend)
    assert readings[0].tolist() == pytest.approx([3.0, 0.0])


def test_opposite_views_with_mirrored_images_give_one_latent(backend):
    # a projection along -z is the mirror image of that along z: the encoder's view products cannot tell them apart
    torch.manual_seed(0)
    encoder = Encoder(8 * torch.randn(12, 3), n_latent=2).eval()
    image = torch.randn(1, 21, 21)
    front, back = torch.eye(3)[None], torch.diag(torch.tensor([-1.0, 1.0, -1.0]))[None]
    one, _ = encoder(image, 0.5, front, torch.zeros(1, 2), backend)
    other, _ = encoder(image.flip(2), 0.5, back, torch.zeros(1, 2), backend)
    assert torch.allclose(one, other, atol=1e-5)


def test_probes_fill_the_margin_around_the_gaussians_at_their_spacing():
    positions = 10 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    probes = probe_points(positions, 7.0, 14.0)
    assert float(cdist(probes, positions).min(1).max()) <= 14.0
    between = cdist(probes, probes)
    between[range(len(probes)), range(len(probes))] = 99.0
    edge = 7.0 * 2 ** (1 / 3)
    assert between.min(1) == pytest.approx(edge * 3**0.5 / 2, rel=1e-4)  # body-centred: along the diagonal of the cube
    # one probe for each half cube: no Gaussian is farther than half a cube's edge and a bit from a probe
    assert float(cdist(positions, probes).min(1).max()) <= edge * 5**0.5 / 4 + 1e-4


def test_no_image_asks_for_a_posterior_wider_than_the_prior(backend):
    torch.manual_seed(0)
    encoder = Encoder(8 * torch.randn(12, 3), n_latent=2)
    with torch.no_grad():
        encoder.log_variance.bias.fill_(14.0)  # what one image of a thousand once asked for
    images = torch.randn(4, 21, 21) * torch.tensor([0.0, 1.0, 100.0, 1e4])[:, None, None]
    _, log_variance = encoder(images, 0.5, torch.eye(3).expand(4, 3, 3), torch.zeros(4, 2), backend)
    assert float(log_variance.detach().max()) <= 0
