from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from jobtypes.common.agreement import samples
from jobtypes.common.agreement.samples import Terms, draw_sample


def test_inner_shells_are_whole_and_outer_ones_as_large_as_the_largest_may_be():
    terms = Terms.of(64, 4.0, torch.Generator().manual_seed(1))
    counts = torch.bincount(terms.shells)
    assert counts[0] == 0
    assert counts.max() == samples.MOST_TERMS_OF_SHELL
    assert terms.n_shells == 32
    assert len(set(terms.index.tolist())) == len(terms.index)


def test_terms_end_at_the_finest_resolution():
    terms = Terms.of(64, 2.0, torch.Generator().manual_seed(1))
    assert terms.box_length_angstroms / (terms.n_shells - 1) >= samples.FINEST_RESOLUTION_ANGSTROMS


def test_an_image_is_drawn_once_and_every_group_is_there(make_set, monkeypatch):
    monkeypatch.setattr(samples, "PARTICLES", 20)
    monkeypatch.setattr(samples, "FEWEST_OF_GROUP", 5)
    made = make_set(60, n_groups=3)
    copies = made.with_table(copy_of=np.arange(60) // 2)
    sample = draw_sample(copies, 1)
    assert torch.bincount(sample.group).tolist() == [6, 6, 6]
    assert len(set((sample.rows // 2).tolist())) == len(sample)


def test_images_and_shells_are_whitened(make_set):
    sample = draw_sample(make_set(40).with_images(lambda images: images * torch.arange(1.0, 41)[:, None, None]), 1)
    power = (sample.spectra.abs().square() * sample.terms.weights).sum(1) / sample.terms.weights.sum()
    assert torch.allclose(power, torch.ones(40), atol=1e-3)
    shells = sample.terms.sum_of_shells(sample.spectra.abs().square() * sample.terms.weights) / sample.terms.independent
    assert bool((shells[:, 1:].mean(0) - 1).abs().max() < 0.5)


def test_a_part_of_a_sample_keeps_what_belongs_together(make_set):
    sample = draw_sample(make_set(20, n_groups=2), 1)
    part = sample.select(sample.group == 1)
    assert (part.table.optics_group[part.rows] == 1).all()
    assert replace(part).spectra.shape[0] == len(part) == 10


def test_no_term_lies_beyond_what_the_coarsest_pixels_hold() -> None:
    terms = Terms.of(64, 4.0, torch.Generator().manual_seed(1), coarsest_angstroms=8.0)
    assert int(terms.shells.max()) == 16  # 64 pixels of 4 A, to 16 A
