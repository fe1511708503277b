"""Load weights that other libraries and training scripts saved."""

from ..checkpoints.state_dict import read_state_dict
from .foreign import load_foreign
from .smp import from_smp

__all__ = ["from_smp", "load_foreign", "read_state_dict"]
