"""Run the command as `python -m saltzoo`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
