"""Load weights that other libraries and training scripts saved."""

from .smp import from_smp
from .state_dict import load_foreign, read_state_dict

__all__ = ["from_smp", "load_foreign", "read_state_dict"]
