"""Files of a project and the types that they hold.

atomic           write a file whole or not at all; errors of the disk in words
unfinished       names of files that are not whole yet, and removing what dead writers left
star             control STAR files, as RELION reads and writes them
pipeline_star    default_pipeline.star and job_pipeline.star <-> Pipeline
job_star         job.star <-> JobRequest
made_star        what job.star was when this program wrote it
old_labels       how RELION 3 and 4 named things
names            names that RELION and a shell can bear, paths that stay in the project
one_name         what file a name means
trust            what says what is run must not be writable by all, nor a stranger's
owner            who holds a lock, in a text that people and we can read
locks            RELION's project lock, and one process per job
project          find, create and change a project
trash            Trash/: job directories and files that were deleted
job_directory    one job directory: marks, notes, output nodes
later_outputs    files that a tool adds to a job that has ended
nodes_directory  .Nodes/, what RELION's browse buttons show
gui_settings     .gui_*job.star, the defaults of the next job in RELION's GUI
site             site.yaml: the queue and its commands, GPUs, plugin folders
command_words    a command as text -> the words that a program is started with
star_column      one column of any STAR table, line by line
schedule_journal  what a schedule has done so far
"""
