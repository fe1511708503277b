"""Push checkpoints to the Hugging Face Hub and fetch them. The only package that imports huggingface_hub.

The client's own settings apply: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and `hf auth login`.
"""

from .fetch import load_from_hub
from .push import PushedCommit, push_folder

__all__ = ["PushedCommit", "load_from_hub", "push_folder"]
