"""`--dask`: the volume is that of one process, on a local cluster of which one worker of two is killed."""

import os
import signal
import threading
import time
import warnings

import pytest
import torch
from _segy_files import grid_words, write_segy

import saltzoo
from saltzoo.cli import loading, main, parts, slabs, survey_dask
from saltzoo.cli.survey import segment_survey
from saltzoo.data import make_survey
from saltzoo.seismic import open_survey

SHAPE = (24, 20, 64)


@pytest.fixture
def model(tmp_path):
    """Name of a small model in a folder."""
    torch.manual_seed(0)
    network = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=[8, 8, 8, 8, 8])
    saltzoo.save_pretrained(network, tmp_path / "model")
    return f"local-dir:{tmp_path / 'model'}"


@pytest.fixture
def survey(tmp_path):
    values = 50 * make_survey(SHAPE, seed=2)[0]
    write_segy(tmp_path / "a.sgy", values.reshape(-1, SHAPE[2]), grid_words(range(SHAPE[0]), range(SHAPE[1])))
    return tmp_path / "a.sgy"


def test_a_number_of_processes_is_needed(tmp_path):
    with pytest.raises(ValueError, match="dask must be an address or local:N, such as local:4, got 'local:x'"):
        list(survey_dask.compute_on_dask("local:x", None, [None], device="cpu"))


def test_without_the_extra_the_error_tells_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'saltzoo\[dask\]'"):
        list(survey_dask.compute_on_dask("local:2", None, [None], device="cpu"))


@pytest.mark.slow
def test_the_volume_is_exact_after_a_worker_is_killed(tmp_path, survey, model, monkeypatch):
    distributed = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr(type(open_survey(survey).source), "slab_size", lambda source: 1)
    monkeypatch.setattr(slabs, "_SAMPLES", SHAPE[0] * SHAPE[2])
    network = loading.load_model(model)
    both = {"directions": ("inline", "crossline"), "label": model, "overwrite": True}
    segment_survey(network, open_survey(survey), tmp_path / "whole.sgy", **both)
    calls = []
    settings = {"distributed.admin.large-graph-warning-threshold": "1MB"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        first, second = client.run(os.getpid).values()

        def kill():
            while not calls:
                time.sleep(0.01)
            os.kill(second, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Sending large graph")
            segment_survey(
                network,
                open_survey(survey),
                tmp_path / "b.sgy",
                dask=cluster.scheduler_address,
                progress=lambda done, count: calls.append(done),
                **both,
            )
        killer.join(10)
        loads = client.run(_loads)
        pids = client.run(os.getpid)
    assert (tmp_path / "b.sgy").read_bytes() == (tmp_path / "whole.sgy").read_bytes()
    assert len(calls) == SHAPE[0] + SHAPE[1]
    assert second not in pids.values()
    assert first in pids.values()
    assert set(loads.values()) <= {0, 1}
    assert sum(loads.values()) >= 1
    assert not (tmp_path / ".b.sgy.parts").exists()


def _loads():
    from saltzoo.cli import survey_dask

    return survey_dask.load_once.cache_info().misses


@pytest.mark.slow
def test_the_graph_of_many_slabs_is_small(tmp_path, monkeypatch):
    """100 bytes a slab at most: a megabyte for a survey of 160 GiB."""
    distributed = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr(survey_dask, "read_job", lambda folder: None)
    monkeypatch.setattr(parts.Parts, "has", lambda self, slab: True)
    many = [slabs.Slab("inline", k, k + 1) for k in range(3000)]
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": f"{100 * len(many)}B"}),
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", message="Sending large graph")
        address = cluster.scheduler_address
        found = list(survey_dask.compute_on_dask(address, parts.Parts(tmp_path, None), many, device="cpu"))
    assert sorted(found) == many


@pytest.mark.slow
def test_the_command_computes_in_two_processes(capsys, tmp_path, survey, model):
    words = ["predict", str(survey), "--model", model, "--device", "cpu", "--mask", "--out"]
    assert main([*words, str(tmp_path / "whole.sgy")]) == 0
    assert main([*words, str(tmp_path / "b.sgy"), "--dask", "local:2"]) == 0
    assert (tmp_path / "b.sgy").read_bytes() == (tmp_path / "whole.sgy").read_bytes()
    assert "24 lines" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "c.sgy"), "--dask", "tcp://127.0.0.1:9"]) == 1
    assert "error" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".c", "c"))) == []
