"""The words that everybody shares: the runner, the job types and their tasks. Standard library and yaml only.

labels      every string of the on-disk language
errors      what can go wrong, in words for the person at the keyboard
options     GUI parameters: declared in YAML, parsed from job.star text
nodes       what jobs eat and produce
jobtype     what a plugin declares: options, tasks, tools
running_job what a task is given while it runs
"""
