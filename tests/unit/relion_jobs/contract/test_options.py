import shlex

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import (
    Option,
    defaults,
    flags_of,
    join_other_args,
    parse_values,
    read_options,
    split_other_args,
    take_flags,
    text_of,
    typed,
)


def option(variable, kind="text", **more):
    return Option(variable=variable, label=variable.title() + ": ", tab="I/O", kind=kind, help="", **({"default": ""} | more))


EPOCHS = option("nr_epochs", "integer", default="200", flag="--n-epochs", tasks=("inverse",), minimum=1, slider=(50, 500, 10))
TRAIN_EPOCHS = option(
    "train_epochs", "integer", default="60", flag="--train-epochs", aliases=("--n-epochs",), tasks=("train",), extra=True
)
PRELOAD = option("do_preload", "boolean", default="No", flag="--preload-images")
SEED = option("seed", "integer", default="0", flag="--seed", extra=True)
MIXED = option("mixed", "boolean", default="Yes", flag="--mixed", extra=True)
OTHER = option("other_args")
ALL = (EPOCHS, TRAIN_EPOCHS, PRELOAD, SEED, MIXED, OTHER)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", " a b ", "a b"),
        ("text", "", ""),
        ("file", "", None),
        ("node", "a.star", "a.star"),
        ("integer", "7", 7),
        ("integer", "7.0", 7),
        ("integer", "", None),
        ("number", "1e-3", 1e-3),
        ("number", "", None),
        ("boolean", "Yes", True),
        ("boolean", "No", False),
    ],
)
def test_text_is_read_as_its_kind(kind, text, value):
    parsed = option("x", kind).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("integer", "7.5", "a whole number"),
        ("integer", "many", "a whole number"),
        ("number", "nan", "a number"),
        ("number", "inf", "a number"),
        ("boolean", "yes", "Yes or No"),
        ("boolean", "", "Yes or No"),
    ],
)
def test_a_wrong_text_is_named_with_what_would_be_right(kind, text, expected):
    with pytest.raises(UserError, match=rf"^Option x \(X:\) is '{text}'; it must be {expected}"):
        option("x", kind).parse(text)


def test_slider_ends_are_hints_and_limits_are_not():
    assert EPOCHS.parse("9999") == 9999
    with pytest.raises(UserError, match="a whole number of at least 1"):
        EPOCHS.parse("0")
    with pytest.raises(UserError, match="a number of at most 2"):
        option("x", "number", maximum=2).parse("2.5")


def test_a_choice_is_one_of_its_texts():
    colour = option("colour", "choice", choices=("red", "blue"), default="red")
    assert colour.parse("blue") == "blue"
    with pytest.raises(UserError, match="one of red, blue"):
        colour.parse("green")


def test_a_required_option_must_be_given():
    with pytest.raises(UserError, match="is empty; it must be given"):
        option("fn_star", "node", required=True).parse(" ")


def test_a_value_that_is_not_given_has_its_default():
    assert parse_values(ALL, {"do_preload": "Yes"})["nr_epochs"] == 200
    assert parse_values(ALL, {"do_preload": "Yes"})["do_preload"] is True


def test_the_environment_sets_defaults_only():
    queue = option("do_queue", "boolean", default="No", environment="RELION_QUEUE_USE")
    assert defaults([queue], {}) == {"do_queue": "No"}
    for text in ("yes", "true", "Yes"):
        assert defaults([queue], {"RELION_QUEUE_USE": text}) == {"do_queue": "Yes"}
    assert defaults([queue], {"RELION_QUEUE_USE": "false"}) == {"do_queue": "No"}


def test_extra_options_travel_in_other_args_and_the_rest_stays():
    values = parse_values(ALL, {"other_args": "--seed 7 --mask-file 'my mask.mrc' --no-mixed --seed=8"})
    assert (values["seed"], values["mixed"]) == (8, False)
    assert shlex.split(values["other_args"]) == ["--mask-file", "my mask.mrc"]


