import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.pipeline.alias import full_alias


@pytest.mark.parametrize("text", ["my run", "my_run", "DynaMight/my_run/", "DynaMight/my_run", " my  run "])
def test_an_alias_gets_its_directory_and_underscores(text):
    assert full_alias(text, "DynaMight") == "DynaMight/my_run/"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "shorter than two"),
        ("job007", "starts with 'job'"),
        ("a/b", r"holds /"),
        ("what?*", r"holds \* \?"),
        ("NoneSuch", "the word None"),
        ("..", "no name of a directory"),
    ],
)
def test_an_alias_that_breaks_the_rules_is_refused_in_words(text, problem):
    with pytest.raises(UserError, match=problem):
        full_alias(text, "DynaMight")
