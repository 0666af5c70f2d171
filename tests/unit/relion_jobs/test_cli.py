from __future__ import annotations

import sys
import time
from pathlib import Path

from relion_jobs.ondisk import job_star


def test_help_lists_the_commands_and_the_tools_of_job_types(project):
    done = project.call("--help")
    assert done.returncode == 0
    for word in ("init", "types", "options", "new", "run", "continue", "abort", "status", "schedule", "check", "shout"):
        assert word in done.stdout


def test_a_wrong_command_line_exits_with_2(project):
    assert project.call("run").returncode == 2
    assert project.call("nonsense").returncode == 2


def test_it_starts_in_well_under_a_second(project):
    fastest = 9.0
    for _ in range(3):
        start = time.monotonic()
        assert project.call("types").returncode == 0
        fastest = min(fastest, time.monotonic() - start)
    assert fastest < 1.0


def test_types_and_options_tell_what_there_is(project):
    types = project.call("types")
    assert "relion.external.toy" in types.stdout
    assert "trouble" in types.stdout
    options = project.call("options", "toy")
    for text in (
        "RELION's options",
        "Options of ours",
        "rows_per_second",
        "number >= 0",
        "--report-word",
        "Particles STAR file:",
    ):
        assert text in options.stdout


def test_a_broken_plugin_is_named_and_the_others_work(project):
    (project.path.parent / "plugins" / "trouble" / "job.py").write_text("import nothing_of_that_name")
    done = project.call("types")
    assert done.returncode == 0
    assert "toy" in done.stdout
    assert "trouble" in done.stderr
    assert "nothing_of_that_name" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.call("new", "trouble").returncode == 1


def test_new_checks_before_it_writes(project):
    before = project.text("default_pipeline.star")
    for words, text in (
        (["toy"], "fn_in"),
        (["toy", "-o", "fn_in=nix.star"], "nix.star"),
        (["toy", "-o", "fn_in=parts.star", "-o", "nonsense=1"], "nonsense"),
        (["toy", "-o", "fn_in=parts.star", "-o", "rows_per_second=fast"], "fast"),
        (["toy", "-o", "fn_in=parts.star", "-o", "other_args=--nonsense 3"], "--nonsense"),
        (["toy", "-o", "fn_in"], "VARIABLE=VALUE"),
        (["toy", "-o", "fn_in=parts.star", "--alias", "a/b"], "alias"),
        (["nonsense"], "nonsense"),
        (["toy", "--job", "nix/job.star"], "nix"),
    ):
        done = project.call("new", *words)
        assert done.returncode == 1
        assert text in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert project.text("default_pipeline.star") == before
    assert not list(project.path.glob("External/*"))


def test_a_job_runs_from_new_to_its_outputs(project):
    job = project.new("toy", "-o", "fn_in=parts.star", "--alias", "first")
    assert job == "External/job001/"
    assert project.status(job) == "Scheduled"
    done = project.call("run", job)
    assert done.returncode == 0, done.stderr
    assert "20/20 rows" in done.stdout
    assert project.text(f"{job}count.txt") == "20\n"
    assert project.marks(job) == ["RELION_JOB_EXIT_SUCCESS"]
    assert project.status(job) == "Succeeded"
    assert "relion_jobs.running.worker" in project.text(f"{job}note.txt")
    assert "Running" in project.text(f"{job}job_pipeline.star")
    assert (project.path / ".pipeline_has_changed").exists()
    assert (project.path / ".Nodes/ParticleGroupMetadata/parts.star").exists()
    assert "Counting 20 particles" in project.text(f"{job}run.out")
    assert project.text(f"{job}run.err") == ""


