"""compute_on_dask: slabs of a survey on the workers of dask. The only file that imports it.

A task is the number of a slab. Workers read the job from the folder of parts, open the survey, load the model once, and
write finished slabs to that folder, so that neither samples nor weights pass the scheduler: workers see the disk of
the survey, of the result and of the weights under the same paths.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..inference._resume import digest_of
from ..models import Segmenter
from ..seismic import Survey, open_survey
from .loading import load_model
from .parts import Parts, read_job
from .slabs import Slab, compute_slab

_loading = threading.Lock()


def compute_on_dask(address: str, parts: Parts, slabs: Sequence[Slab], *, device: str) -> Iterator[Slab]:
    """Compute and store slabs on workers, and yield each that is finished.

    A slab of a worker that ends is computed by another one.

    Args:
        address: of a scheduler, or "local:N" for N processes on this machine.
        parts: where the slabs go, in a folder that all workers see.
        slabs: what to compute.
        device: "cpu", "cuda" or "mps".

    Raises:
        ImportError: if distributed is not installed; the message says how to install it.
        OSError: if no scheduler answers, or a slab is not in the folder.
        ValueError: if the address is "local:" without a number of processes.
    """
    library = _load_dask()
    with _client(library, address) as client:
        tasks = client.map(
            compute_part,
            [(slab.direction, slab.first, slab.stop) for slab in slabs],
            folder=str(parts.folder.resolve()),
            device=device,
            pure=False,
            retries=2,
        )
        for task in library.as_completed(tasks, loop=client.loop):
            slab = Slab(*task.result())
            if not parts.has(slab):
                raise OSError(
                    f"workers must write to {parts.folder.resolve()}, got no slab there: put --out on a shared disk"
                )
            yield slab


def compute_part(place: tuple[Any, int, int], *, folder: str, device: str) -> tuple[Any, int, int]:
    """Compute and store one slab in the process of a worker, and return its place."""
    job = read_job(Path(folder))
    slab, parts = Slab(*place), Parts(Path(folder), job)
    if not parts.has(slab):
        survey = _survey(job.survey, tuple(sorted(job.reading.items())))
        parts.write(slab, compute_slab(_model(job.model, job.weights, device), survey, job, slab))
    return place


@lru_cache(maxsize=2)
def _survey(path: str, reading: tuple[tuple[str, Any], ...]) -> Survey:
    return open_survey(path, **dict(reading))


def _model(name: str, weights: str, device: str) -> Segmenter:
    with _loading:  # threads of a worker share the model
        return load_once(name, weights, device)


@lru_cache(maxsize=1)
def load_once(name: str, weights: str, device: str) -> Segmenter:
    """Load a model in the process of a worker.

    Raises:
        ValueError: if its weights differ from those of the run.
    """
    model = load_model(name, torch.device(device))
    if digest_of(model) != weights:
        raise ValueError(f"the weights of {name} must be those of the run, got others on a worker: copy them again")
    return model


@contextmanager
def _client(library: Any, address: str) -> Iterator[Any]:
    if not address.startswith("local"):
        with library.Client(address, timeout="30s", set_as_default=False) as client:
            yield client
        return
    count = address.partition(":")[2]
    if not count.isdecimal() or not int(count):
        raise ValueError(f"dask must be an address or local:N, such as local:4, got {address!r}: choose another")
    with (
        library.LocalCluster(n_workers=int(count), threads_per_worker=1, dashboard_address=None) as cluster,
        library.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _load_dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError("dask is needed for this: install it with `pip install 'saltzoo[dask]'`") from error
    return distributed