def test_a_flag_means_the_option_of_the_running_task():
    # RELION gives other_args to every task, so --n-epochs reaches all of them
    assert flags_of(ALL, "train")["--n-epochs"] is TRAIN_EPOCHS
    assert flags_of(ALL, "inverse")["--n-epochs"] is EPOCHS
    assert parse_values(ALL, {"other_args": "--n-epochs 3"}, task="train")["train_epochs"] == 3
    assert parse_values(ALL, {"other_args": "--n-epochs 3"}, task="train")["nr_epochs"] == 200


def test_the_last_of_repeated_flags_counts():
    assert take_flags(ALL, ["--n-epochs", "150", "--n-epochs", "3"], task="inverse") == ({"nr_epochs": "3"}, [])


def test_words_that_no_option_knows_are_left():
    assert take_flags(ALL, ["sub", "--preload-images", "-x", "1"]) == ({"do_preload": "Yes"}, ["sub", "-x", "1"])


def test_a_flag_without_its_value_is_told():
    with pytest.raises(UserError, match="--seed needs a value"):
        take_flags(ALL, ["--seed"])


def test_other_args_that_no_shell_could_read_are_told():
    with pytest.raises(UserError, match=r"Additional arguments \(other_args\) cannot be read"):
        split_other_args(ALL, "--note 'open")


def test_changes_are_put_into_other_args_and_come_back():
    text = join_other_args(ALL, "--mask-file 'a b' --seed 3", {"seed": "9", "mixed": "No"})
    values, rest = split_other_args([SEED, MIXED], text)
    assert values == {"seed": "9", "mixed": "No"}
    assert rest == ["--mask-file", "a b"]


def test_a_default_needs_no_flag():
    assert join_other_args(ALL, "--seed 3", {"seed": "0"}) == ""


def test_a_declaration_is_read_from_yaml(tmp_path):
    (tmp_path / "job.yaml").write_text(
        "- {variable: a, label: 'A:', tab: I/O, kind: number, default: '1', help: '', slider: [0, 2, 0.1], tasks: [t]}\n"
    )
    (read,) = read_options(tmp_path / "job.yaml")
    assert (read.slider, read.tasks, read.choices) == ((0, 2, 0.1), ("t",), ())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("kind: colour", "known kinds are"),
        ("kind: text, default: 1", "must be text, in quotes"),
        ("kind: text, default: '', extra: true", "needs a flag"),
    ],
)
def test_a_wrong_declaration_is_the_authors_mistake(tmp_path, change, problem):
    (tmp_path / "job.yaml").write_text(f"- {{variable: a, label: A, tab: I/O, help: '', {change}}}\n")
    with pytest.raises(ValueError, match=problem):
        read_options(tmp_path / "job.yaml")


def test_a_value_of_another_type_is_refused():
    assert typed({"a": 1}, "a", int) == 1
    with pytest.raises(UserError, match="a is 'None'; it must be given"):
        typed({"a": None}, "a", int)


@pytest.mark.parametrize("value", [None, "", "a b.star", True, False, 7, -3, 0.1, 1e-7, 1 / 3])
def test_the_text_of_a_value_is_read_back_as_that_value(value):
    kinds = {bool: "boolean", int: "integer", float: "number", str: "text", type(None): "file"}
    assert option("a", kinds[type(value)]).parse(text_of(value)) == value


def test_a_value_that_is_no_text_is_held_to_the_same_rules():
    assert EPOCHS.checked(7) == 7
    assert PRELOAD.checked(value=True) is True
    with pytest.raises(UserError, match=r"nr_epochs .* is '0'; it must be a whole number of at least 1"):
        EPOCHS.checked(0)
    with pytest.raises(UserError, match=r"do_preload .* is '7'; it must be Yes or No"):
        PRELOAD.checked(7)


def test_a_number_that_has_a_default_may_not_be_emptied():
    with pytest.raises(UserError, match=r"nr_epochs .* is empty; it must be given, and its default is 200"):
        EPOCHS.parse("")
