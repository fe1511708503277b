"""The Hugging Face Hub, both ways. The only package that imports huggingface_hub.

Where the cache is, which Hub is asked and by what token is the client's own: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_TOKEN and `hf auth login` work as everywhere.
"""

from .fetch import load_from_hub
from .push import PushedCommit, push_folder, push_to_hub

__all__ = ["PushedCommit", "load_from_hub", "push_folder", "push_to_hub"]
