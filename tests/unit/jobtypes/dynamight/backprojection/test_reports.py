from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import pandas as pd
import pytest
import starfile
import torch

from jobtypes.common.small_tables import read_small_tables
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star, write_fsc_xml
from jobtypes.dynamight.backprojection.local_gain import local_correlation, local_gain, places
from jobtypes.dynamight.backprojection.memory_plan import MemoryPlan, most_bins
from jobtypes.dynamight.backprojection.moving_part import MovingPart
from jobtypes.dynamight.backprojection.verdict import Verdict, judge, latent_information, presence_information
from relion_jobs.contract.errors import UserError

OF_VERSION_0_1 = """
# version 50001

data_general

_rlnFinalResolution 4.12346
_rlnDynamightVerdict better
_rlnDynamightHeldOutParticles 20


# version 50001

data_fsc_deformed

loop_
_rlnSpectralIndex #1
_rlnResolution #2
_rlnAngstromResolution #3
_rlnFourierShellCorrelation #4
_rlnFourierShellCorrelationUnmaskedMaps #5
           0     0.000000   999.000000     1.000000     1.000000
           1     0.125000     8.000000     0.912346    -0.250000

"""


def test_the_star_file_reads_back(tmp_path):
    path = tmp_path / "fsc.star"
    curve = torch.tensor([1.0, 0.9, 0.5])
    figures = {"rlnFinalResolution": 4.5, "rlnDynamightVerdict": "better"}
    write_fsc_star(path, {"deformed": (curve, curve / 2)}, box=4, pixel_size_angstroms=2.0, figures=figures)
    tables = starfile.read(path)
    assert tables["general"]["rlnDynamightVerdict"] == "better"
    assert tables["fsc_deformed"]["rlnFourierShellCorrelation"].tolist() == pytest.approx(curve.tolist())
    assert tables["fsc_deformed"]["rlnFourierShellCorrelationUnmaskedMaps"].tolist() == pytest.approx([0.5, 0.45, 0.25])
    assert tables["fsc_deformed"]["rlnAngstromResolution"].tolist() == [999.0, 8.0, 4.0]


def test_the_star_file_holds_what_version_0_1_wrote(tmp_path):
    curves = {"deformed": (torch.tensor([1.0, 0.91234567]), torch.tensor([1.0, -0.25]))}
    figures = {"rlnFinalResolution": 4.123456789, "rlnDynamightVerdict": "better", "rlnDynamightHeldOutParticles": 20}
    write_fsc_star(tmp_path / "fsc.star", curves, box=4, pixel_size_angstroms=2.0, figures=figures)
    (tmp_path / "before.star").write_text(OF_VERSION_0_1)
    labels = {"general": tuple(figures), "fsc_deformed": ("rlnAngstromResolution",)}
    written, before = (read_small_tables(tmp_path / name, labels) for name in ("fsc.star", "before.star"))
    assert written["general"] == before["general"]
    pd.testing.assert_frame_equal(written["fsc_deformed"], before["fsc_deformed"])
    assert [*written] == [*before]


def test_the_xml_file_has_a_coordinate_per_shell(tmp_path):
    write_fsc_xml(tmp_path / "fsc.xml", torch.tensor([1.0, 0.5]), box=2, pixel_size_angstroms=5.0, title="FSC")
    root = ElementTree.parse(tmp_path / "fsc.xml").getroot()
    assert [(float(c.findtext("x")), float(c.findtext("y"))) for c in root.iter("coordinate")] == [(0.0, 1.0), (0.1, 0.5)]


def test_like_half_maps_correlate_everywhere_and_gain_nothing():
    volume = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(0))
    correlation = local_correlation(volume, volume, pixel_size_angstroms=3.0)
    torch.testing.assert_close(correlation, torch.ones_like(correlation), rtol=0, atol=1e-3)
    gain = local_gain((volume, volume), (volume, volume), torch.ones(12, 12, 12), pixel_size_angstroms=3.0)
    assert float(gain.abs().max()) == 0


def test_noise_in_one_place_lowers_the_correlation_there():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(32, 32, 32, generator=generator)
    second = first.clone()
    second[:, :, :10] = torch.randn(32, 32, 10, generator=generator)
    correlation = local_correlation(first, second, pixel_size_angstroms=3.0, window_pixels=2.0)
    assert float(correlation[16, 16, 5]) < 0.4
    assert float(correlation[16, 16, 22]) > 0.95


