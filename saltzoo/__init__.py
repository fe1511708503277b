"""saltzoo: a model zoo for segmenting salt in seismic images."""

__version__ = "0.1.0"
