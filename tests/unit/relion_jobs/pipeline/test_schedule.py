from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process
from relion_jobs.pipeline.schedule import decide

S, R, OK, F, A = Status.SCHEDULED, Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.ABORTED


def chain(*rows):
    """Pipeline of jobs ``(letter, status, letters of the jobs whose output it reads)``; job a makes X/joba/out."""
    pipeline = Pipeline()
    for name, status, _ in rows:
        pipeline = graph.add_process(pipeline, Process(f"X/job{name}/", None, "relion.external", status))
        pipeline = graph.add_outputs(pipeline, f"X/job{name}/", [Node(f"X/job{name}/out", "DensityMap.mrc")])
    for name, _, inputs in rows:
        nodes = [Node(f"X/job{i}/out" if len(i) == 1 else i, "DensityMap.mrc") for i in inputs]
        pipeline = graph.add_process(pipeline, pipeline.process(f"X/job{name}/"), nodes)
    return pipeline


def actions(pipeline, exists=lambda path: True):
    return {decision.process.name[5]: decision.action for decision in decide(pipeline, exists)}


def test_a_job_whose_inputs_are_there_starts():
    assert actions(chain(("a", OK, ""), ("b", S, "a"))) == {"b": "start"}


def test_only_scheduled_jobs_are_decided_about():
    assert actions(chain(("a", OK, ""), ("b", R, "a"), ("c", F, "a"))) == {}


def test_a_job_waits_for_a_running_or_scheduled_producer_and_says_so():
    pipeline = chain(("a", R, ""), ("b", S, "a"), ("c", S, "b"))
    first, second = decide(pipeline, lambda path: True)
    assert (first.action, second.action) == ("wait", "wait")
    assert first.reason == "it waits for X/joba/, which is Running and makes its input X/joba/out."
    assert "X/jobb/, which is Scheduled" in second.reason


def test_a_file_that_is_there_before_its_producer_has_succeeded_is_not_taken():
    assert actions(chain(("a", R, ""), ("b", S, "a")), lambda path: True) == {"b": "wait"}


def test_a_job_waits_for_a_missing_file_and_names_it():
    pipeline = chain(("a", OK, ""), ("b", S, ["a", "Data/map.mrc"]))
    (decision,) = decide(pipeline, lambda path: path != "Data/map.mrc")
    assert decision.action == "wait"
    assert "Data/map.mrc does not exist yet" in decision.reason


def test_a_failed_or_aborted_producer_means_never_down_the_line():
    pipeline = chain(("a", F, ""), ("b", S, "a"), ("c", S, "b"), ("d", A, ""), ("e", S, "d"))
    decisions = {decision.process.name[5]: decision for decision in decide(pipeline, lambda path: True)}
    assert {name: decision.action for name, decision in decisions.items()} == {"b": "never", "c": "never", "e": "never"}
    assert "X/joba/, which has failed" in decisions["b"].reason
    assert "X/jobb/, which can never start" in decisions["c"].reason
    assert "X/jobd/, which was aborted" in decisions["e"].reason


def test_producers_come_first_whatever_the_order_of_rows():
    order = [d.process.name[5] for d in decide(chain(("a", S, "b"), ("b", S, "c"), ("c", S, "")), lambda path: False)]
    assert order == ["c", "b", "a"]


def test_jobs_that_do_not_depend_on_each_other_keep_their_order():
    order = [d.process.name[5] for d in decide(chain(("a", S, ""), ("b", S, ""), ("c", S, "")), lambda path: True)]
    assert order == ["a", "b", "c"]


def test_a_cycle_is_named_and_what_hangs_on_it_never_starts():
    decisions = {
        d.process.name[5]: d for d in decide(chain(("a", S, "c"), ("b", S, "a"), ("c", S, "b"), ("d", S, "a")), lambda path: True)
    }
    assert {name: d.action for name, d in decisions.items()} == dict.fromkeys("abcd", "never")
    assert "X/joba/ -> X/jobc/ -> X/jobb/ -> X/joba/" in decisions["a"].reason
    assert "X/joba/, which can never start" in decisions["d"].reason


def test_a_job_that_reads_its_own_files_does_not_wait_for_itself():
    assert actions(chain(("a", S, "a"))) == {"a": "start"}


def test_a_file_inside_a_running_job_waits_for_its_end_though_no_edge_says_so():
    assert actions(chain(("a", R, ""), ("b", S, ["X/joba/not/registered.mrc"]))) == {"b": "wait"}
