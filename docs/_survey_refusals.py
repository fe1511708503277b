"""Rows of the table of refusals of docs/howto/surveys.md: what is given, and what happens."""

from __future__ import annotations

REFUSALS: tuple[tuple[str, str], ...] = (
    ("an empty file", "refused: copy the file again"),
    ("a file that ends within a trace", "refused, with the number of whole traces"),
    ("no SEG-Y file", "refused: the format code is none of the standard's"),
    ("IBM samples declared as IEEE, or the reverse", "refused, by their statistics: pass --sample-format"),
    ("samples in the other byte order", "refused: correct the file, or pass --byte-order"),
    ("prestack traces", "refused: stack them, or write one offset"),
    ("no header words that number lines", "refused, with the words that may: pass --iline and --xline, or --iline 0"),
    ("--iline without --xline", "refused: pass both"),
    ("words that make more than 10 cells a trace", "refused: pass other bytes"),
    ("a folder without zarr", "refused"),
    ("an output that is the survey", "refused"),
    ("an output that is there", "refused, unless --overwrite"),
    ("SEG-Y output for a survey in zarr", "refused: write .zarr"),
    ("lines that the survey has not", "refused, with the numbers it has"),
    ("--direction crossline for a 2-D line", "refused: its crosslines are single traces"),
    ("missing and dead traces", "read: they stay missing and dead"),
    ("integers, and both byte orders", "read: probabilities are written as IEEE floating point in the same order"),
    ("a 2-D line", "read as a survey of one inline"),
)
