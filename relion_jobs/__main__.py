"""``python -m relion_jobs``."""

import sys

from relion_jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
