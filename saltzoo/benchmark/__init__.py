"""Measurement of throughput: one setting of a model, each in a fresh process, and the table of all."""
