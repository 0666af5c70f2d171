import sys

import pytest

from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.running.registry import Registry, load_function, registry

WORK = (Task("go", "go", "a:b"),)


def job_type(name, **keywords):
    return JobType(name, name, (), WORK, **keywords)


@pytest.fixture
def types():
    known = [
        job_type("dynamight", label="dynamight", directory="DynaMight"),
        job_type("toy"),
        job_type("long", label="relion.long"),
    ]
    return Registry({one.name: lambda one=one: one for one in known})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("toy", "toy"),
        ("relion.external.toy", "toy"),
        ("relion.external.toy.more", "toy"),
        ("dynamight", "dynamight"),
        ("dynamight.foo", "dynamight"),
        ("DynaMight", "dynamight"),
        ("relion.long", "long"),
    ],
)
def test_a_job_type_is_found_by_name_label_or_directory(types, text, name):
    assert types.find(text).name == name


@pytest.mark.parametrize("text", ["relion.dynamight", "relion.external", "relion.refine3d", "", "to"])
def test_what_no_plugin_declares_is_refused_with_the_known_ones(types, text):
    with pytest.raises(UnknownJobType, match="known are dynamight, long, toy"):
        types.find(text)


def broken():
    raise RuntimeError("it fell apart")


def test_a_broken_plugin_is_one_sentence_and_the_others_load(types):
    whole = Registry({**types.sources, "bad": broken, "odd": lambda: 3})
    with pytest.raises(UserError, match="'bad' is broken: RuntimeError: it fell apart"):
        whole.load("bad")
    found, complaints = whole.load_all()
    assert [one.name for one in found] == ["dynamight", "long", "toy"]
    assert len(complaints) == 2
    assert whole.find("relion.long").name == "long"


def test_plugin_folders_come_from_the_environment_and_from_the_site(tmp_path):
    for name in ("zeta_plugin", "eta_plugin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job.py").write_text(
            f"from relion_jobs.contract.jobtype import JobType\nJOB_TYPE = JobType('{name}', 'x', (), ())\n"
        )
    one = registry([tmp_path / "zeta_plugin"], environment={})
    assert one.load("zeta_plugin").name == "zeta_plugin"
    assert "eta_plugin" not in one.names()
    both = registry(environment={"RELION_JOBS_PLUGINS": str(tmp_path)})
    assert {"zeta_plugin", "eta_plugin", "toy"} <= set(both.names())


def test_a_plugin_folder_cannot_take_the_name_of_a_module(tmp_path):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "job.py").write_text("JOB_TYPE = None")
    with pytest.raises(UserError, match="broken"):
        registry([tmp_path / "json"], environment={}).load("json")
    assert "job" not in dir(sys.modules["json"])


@pytest.mark.parametrize("way", ["folders", "environment"])
def test_a_plugin_folder_of_the_name_of_an_installed_job_type_is_refused_before_its_code_is_run(tmp_path, way):
    (tmp_path / "dynamight").mkdir()
    (tmp_path / "dynamight" / "job.py").write_text("raise SystemExit('was run')\n")
    types = registry([tmp_path], {}) if way == "folders" else registry([], {"RELION_JOBS_PLUGINS": str(tmp_path)})
    with pytest.raises(UserError, match="would take the place of the job type 'dynamight', which is installed; give the folder"):
        types.find("dynamight")
    assert types.find("toy").name == "toy"


@pytest.mark.parametrize(
    ("folder", "declaration"),
    [
        ("by_name", "'dynamight', 'x', (), ()"),
        ("by_label", "'by_label', 'x', (), (), label='dynamight'"),
        ("by_longer_label", "'by_longer_label', 'x', (), (), label='dynamight.more'"),
        ("by_directory", "'by_directory', 'x', (), (), label='z', directory='DynaMight'"),
    ],
)
def test_a_plugin_that_would_be_found_for_an_installed_job_type_is_refused(tmp_path, folder, declaration):
    (tmp_path / folder).mkdir()
    text = f"from relion_jobs.contract.jobtype import JobType\nJOB_TYPE = JobType({declaration})\n"
    (tmp_path / folder / "job.py").write_text(text)
    types = registry([tmp_path], {})
    with pytest.raises(UserError, match="would take the place of the job type 'dynamight'"):
        types.load(folder)
    for name in ("dynamight", "DynaMight"):
        assert types.find(name).title == "DynaMight flexibility"


def test_a_function_is_found_by_its_name():
    assert load_function("os.path:join")("a", "b") == "a/b"
    for name in ("no.such.module:f", "os.path:no_such_function"):
        with pytest.raises(UserError, match="cannot be loaded"):
            load_function(name)
