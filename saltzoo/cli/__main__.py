"""Run the command as `python -m saltzoo.cli`."""

import sys

from .main import main

sys.exit(main())
