"""Every string of the language that RELION jobs speak on disk.

Source: RELION 5 (pipeline_control.h, pipeliner.cpp, metadata_label.h).
"""

from __future__ import annotations

from enum import StrEnum

# marks in a job directory
EXIT_SUCCESS = "RELION_JOB_EXIT_SUCCESS"
EXIT_FAILURE = "RELION_JOB_EXIT_FAILURE"
EXIT_ABORTED = "RELION_JOB_EXIT_ABORTED"
ABORT_NOW = "RELION_JOB_ABORT_NOW"
EXIT_MARKS = (EXIT_SUCCESS, EXIT_FAILURE, EXIT_ABORTED)
JOB_MARKS = (*EXIT_MARKS, ABORT_NOW)

# the CCP-EM pipeliner's marks, and the file that it keeps about each of its jobs
CCPEM_EXIT_MARKS = ("PIPELINER_JOB_EXIT_SUCCESS", "PIPELINER_JOB_EXIT_FAILED", "PIPELINER_JOB_EXIT_ABORTED")
CCPEM_ABORT_NOW = "PIPELINER_JOB_ABORT_NOW"
CCPEM_JOB_INFO = ".CCPEM_pipeliner_jobinfo"

# files of a job directory
JOB_STAR = "job.star"
JOB_PIPELINE_STAR = "job_pipeline.star"
DELETED_PIPELINE_STAR = "deleted_pipeline.star"
OUTPUT_NODES_STAR = "RELION_OUTPUT_NODES.star"
NOTE = "note.txt"
RUN_OUT = "run.out"
RUN_ERR = "run.err"
SUBMIT_SCRIPT = "run_submit.script"
SUBMIT_LOG = "run_submit.log"
NO_HARSH_CLEAN = "NO_HARSH_CLEAN"
LOGFILE_PDF = "logfile.pdf"

# files of a project directory
PIPELINE_STAR = "default_pipeline.star"
PROJECT_MARK = ".gui_projectdir"
PIPELINE_CHANGED = ".pipeline_has_changed"
LOCK_DIRECTORY = ".relion_lock"
NODES_DIRECTORY = ".Nodes"
TRASH = "Trash"
SCHEMES = "Schemes"

# job types that RELION does not know are written under External/ with this prefix
EXTERNAL_DIRECTORY = "External"
EXTERNAL_PREFIX = "relion.external."

# "Yes" is the only text that RELION takes as true
YES, NO = "Yes", "No"


class Status(StrEnum):
    """Status of a process; any other word makes every RELION program abort."""

    RUNNING = "Running"
    SCHEDULED = "Scheduled"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ABORTED = "Aborted"


FINISHED = (Status.SUCCEEDED, Status.FAILED, Status.ABORTED)
STATUS_OF_MARK = {EXIT_SUCCESS: Status.SUCCEEDED, EXIT_FAILURE: Status.FAILED, EXIT_ABORTED: Status.ABORTED}
STATUS_OF_CCPEM_MARK = dict(zip(CCPEM_EXIT_MARKS, STATUS_OF_MARK.values(), strict=True))
MARK_OF_STATUS = {status: mark for mark, status in STATUS_OF_MARK.items()}
