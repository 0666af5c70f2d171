from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.contract.options import Option
from relion_jobs.ondisk.site import Site
from relion_jobs.running import settings


def option(variable, kind="text", default="", **keywords):
    return Option(variable, variable, "I/O", kind, default, "help", **keywords)


TYPE = JobType(
    "demo",
    "Demo",
    (
        option("fn_in", "node", required=True, node_label="X.star", flag="--i"),
        option("epochs", "integer", "200", flag="--epochs", tasks=("second",)),
        option("do_second", "boolean", "No"),
        option("do_third", "boolean", "No"),
        option("do_fourth", "boolean", "No", extra=True, flag="--do-fourth"),
        option("seed", "integer", "1", extra=True, flag="--seed"),
        option("passes", "integer", "", extra=True, flag="--passes", aliases=("--epochs",), tasks=("first",)),
        option("refine", "boolean", "Yes", extra=True, flag="--refine"),
        option("do_queue", "boolean", "No"),
        option("qsub", default="sbatch"),
        option("other_args"),
    ),
    (
        Task("first", "first", "a:b", command="one"),
        Task("second", "second", "a:b", command="two", switch="do_second"),
        Task("third", "third", "a:b", command="three", switch="do_third"),
        Task("fourth", "fourth", "a:b", command="three", switch="do_fourth"),
    ),
)


def texts(**changes):
    return settings.with_changes(TYPE, settings.new_texts(TYPE), {"fn_in": "a.star", **changes})


def test_extra_options_travel_in_other_args_and_come_back():
    given = texts(seed="7", refine="No", other_args="--epochs 5")
    assert "seed" not in given
    assert given["other_args"] == "--epochs 5"
    given = settings.with_changes(TYPE, given, {"seed": "7", "refine": "no"})
    assert given["other_args"] == "--epochs 5 --seed 7 --no-refine"
    found = settings.read_settings(TYPE, given, is_continue=False)
    assert (found.values["seed"], found.values["refine"], found.values["passes"]) == (7, False, 5)


def test_a_flag_means_what_the_running_task_calls_so():
    given = texts(other_args="--epochs 5", do_second="Yes")
    first = settings.read_settings(TYPE, given, is_continue=False)
    second = settings.read_settings(TYPE, given, is_continue=True)
    assert (first.task.name, first.values["epochs"], first.values["passes"]) == ("first", 200, 5)
    assert (second.task.name, second.values["epochs"], second.values["passes"]) == ("second", 5, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fn_in": ""}, "must be given"),
        ({"epochs": "many"}, "'many'; it must be a whole number"),
        ({"other_args": "--nonsense"}, "'--nonsense'"),
        ({"other_args": "'open"}, "cannot be read"),
    ],
)
def test_wrong_values_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        settings.read_settings(TYPE, texts() | changes, is_continue=False)


def test_an_unknown_row_of_job_star_is_kept_and_remarked_on():
    found = settings.read_settings(TYPE, texts() | {"novelty": "3"}, is_continue=False)
    assert found.texts["novelty"] == "3"
    assert "novelty" in found.remarks[0]


def test_a_new_tick_unticks_an_old_one_but_two_new_ones_are_refused():
    old = texts(do_second="Yes")
    found, stale = settings.with_ticks(TYPE, old, {"do_third": "yes"})
    assert (found["do_second"], stale) == ("No", ["do_second"])
    assert settings.with_ticks(TYPE, old, {"epochs": "3"}) == (old, [])
    found, _ = settings.with_ticks(TYPE, old, {"do_second": "Yes", "do_third": "Yes"})
    with pytest.raises(UserError, match="do_second and do_third"):
        settings.read_settings(
            TYPE, settings.with_changes(TYPE, found, {"do_second": "Yes", "do_third": "Yes"}), is_continue=True
        )


def test_a_task_that_relion_does_not_know_is_unticked_where_its_tick_travels():
    ticked = settings.with_changes(TYPE, texts(), {"do_fourth": "Yes", "seed": "4"})
    assert ticked["other_args"] == "--do-fourth --seed 4"
    assert settings.read_settings(TYPE, ticked, is_continue=True).task.switch == "do_fourth"
    found, stale = settings.with_ticks(TYPE, ticked, {"do_second": "Yes"})
    assert (found["other_args"], stale) == ("--seed 4", ["do_fourth"])
    again, none = settings.with_ticks(TYPE, texts(do_second="Yes"), {"do_fourth": "Yes"})
    assert (again["do_second"], none) == ("No", ["do_second"])


@pytest.mark.parametrize("words", [["a"], ["=b"], ["a=b\nc"]])
def test_an_assignment_has_a_form(words):
    with pytest.raises(UserError):
        settings.parse_assignments(words)


