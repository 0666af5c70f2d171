import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.command_words import words_of


def test_the_submit_command_is_split_as_a_shell_would_and_goes_to_none():
    assert words_of("sbatch --comment='a b; c' $HOME", "queue submit command") == ["sbatch", "--comment=a b; c", "$HOME"]


@pytest.mark.parametrize(
    ("text", "sentence"), [("", "is empty"), ("  ", "is empty"), ("sbatch 'x", "cannot be read: No closing quotation")]
)
def test_a_submit_command_that_makes_no_sense_is_refused(text, sentence):
    with pytest.raises(UserError, match=sentence):
        words_of(text, "queue submit command")