def test_continue_runs_the_ticked_task_in_the_same_directory(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    assert project.call("run", job).returncode == 0
    done = project.call("continue", job, "-o", "do_report=Yes", "-o", "report_word=small ducks")
    assert done.returncode == 0, done.stderr
    assert project.text(f"{job}report.txt") == "There are 20 small ducks.\n"
    request = job_star.read(project.path / job)
    assert request.is_continue
    assert request.values["do_report"] == "Yes"
    assert request.values["other_args"] == "--report-word 'small ducks'"
    assert f"{job}report.txt LogFile.txt.toy" in project.text("default_pipeline.star")
    assert project.text(f"{job}note.txt").count("Executing new job") == 2


def test_continue_refuses_two_tasks_and_changes_nothing(project):
    job = project.new("trouble")
    assert project.call("run", job).returncode == 0
    before = project.text(f"{job}job.star")
    done = project.call("continue", job, "-o", "do_a=Yes", "-o", "do_b=Yes")
    assert done.returncode == 1
    assert "more than one task" in done.stderr
    assert project.text(f"{job}job.star") == before
    assert project.marks(job) == ["RELION_JOB_EXIT_SUCCESS"]


def test_a_task_ticked_now_unticks_the_one_before(project):
    job = project.new("trouble")
    project.call("run", job)
    assert project.call("continue", job, "-o", "do_a=Yes").returncode == 0
    assert project.call("continue", job, "-o", "do_b=Yes").returncode == 0
    values = job_star.read(project.path / job).values
    assert (values["do_a"], values["do_b"]) == ("No", "Yes")


def test_continue_of_a_job_that_never_ran_is_refused(project):
    job = project.new("trouble")
    done = project.call("continue", job)
    assert done.returncode == 1
    assert "has not run yet" in done.stderr


def test_a_job_reruns_from_inside_its_directory(project):
    job = project.new("toy", "-o", "fn_in=parts.star", "--alias", "nick")
    assert project.call("run", ".", cwd=job).returncode == 0
    assert project.call("run", ".", cwd="External/nick").returncode == 0
    assert project.call("status", cwd=job).stdout.startswith("JOB")
    assert project.call("check", "job001", cwd="External").stdout.endswith(
        "Count the 20 particles of parts.star into External/job001/count.txt.\n"
    )
    assert not (project.path / job / "External").exists()


def test_an_input_may_be_named_from_where_one_stands(project):
    (project.path / "External").mkdir()
    (project.path / "External" / "more.star").write_text(project.text("parts.star"))
    done = project.call("new", "toy", "-o", "fn_in=more.star", cwd="External")
    assert job_star.read(project.path / done.stdout.strip()).values["fn_in"] == "External/more.star"
    done = project.call("new", "toy", "-o", f"fn_in={project.path}/parts.star")
    assert job_star.read(project.path / done.stdout.strip()).values["fn_in"] == "parts.star"


def test_options_come_from_a_job_star(project):
    first = project.new("toy", "-o", "fn_in=parts.star", "-o", "rows_per_second=500")
    second = project.new("toy", "--job", f"{first}job.star", "-o", "rows_per_second=400")
    assert job_star.read(project.path / second).values["rows_per_second"] == "400"
    assert project.call("new", "trouble", "--job", f"{first}job.star").returncode == 1


def test_status_tells_about_all_jobs_and_about_one(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    project.call("run", job)
    project.new("toy", "-o", f"fn_in={job}count.txt")
    lines = project.call("status").stdout.splitlines()
    assert len(lines) == 3
    assert "Succeeded" in lines[1]
    assert "Scheduled" in lines[2]
    one = project.call("status", job).stdout
    assert "20/20 rows" in one
    assert "writes External/job001/count.txt" in one


def test_outside_of_a_project_it_says_so(project):
    done = project.call("status", cwd="..")
    assert done.returncode == 1
    assert "init" in done.stderr


def test_a_tool_of_a_job_type_is_a_command(project):
    done = project.call("shout", "a", "--b")
    assert (done.returncode, done.stdout) == (7, "SHOUT a --b\n")


def test_init_makes_a_project(project, tmp_path):
    assert project.call("init", str(tmp_path / "other")).returncode == 0
    assert (tmp_path / "other" / "default_pipeline.star").stat().st_size == 90


def test_a_dynamight_job_is_written_as_relion_writes_it(project):
    (project.path / "map.mrc").touch()
    job = project.new("dynamight", "-o", "fn_star=parts.star", "-o", "fn_map=map.mrc", "-o", "seed=5", "--alias", "flex run")
    assert job == "DynaMight/job001/"
    request = job_star.read(project.path / job)
    assert request.label == "dynamight"
    assert sorted(request.values) == sorted(
        [
            "backproject_batchsize",
            "do_inverse",
            "do_preload",
            "do_queue",
            "do_reconstruct",
            "do_store_deform",
            "do_visualize",
            "fn_checkpoint",
            "fn_dynamight_exe",
            "fn_map",
            "fn_star",
            "gpu_id",
            "halfset",
            "initial_threshold",
            "min_dedicated",
            "nr_epochs",
            "nr_gaussians",
            "nr_threads",
            "other_args",
            "qsub",
            "qsubscript",
            "queuename",
            "reg_factor",
        ]
    )
    assert request.values["other_args"] == "--seed 5"
    # a RELION without our PATH must find it
    assert request.values["fn_dynamight_exe"] == str(Path(sys.executable).with_name("relion_jobs_dynamight"))
    assert project.text(".gui_dynamightjob.star") == project.text(f"{job}job.star")
    assert (project.path / "DynaMight" / "flex_run").resolve() == project.path / job.rstrip("/")
    pipeline = project.text("default_pipeline.star")
    assert "DynaMight/job001/ DynaMight/flex_run/  dynamight  Scheduled" in pipeline
    assert "map.mrc DensityMap.mrc            1" in pipeline


def test_each_subcommand_of_the_dynamight_executable_has_a_help_text(project):
    for command in (
        "optimize-deformations",
        "explore-latent-space",
        "optimize-inverse-deformations",
        "deformable-backprojection",
    ):
        done = project.call("dynamight", command, "-h", module="relion_jobs.dropin")
        assert done.returncode == 0, done.stderr
        assert "--gpu-id" in done.stdout
        assert "--pipeline-control" in done.stdout


def test_a_job_star_of_another_type_than_the_pipeline_says_is_refused(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    path = project.path / job / "job.star"
    path.write_text(path.read_text().replace("relion.external.toy", "relion.external.trouble"))
    for command in ("run", "continue"):
        done = project.call(command, job)
        assert done.returncode == 1
        assert "is of type 'relion.external.trouble', but the pipeline lists the job as 'relion.external.toy'" in done.stderr
    assert project.marks(job) == ["RELION_JOB_EXIT_FAILURE"]
