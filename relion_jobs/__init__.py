"""Runs RELION-style jobs in a RELION project directory; knows no job type by name and imports no torch.

The rooms, in the order in which a job passes through them (each may use the rooms above it):

contract    the words that the runner and the job types share
pipeline    the graph of jobs and files, pure
ondisk      files of a project <-> the types above
running     processes and time: launch, execute, wait, schedule
schemes     RELION's schemes, whole: graph, operators, file, runner, commands
upkeep      keeping a project in order: delete, clean, mark, alias, overwrite, verify
cli         ``relion_jobs``: what a person types
dropin      ``relion_jobs_TYPE``: what RELION calls as the executable of a job type
"""

__version__ = "0.2.0"
