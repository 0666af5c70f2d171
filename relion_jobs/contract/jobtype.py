"""What a plugin declares: a job type, its options, its tasks and its tools.

A plugin's ``job.py`` builds one `JobType` and calls it ``JOB_TYPE``. Code that needs heavy imports is named by a string
``"package.module:function"`` and imported only by the process that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.nodes import Node
from relion_jobs.contract.options import Option, Value

# the boolean option with which one run does everything, as RELION's schemes need it
ALL_TASKS = "all_tasks"


@dataclass(frozen=True)
class Task:
    """One thing that a job of this type can do in its directory.

    Attributes
    ----------
    name
        E.g. ``forward_deformations``.
    title
        What the person reads, e.g. ``inverse-deformation estimation``.
    run
        ``"module:function"``; called as ``function(values, job)`` with parsed option values and a `RunningJob`.
    check
        ``"module:function"``; called as ``function(values, job_directory)`` in the project directory, returns the plan as a
        list of sentences and raises UserError on bad input. Empty: the options alone are checked.
    command
        Subcommand of the drop-in executable, e.g. ``optimize-deformations``.
    switch
        Boolean option that picks this task on "Continue!"; empty for the first task, the one that a new job runs.
    outputs
        ``(path inside the job directory, node label)`` of the output nodes that are known at launch.
    memory_remedy
        What takes less memory in this task, where it ran out, e.g. ``take a smaller batch_size``; empty: no option does.
    shares_work
        Whether it may run as several processes at once, as torchrun starts them. Of another task the first process does all.
    """

    name: str
    title: str
    run: str
    check: str = ""
    command: str = ""
    switch: str = ""
    outputs: tuple[tuple[str, str], ...] = ()
    memory_remedy: str = ""
    shares_work: bool = False


@dataclass(frozen=True)
class Tool:
    """A command of a job type that is not a job: ``"module:function"`` is called as ``function(argv) -> exit code``."""

    name: str
    run: str
    help: str


@dataclass(frozen=True)
class Cleanable:
    """Files that the job can do without once it has succeeded; a clean moves them to the Trash.

    Nodes of the pipeline and files that job.star names are never cleaned, so they need not be left out here.

    Attributes
    ----------
    pattern
        Of paths inside the job directory, e.g. ``forward_deformations/checkpoints/[0-9]*.pth``.
    harsh
        Whether only a harsh clean removes them: they are results, though ones that the job can make again.
    needs
        A file of the job directory that must be there, since it takes their place; empty: nothing does.
    """

    pattern: str
    harsh: bool = False
    needs: str = ""


@dataclass(frozen=True)
class JobType:
    """A kind of job.

    Attributes
    ----------
    name
        Short name on our command lines, e.g. ``dynamight``.
    title
        What the GUI shows.
    label
        Type label in the pipeline; a type that RELION does not know leaves it empty and becomes ``relion.external.NAME``.
    directory
        Where RELION keeps jobs of this type, e.g. ``DynaMight``; empty: ``External``.
    options
        All parameters, RELION's and our own.
    tasks
        The first is what a new job runs; the others are switched on for "Continue!".
    tools
        Further commands.
    description
        One sentence for ``relion_jobs types``.
    cleanables
        What ``relion_jobs clean`` may move to the Trash; nothing else is.
    all_tasks
        Names of the tasks that a Yes of the option `ALL_TASKS` runs behind the first one, in the same run; empty where the job
        type has no such option.
    program
        Option that names the program which RELION calls for a job; its default is the name of ours. Empty where RELION knows no
        such option.
    device_option
        Option that names the GPUs of this machine that a job computes on, such as ``gpu_id``; empty: it uses none.
    """

    name: str
    title: str
    options: tuple[Option, ...]
    tasks: tuple[Task, ...]
    label: str = ""
    directory: str = ""
    tools: tuple[Tool, ...] = ()
    description: str = ""
    cleanables: tuple[Cleanable, ...] = ()
    all_tasks: tuple[str, ...] = ()
    program: str = ""
    device_option: str = ""

    def __post_init__(self) -> None:
        """Refuse a device option that is none of the options."""
        if self.device_option:
            self.option(self.device_option)

    @property
    def type_label(self) -> str:
        """Label in job.star and in the pipeline."""
        return self.label or labels.EXTERNAL_PREFIX + self.name

    @property
    def type_directory(self) -> str:
        """Directory of the project that holds the jobs."""
        return self.directory or labels.EXTERNAL_DIRECTORY

    def option(self, variable: str) -> Option:
        """The option of that name; UserError where there is none."""
        for option in self.options:
            if option.variable == variable:
                return option
        raise UserError(f"Job type {self.name} has no option '{variable}'; 'relion_jobs options {self.name}' lists them.")

    def choose_task(self, values: Mapping[str, Value], *, is_continue: bool) -> Task:
        """The task that these values ask for.

        As in RELION, a new job runs the first task whatever is ticked, and two ticked tasks are refused. Unlike RELION, no
        ticked task on "Continue!" means the first one again, from where it stopped.
        """
        ticked = [task for task in self.tasks if task.switch and values.get(task.switch)]
        if not is_continue or not ticked:
            return self.tasks[0]
        if len(ticked) > 1:
            raise UserError(
                "You can not perform more than one task simultaneously: "
                + " and ".join(task.switch for task in ticked)
                + " are ticked; leave one of them Yes."
            )
        return ticked[0]

    def following_tasks(self, task: Task, values: Mapping[str, Value]) -> tuple[Task, ...]:
        """Tasks that run behind `task` in the same run: those of `all_tasks`, where the option asks for them."""
        if task != self.tasks[0] or not values.get(ALL_TASKS):
            return ()
        return tuple(one for name in self.all_tasks for one in self.tasks if one.name == name)

    def input_nodes(self, values: Mapping[str, Value]) -> list[Node]:
        """Input nodes: every ``node`` option that is given."""
        given = ((option, values.get(option.variable)) for option in self.options if option.kind == "node")
        return [Node(str(value), option.node_label or "") for option, value in given if value]

    def output_nodes(self, task: Task, job_directory: PurePath) -> list[Node]:
        """Output nodes that are known when `task` is launched."""
        return [Node(str(job_directory / path), label) for path, label in task.outputs]
