"""Checkpoints: config.json, model.safetensors and README.md in a folder or in a repository of the Hub."""

from .folder import Checkpoint, DamagedFileError, load_folder

__all__ = ["Checkpoint", "DamagedFileError", "load_folder"]
