"""Python imports this at its start where the folder is on PYTHONPATH: so the worker of a job can be armed."""

import os
import sys

if (number := os.environ.get("KILL_WORKER_AT")) and "relion_jobs.running.worker" in sys.orig_argv:
    from kill_at import kill_at

    kill_at(int(number), os.environ["KILL_WORKER_BELOW"])