@pytest.mark.parametrize(
    ("shift", "information", "word"),
    [(5.0, 1.0, "better"), (5.0, 6.0, "same"), (0.0, 0.0, "same"), (-5.0, 1.0, "worse"), (-0.01, 0.0, "same")],
)
def test_the_verdict_follows_gain_error_and_information(shift, information, word):
    gains = shift + torch.linspace(-1, 1, 100) * (0.0 if shift == -0.01 else 1.0)
    verdict = judge(gains, torch.full((100,), information), torch.arange(100))
    assert verdict.word == word
    assert verdict.sentence().endswith(".")


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.0, "same within the error: 100 held-out particles are equally likely under both maps."),
        (-0.004, "same within the error: 100 held-out particles are equally likely under both maps."),
        (-0.02, "particles are less likely under the deformed map by 0.02 +- 0.00"),
        (4.0, "particles are more likely under the deformed map by 4.00 +- 0.00"),
    ],
)
def test_the_verdict_says_by_how_much_only_where_there_is_a_difference(gain, words):
    assert words in judge(torch.full((100,), gain), torch.zeros(100), torch.arange(100)).sentence()


def test_no_held_out_particles_means_no_verdict():
    assert judge(torch.empty(0), torch.empty(0), torch.empty(0, dtype=torch.int64)).word == "unknown"


def seen(deformed: float, rigid: float, error: float) -> MovingPart:
    return MovingPart(deformed, rigid, error=error, lost=0.9, worst_angstroms=(10.0, 0.0, -4.0))


@pytest.mark.parametrize(
    ("gain", "deformed", "error", "word"),
    [
        (5.0, 0.80, 0.02, "better"),
        (5.0, 0.36, 0.01, "better"),  # surely less, but not notably
        (5.0, 0.34, 0.04, "better"),  # notably less, but not surely
        (5.0, 0.34, 0.02, "mixed"),
        (0.0, 0.34, 0.02, "same"),
        (-5.0, 0.34, 0.02, "worse"),
        (-5.0, 0.80, 0.02, "worse"),
    ],
)
def test_better_is_never_said_where_the_moving_part_is_worse(gain, deformed, error, word):
    gains = gain + torch.linspace(-1, 1, 100)
    verdict = judge(gains, torch.zeros(100), torch.arange(100)).with_moving_part(seen(deformed, 0.4, error))
    assert verdict.word == word
    sentence = verdict.sentence()
    assert ("is better than" in sentence) == (word == "better")
    assert f"is {deformed:.2f} in the deformed and 0.40 in the rigid ones (+- {error:.2f})" in sentence
    assert ("smear it" in sentence) == (deformed == 0.34 and error == 0.02)
    assert sentence.endswith(".")


def test_a_moving_part_that_nobody_has_looked_at_changes_nothing():
    verdict = judge(torch.linspace(4, 6, 100), torch.zeros(100), torch.arange(100))
    assert verdict.with_moving_part(None) == verdict


@pytest.mark.parametrize("copies", [1, 8])
def test_one_held_out_image_proves_nothing(copies):
    gains = torch.linspace(49, 51, copies)
    assert judge(gains, torch.ones(copies), torch.zeros(copies, dtype=torch.int64)).word == "same"


def verdicts_without_gain(copies: int, noise_of_copies: float) -> list[Verdict]:
    """Of 1500 sets of 100 held-out images without any gain, whose copies see nearly the same noise."""
    generator = torch.Generator().manual_seed(copies)
    image = torch.arange(100).repeat_interleave(copies)
    verdicts = []
    for _ in range(1500):
        of_image, of_copy = (torch.randn(n, generator=generator) for n in (100, 100 * copies))
        verdicts.append(judge(of_image[image] + noise_of_copies * of_copy, torch.zeros(100 * copies), image))
    return verdicts


@pytest.mark.parametrize(("copies", "noise_of_copies"), [(1, 0.0), (8, 0.3), (60, 0.3)])
def test_without_a_gain_a_verdict_is_false_as_often_as_two_standard_errors_say(copies, noise_of_copies):
    words = [verdict.word for verdict in verdicts_without_gain(copies, noise_of_copies)]
    # of Student's t with 99 degrees of freedom 2.4 % lie beyond 2 on each side; four standard deviations of 1500 draws are 1.6 %
    for word in ("better", "worse"):
        assert words.count(word) / len(words) == pytest.approx(0.024, abs=0.016)


def test_copies_of_an_image_change_neither_gain_nor_error():
    generator = torch.Generator().manual_seed(0)
    gains, information = torch.randn(2, 100, generator=generator)
    once = judge(gains, information, torch.arange(100))
    eight = judge(gains.repeat(8), information.repeat(8), torch.arange(100).repeat(8))
    assert (eight.word, eight.n_particles, eight.n_copies) == (once.word, 100, 700)
    assert (eight.gain, eight.gain_error) == pytest.approx((once.gain, once.gain_error))
    assert "100 held-out particles (each image counts once, with its copies: 700 more) are" in eight.sentence()


