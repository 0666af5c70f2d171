"""The smallest useful job type: counts particles per micrograph. An example to copy.

job.yaml    the parameters
job.py      the declaration
task.py     the work
"""
