"""What benchmarks/versus.py measures: each function yields the rows of one subject."""
