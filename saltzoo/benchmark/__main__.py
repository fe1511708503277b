"""Measure one row in this process: `python -m saltzoo.benchmark SETTING`, a setting as JSON, prints the row as JSON."""

import sys

from .process import print_row

print_row(sys.argv[1])
