"""Keeping a project in order: what RELION's "Job actions" and its "Jobs" menu do, and what it cannot check.

delete     jobs -> Trash/ and back, emptying the Trash
mark       Succeeded, Failed or Aborted by hand
rename     the alias of a job
overwrite  a new job in the place of an old one
clean      files that a job no longer needs -> Trash/
findings   what a check found
checks     one look at one matter each: rows, directories, files, links, numbers
scheme_checks  schemes that cannot be read, rows that RELION adds by mistake
lock_checks  who holds which lock, and whether it is alive
mending    what mends what they find
verify     all checks, and a pipeline that cannot be read
commands   what a person types
"""