def test_a_latent_like_the_prior_carries_no_information():
    information = latent_information(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, -2.0]]))
    expected = 0.5 * (1 + math.exp(-2) - 1 + 2)
    torch.testing.assert_close(information, torch.tensor([0.0, expected]))


def test_what_an_image_told_of_a_part_is_information():
    presence = torch.tensor([[0.7, 1.0], [0.7, 1.0], [1.0, 1.0], [0.4, 1.0], [0.0, 0.0]])
    train = torch.tensor([True, True, True, True, False])
    expected = [0.0, 0.0, math.log(1 / 0.7), 0.4 * math.log(0.4 / 0.7) + 0.6 * math.log(0.6 / 0.3), math.log(1 / 0.3)]
    found = presence_information(presence[:, :1], train)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert bool(presence_information(presence, train).isfinite().all())
    assert presence_information(presence[:, :0], train).tolist() == [0.0] * 5


def test_box_256_with_100_bins_fits_into_16_gigabytes_of_memory():
    plan = MemoryPlan(256, n_bins=50, n_bins_total=100, basis_bytes=2 * 16 * 12 * 256**3 // 3, batch_size=100)
    assert plan.working_bytes + plan.cache_bytes(16 * 10**9) < 16e9
    assert "scratch" in plan.sentence(16 * 10**9)


@pytest.mark.parametrize(("box", "fewest", "most"), [(64, 400, 2000), (128, 60, 300), (256, 40, 40)])
def test_small_boxes_may_have_as_many_bins_as_they_take_and_large_ones_some(box, fewest, most):
    assert fewest <= most_bins(box) <= most
    assert MemoryPlan(box, 1, 2 * most_bins(box), 0, 1).sums_bytes <= max(8e9, MemoryPlan(box, 1, 80, 0, 1).sums_bytes)


def test_the_plan_counts_the_particles_and_the_memory_of_a_gpu():
    sizes = {"n_bins": 10, "n_bins_total": 20, "basis_bytes": 10**8, "batch_size": 10}
    few, many = (MemoryPlan(128, **sizes, n_particles=count) for count in (0, 10**6))
    assert 0.2e9 < many.working_bytes - few.working_bytes < 2e9
    assert "GPU" not in few.sentence(10**10)
    roomy, full = (MemoryPlan(128, **sizes, free_gpu_bytes=free) for free in (10**11, few.gpu_bytes - 1))
    assert "of the 100.0 GB that are free, and keeps 0.2 GB of the sums" in roomy.sentence(10**10)
    assert "take a smaller backproject_batchsize, another GPU" in full.sentence(10**10)
    assert (few.gpu_cache_bytes(), full.gpu_cache_bytes()) == (0, 0)


def test_small_boxes_stay_in_memory():
    assert "stay in memory." in MemoryPlan(64, 20, 40, 10**7, 10).sentence(8 * 10**9)


def test_places_of_gain_and_loss_are_in_angstroms_from_the_box_centre():
    gain, mask = torch.zeros(16, 16, 16), torch.ones(16, 16, 16)
    gain[8, 8, 10], gain[4, 8, 8] = 0.4, -0.3
    found = places(gain, mask, 2.0)
    assert found.best_angstroms == (4.0, 0.0, 0.0)
    assert found.worst_angstroms == (0.0, 0.0, -8.0)
    assert found.gained == found.lost == pytest.approx(1 / 16**3)
    gain[8, 8, 10] = 0.01
    assert places(gain, mask, 2.0).gained == 0


def test_sums_and_maps_that_the_disk_cannot_hold_are_refused_unless_they_are_there(tmp_path):
    plan = MemoryPlan(box=32, n_bins=5, n_bins_total=10, basis_bytes=0, batch_size=10, n_maps=3)
    folder, needed = tmp_path / "job012/backprojection", plan.sums_bytes + 3 * 4 * 32**3
    plan.refuse_full_disk(folder.parent, free=needed)
    sentence = r"sums of 10 bins take 0\.0 GB in .*backprojection/, and 3 maps 0\.0 GB, but the disk has room for 0\.0 GB"
    with pytest.raises(UserError, match=sentence):
        plan.refuse_full_disk(folder.parent, free=needed - 1)
    (folder / "partial_sums").mkdir(parents=True)
    (folder / "partial_sums/half1_train_bin0000.pth").write_bytes(b"x")
    plan.refuse_full_disk(folder.parent, free=needed - 1)
    with pytest.raises(UserError, match="states/"):
        replace(plan, task_folder=layout.STATE_MAPS).refuse_full_disk(folder.parent, free=needed - 1)
