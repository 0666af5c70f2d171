"""Results that another training takes the place of."""

from __future__ import annotations

from jobtypes.dynamight.forward_deformations.checkpointing import set_results_aside


def test_links_to_results_are_set_aside_with_them_and_lead_to_them_there(tmp_path):
    (tmp_path / "backprojection").mkdir()
    (tmp_path / "backprojection/map_half1.mrc").write_text("map")
    (tmp_path / "map_half1.mrc").symlink_to("backprojection/map_half1.mrc")
    (tmp_path / "mine").symlink_to("somewhere/else")
    aside = set_results_aside(tmp_path)
    assert (aside / "map_half1.mrc").is_symlink()
    assert (aside / "map_half1.mrc").read_text() == "map"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backprojection", "mine", "previous_001"]