def test_inputs_must_be_there_and_have_names_that_relion_can_bear(tmp_path):
    def check(name, promised=()):
        found = settings.read_settings(TYPE, texts() | {"fn_in": name}, is_continue=False)
        settings.check_inputs(TYPE, found, tmp_path, promised=promised)

    (tmp_path / "a.star").touch()
    check("a.star")
    check("X/job001/a.star", promised={"X/job001/"})
    for name in ("nix.star", "with blank.star", "None/a.star", "a;b.star"):
        with pytest.raises(UserError, match="fn_in"):
            check(name)


def test_paths_become_relative_to_the_project(tmp_path):
    project = tmp_path / "project"
    (project / "X").mkdir(parents=True)
    (project / "X" / "a.star").touch()
    (tmp_path / "shortcut").symlink_to(project)

    def path(text):
        return settings.as_project_paths(TYPE, {"fn_in": text}, project=project, cwd=project / "X")["fn_in"]

    inside = [
        "a.star",
        "./a.star",
        f"{project}/X/a.star",
        "X/a.star",
        "./X//a.star",
        "X/../X/a.star",
        f"{tmp_path}/shortcut/X/a.star",
    ]
    assert [path(text) for text in inside] == ["X/a.star"] * len(inside)
    assert path("X/later.star") == path("./X//later.star") == path(f"{project}/X/later.star") == "X/later.star"
    assert path("/etc/hosts") == "/etc/hosts"
    assert path("") == ""


def test_the_site_gives_queue_options_unless_the_environment_does():
    site = Site(queue_command="qsub -V", queue_name="gpu", queue_template=Path("/t.sh"))
    assert settings.new_texts(TYPE, site)["qsub"] == "qsub -V"
    assert settings.site_texts(site, {"RELION_QSUB_COMMAND": "x"}) == {"queuename": "gpu", "qsubscript": "/t.sh"}


def test_extra_values_of_the_queue_exist_only_where_the_environment_names_them():
    environment = {"RELION_QSUB_EXTRA2": "Account:", "RELION_QSUB_EXTRA2_DEFAULT": "lab", "RELION_QSUB_EXTRA3": "Time:"}
    assert [one.variable for one in settings.known_options(TYPE, environment)][len(TYPE.options) :] == ["qsub_extra2"]
    environment["RELION_QSUB_EXTRA_COUNT"] = "3"
    assert [one.default for one in settings.known_options(TYPE, environment)][len(TYPE.options) :] == ["lab", ""]


def test_numbers_that_another_program_left_empty_take_their_defaults():
    given = {"epochs": " ", "seed": "", "passes": "", "qsub": "", "foreign": ""}
    assert settings.completed(TYPE, given) == given | {"epochs": "200", "seed": "1"}
    assert settings.completed(TYPE, {"epochs": "3"}) == {"epochs": "3"}


def program_of(text, monkeypatch, folder, *, is_installed=True):
    """The text of the option `exe` after our program was looked for beside a Python in `folder`."""
    (folder / "bin").mkdir(parents=True)
    if is_installed:
        (folder / "bin" / "our_program").touch(mode=0o755)
    monkeypatch.setattr(settings.sys, "executable", str(folder / "bin" / "python"))
    job_type = JobType("demo", "Demo", (option("exe", default="our_program"),), (), program="exe")
    return settings.with_installed_program(job_type, {"exe": text, "other": "our_program"})


def test_relion_is_told_where_our_program_is_where_the_user_named_none(monkeypatch, tmp_path):
    expected = {"exe": str(tmp_path / "bin" / "our_program"), "other": "our_program"}
    assert program_of("our_program", monkeypatch, tmp_path) == expected


def test_a_path_at_which_our_program_is_no_more_is_replaced(monkeypatch, tmp_path):
    assert program_of("/old/bin/our_program", monkeypatch, tmp_path)["exe"] == str(tmp_path / "bin" / "our_program")


@pytest.mark.parametrize("text", ["/usr/bin/env", "another", "bin/our_program", ""])
def test_a_program_that_the_user_gave_stays(monkeypatch, tmp_path, text):
    assert program_of(text, monkeypatch, tmp_path)["exe"] == text


def test_a_name_stays_where_our_program_is_not_found_or_its_path_would_be_taken_apart_by_a_shell(monkeypatch, tmp_path):
    assert program_of("our_program", monkeypatch, tmp_path / "none", is_installed=False)["exe"] == "our_program"
    assert program_of("our_program", monkeypatch, tmp_path / "my folder")["exe"] == "our_program"
