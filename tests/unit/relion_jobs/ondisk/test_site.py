import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.site import Site, read_site


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_everything_has_its_default(tmp_path):
    assert read_site(tmp_path, {"HOME": str(tmp_path)}) == Site()
    assert read_site(None, {}) == Site()


def test_paths_are_relative_to_the_file(tmp_path):
    write(tmp_path / "site.yaml", "queue_template: q.sh\nplugin_folders: [plugins, /opt/more]\ngpus: [0, 2]\nqueue_name: gpu\n")
    site = read_site(tmp_path, {})
    assert site.queue_template == tmp_path / "q.sh"
    assert [str(folder) for folder in site.plugin_folders] == [str(tmp_path / "plugins"), "/opt/more"]
    assert (site.gpus, site.queue_name) == ((0, 2), "gpu")


def test_the_variable_wins_over_the_project_and_the_project_over_the_home(tmp_path):
    named = write(tmp_path / "named.yaml", "queue_name: named\n")
    write(tmp_path / "project" / "site.yaml", "queue_name: project\n")
    write(tmp_path / "home" / ".config" / "relion_jobs" / "site.yaml", "queue_name: home\n")
    home = {"HOME": str(tmp_path / "home")}
    assert read_site(tmp_path / "project", home | {"RELION_JOBS_SITE": str(named)}).queue_name == "named"
    assert read_site(tmp_path / "project", home).queue_name == "project"
    assert read_site(tmp_path, home).queue_name == "home"


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "queue_name:\n"])
def test_an_empty_file_changes_nothing(tmp_path, text):
    write(tmp_path / "site.yaml", text)
    assert read_site(tmp_path, {}) == Site()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("queue: gpu", "entry 'queue', which means nothing; known are queue_template"),
        ("gpus: all", "gpus is 'all'; it must be a list of numbers"),
        ("queue_name: 7", "queue_name is 7; it must be a text"),
        ("plugin_folders: here", "it must be a list of folders"),
        ("- a", "must hold lines such as"),
        ("a: [", "is no YAML file"),
        ("mail_command: mail 'x", "mail_command of .*site.yaml cannot be read: No closing quotation"),
        ("queue_cancel_command: ''", "queue_cancel_command of .*site.yaml is empty"),
        ("queue_cancel_command: [qdel, 7]", "must be a command, as a text or as a list of words"),
        ("queue_status_command: []", "must be a command"),
        ("queue_status_command: qstat", "nothing that says how its answer is read"),
        ("queue_waits: '('", "queue_waits is '\\(', which is no regular expression: "),
        ("queue_waits: [Q]", "must be a text"),
        ("queue_id: '12'", "must have one group, around the number"),
        ("queue_ended_codes: 153", "must be a list of numbers"),
    ],
)
def test_a_wrong_entry_is_refused_in_words(tmp_path, text, problem):
    write(tmp_path / "site.yaml", text)
    with pytest.raises(UserError, match=problem):
        read_site(tmp_path, {})


def test_a_named_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match="Cannot read"):
        read_site(tmp_path, {"RELION_JOBS_SITE": str(tmp_path / "none.yaml")})


def test_a_command_is_a_text_or_a_list_of_words(tmp_path):
    write(
        tmp_path / "site.yaml", "mail_command: mail -r 'the lab'\nqueue_cancel_command: [qdel, '{id}']\nqueue_command: bsub <\n"
    )
    site = read_site(tmp_path, {})
    assert site.mail_command == ("mail", "-r", "the lab")
    assert site.queue_cancel_command == ("qdel", "{id}")
    # RELION's own option, which RELION gives to a shell
    assert site.queue_command == "bsub <"
