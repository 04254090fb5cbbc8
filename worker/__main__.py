"""`python -m worker` is `ditio-worker`."""

import sys

from worker.cli import main

if __name__ == "__main__":
    sys.exit(main())
