"""Checkpoints: folders of config.json, model.safetensors and README.md, on disk and on the Hugging Face Hub."""

from .folder import Checkpoint, DamagedFileError, load_folder
from .save import save_pretrained

__all__ = ["Checkpoint", "DamagedFileError", "load_folder", "save_pretrained"]
