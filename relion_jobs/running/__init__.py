"""Processes and time: from "run this" to an exit mark and a row of the pipeline.

In the order in which a job passes through:

commands    what each command of relion_jobs does
registry    name or label -> JobType, found by entry point or plugin folder
settings    text of job.star and of ``-o`` -> checked settings of one launch
launch      new, run, continue, abort: what is written before a job starts
submit      starts the worker: a child process here, or a script for a queue
queue_script  the submission script: RELION's template, filled in
queue       how a job stands in its queue, and how it is cancelled there
queue_protocol  what a queue must answer, and what is known of a job in it
slurm, site_queue  the queues: Slurm, and the one whose commands site.yaml gives (PBS, LSF, SGE)
worker      the process of one job
companion   a further process of a job
execute     the one place where a task's end becomes an exit mark
live_job    what the task is given (contract.running_job)
interruption  the wish to stop: abort mark and signals
console     run.out, run.err and the terminal
progress    rate and time left, in words
sentences   any exception as one sentence
foreign_packages  packages of other programs that stand in the way of ours
finish      noticing the end: mark -> status and output nodes of the pipeline
follow      the front end that waits
scheduler   runs scheduled jobs in the order of their files
limits      how many jobs may run at once on this machine and on each GPU
relaunch    a launch that was cut short when its runner died
closed_output  the quiet end of a command whose output nobody reads any more
unbegun     jobs that RELION started and whose program never came up
outlook     what a job does and how long it will take
foreign_jobs  jobs of types that are not ours: handed to relion_pipeliner
overview    what ``status`` says
"""
