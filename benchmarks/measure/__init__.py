"""Tools of the benchmarks: timing, memory, comparison with a peer, and reports."""
