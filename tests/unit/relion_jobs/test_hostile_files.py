"""No file makes us run a command, write or remove anything outside the project; those that anybody may write are not used."""

import os
from dataclasses import replace

import pytest

from relion_jobs import cli
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_star, nodes_directory, pipeline_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.ondisk.site import read_site
from relion_jobs.pipeline.graph import Pipeline, Process, add_outputs, add_process
from relion_jobs.running.finish import take_stock
from relion_jobs.running.registry import registry

OUTSIDE = ["../outside", "/tmp/outside", "Link/outside", "External/../../outside", "External/job001/../../../outside"]
TOY = "relion.external.toy"
STRANGER = 54321


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project beside a directory that nothing may touch, with a link into it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    project = create(tmp_path / "project")
    (project / "Link").symlink_to(tmp_path)
    (project / "parts.star").write_text("data_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("RELION_JOBS_SITE", "")
    yield project
    assert os.listdir(tmp_path / "outside") == ["precious"]
    assert (tmp_path / "outside" / "precious").read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["outside", "project"]


def put(project, *, name="External/job001/", status=Status.RUNNING, outputs=()):
    with edit_pipeline(project, "x") as edit:
        pipeline = add_process(edit.pipeline, Process(name, None, TOY, status))
        edit.pipeline = add_outputs(pipeline, name, outputs) if outputs else pipeline


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_job_that_lies_outside_is_neither_run_nor_marked_and_hides_no_other(place, name, capsys):
    put(place, name=f"{name}/")
    put(place, name="External/job002/", status=Status.SCHEDULED)
    assert take_stock(place) == []
    assert cli.main(["status"]) == 0
    assert "External/job002/" in capsys.readouterr().out
    for words in (["run", f"{name}/"], ["continue", f"{name}/"], ["abort", f"{name}/"]):
        assert cli.main(words) == 1
    for act in (JobDirectory.create, JobDirectory.clear_marks, JobDirectory.request_abort):
        with pytest.raises(UserError, match=r"outside the project|leaves the project"):
            act(JobDirectory(place, f"{name}/"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_output_that_lies_outside_gets_no_entry_and_none_is_removed_there(place, name):
    pipeline = add_process(Pipeline(), Process("External/job001/", None, TOY, Status.SCHEDULED))
    pipeline = add_outputs(pipeline, "External/job001/", [Node(f"{name}/precious", "DensityMap.mrc")])
    nodes_directory.add_entries(place, pipeline, "External/job001/")
    nodes_directory.remove_entries(place, pipeline, "External/job001/")
    with pytest.raises(UserError):
        JobDirectory(place, "External/job001/").add_output_node(Node(f"{name}/precious", "DensityMap.mrc"))


@pytest.mark.parametrize("label", ["../../outside", "a/../../../outside", "/tmp/outside", "..", "x.../../../outside"])
def test_a_label_of_a_node_makes_no_entry_outside(place, label):
    pipeline = add_process(Pipeline(), Process("External/job001/", None, TOY, Status.SCHEDULED))
    pipeline = add_outputs(pipeline, "External/job001/", [replace(Node("precious", label), depth=9)])
    nodes_directory.add_entries(place, pipeline, "External/job001/")
    nodes_directory.remove_entries(place, pipeline, "External/job001/")


def test_entries_are_not_made_or_removed_through_a_link(place):
    (place / ".Nodes").symlink_to(place.parent / "outside")
    pipeline = add_process(Pipeline(), Process("External/job001/", None, TOY, Status.SCHEDULED))
    pipeline = add_outputs(pipeline, "External/job001/", [Node("External/job001/a.mrc", "DensityMap.mrc")])
    nodes_directory.add_entries(place, pipeline, "External/job001/")
    nodes_directory.remove_entries(place, pipeline, "External/job001/")
    assert (place / ".Nodes").is_symlink()


def test_control_characters_of_a_file_do_not_reach_the_terminal(place, capsys):
    put(place, status=Status.FAILED)
    file = place / "default_pipeline.star"
    file.write_bytes(file.read_bytes().replace(b"External/job001/", b"External/\x1b[2Jjob001\xff/"))
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "External/\\x1b[2Jjob001\\udcff/" in out


@pytest.mark.parametrize("text", ["$(touch ../outside/x) `touch ../outside/x`; touch ../outside/x | tee '\"x\"'"])
def test_a_value_of_job_star_is_a_word_and_no_command(place, text, capsys):
    """A text option reaches the job as it is."""
    assert cli.main(["new", "toy", "-o", "fn_in=parts.star"]) == 0
    request = job_star.read(place / "External/job001")
    values = request.values | {"other_args": f"--report-word {os.fsdecode(b'x')}"}
    job_star.write(JobRequest(request.label, False, False, values), place / "External/job001/job.star")
    assert cli.main(["run", "External/job001"]) == 0, capsys.readouterr()
    changes = ["-o", "do_report=Yes", "-o", f"report_word={text}"]
    assert cli.main(["continue", "External/job001", *changes]) == 0, capsys.readouterr()
    assert (place / "External/job001/report.txt").read_text() == f"There are 1 {text}.\n"


def test_yaml_tags_run_no_code(place):
    (place / "site.yaml").write_text("queue_name: !!python/object/apply:os.system ['touch ../outside/x']\n")
    with pytest.raises(UserError, match="is no YAML file"):
        read_site(place, {})


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_site_configuration_that_anybody_may_write_is_not_used(place, mode):
    (place / "site.yaml").write_text("queue_name: gpu\n")
    assert read_site(place, {}).queue_name == "gpu"
    (place / "site.yaml").chmod(mode)
    with pytest.raises(UserError, match=r"every account of this machine may change .*site\.yaml; .* chmod o-w"):
        read_site(place, {})


def test_a_site_configuration_in_a_directory_that_anybody_may_write_is_not_used(place):
    (place / "site.yaml").write_text("queue_name: gpu\n")
    place.chmod(0o777)
    with pytest.raises(UserError, match="every account"):
        read_site(place, {})
    place.chmod(0o1777)  # with the sticky bit only the owner can replace the file
    assert read_site(place, {}).queue_name == "gpu"


@pytest.mark.parametrize("name", [".", "job.py", "task.py"])
def test_a_plugin_that_anybody_may_write_is_not_imported(tmp_path, name):
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "job.py").write_text("raise SystemExit('was run')\n")
    (folder / "task.py").write_text("")
    (folder / name).chmod(0o777)
    with pytest.raises(UserError, match="every account"):
        registry([folder], {}).find("stranger")


def give_away(monkeypatch, path):
    """Let a file belong to another account: really, where this is root, else by what is said of it."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
        return
    stat = type(path).stat

    def of_a_stranger(self, **keywords):
        found = stat(self, **keywords)
        fields = list(found)
        fields[4] = STRANGER
        return os.stat_result(fields) if self == path else found

    monkeypatch.setattr(type(path), "stat", of_a_stranger)


def test_a_site_configuration_of_another_account_is_not_used_unless_the_user_names_it(place, monkeypatch):
    (place / "site.yaml").write_text("queue_name: gpu\n")
    give_away(monkeypatch, place / "site.yaml")
    with pytest.raises(UserError, match=rf"belongs to account {STRANGER} and .*; if you trust it, name it: export RELION_JOBS_S"):
        read_site(place, {})
    assert read_site(place, {"RELION_JOBS_SITE": str(place / "site.yaml")}).queue_name == "gpu"


@pytest.mark.parametrize("name", ["", "job.py", "task.py"])
def test_a_plugin_of_another_account_is_not_imported_unless_the_user_names_it(tmp_path, monkeypatch, name):
    folder = tmp_path / f"visitor{name.partition('.')[0]}"
    folder.mkdir()
    (folder / "job.py").write_text("raise RuntimeError('was run')\n")
    (folder / "task.py").write_text("")
    give_away(monkeypatch, folder / name)
    with pytest.raises(UserError, match=rf"belongs to account {STRANGER} and .* name its folder: export RELION_JOBS_PLUGINS="):
        registry([folder], {}).find(folder.name)
    with pytest.raises(UserError, match="was run"):
        registry([], {"RELION_JOBS_PLUGINS": str(folder)}).find(folder.name)


@pytest.mark.parametrize("name", ["two words", "it's", 'a"b', "molécule", "None", "x;y", "-o", "$HOME", "a\nb"])
def test_odd_names_of_files_and_jobs_are_taken_or_refused_in_a_sentence(place, name, capsys):
    (place / f"{name}.star").write_text((place / "parts.star").read_text())
    code = cli.main(["new", "toy", "-o", f"fn_in={name}.star", "--alias", "first_one"])
    said = capsys.readouterr()
    assert said.err.count("\n") <= 1
    assert (code == 0) == (name in ("molécule", "-o")), said
    if code == 0:
        assert cli.main(["run", said.out.strip()]) == 0
    assert pipeline_star.read(place / "default_pipeline.star") == read_pipeline(place)
