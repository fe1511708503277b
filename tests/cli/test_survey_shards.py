"""Surveys in shards and after interruptions: the bytes are those of one run, and no finished slab is computed again."""

import itertools
import json
import os
import random
import shutil
import signal
import time
from functools import partial

import numpy as np
import pytest
from _segy_files import grid_words, keep, write_segy
from torch import nn

from saltzoo import Preprocess
from saltzoo.cli import loading, main, slabs
from saltzoo.cli import survey as survey_module
from saltzoo.cli.survey import segment_survey
from saltzoo.data import make_survey
from saltzoo.seismic import open_survey

INLINES, CROSSLINES, SAMPLES = range(100, 112, 2), range(20, 29), 40
SHAPE = (len(INLINES), len(CROSSLINES), SAMPLES)
BOTH = ("inline", "crossline")
AMPLITUDES = 50 * make_survey(SHAPE, seed=4)[0]
COUNT = {"inline": 3, "crossline": 5}
"""Slabs of each direction: two lines each."""


class Network(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.weight, 0.1)
        self.preprocess, self.threshold = Preprocess(mean=(0.47,), std=(0.16,)), 0.5


def logistic(model, picture, **how):
    """A prediction without a network: NaN where the picture is."""
    return (1 / (1 + np.exp(-picture / 50))).astype(np.float32)


@pytest.fixture(autouse=True)
def _small_slabs(monkeypatch, tmp_path):
    words, values = grid_words(INLINES, CROSSLINES), AMPLITUDES.reshape(-1, SAMPLES).copy()
    values[30] = 0
    write_segy(tmp_path / "a.sgy", *reversed(keep(words, values, np.delete(np.arange(len(values)), [3, 8]))))
    survey = open_survey(tmp_path / "a.sgy")
    monkeypatch.setattr(type(survey.source), "slab_size", lambda source: 2)
    monkeypatch.setattr(slabs, "_SAMPLES", 2 * SHAPE[0] * SAMPLES)
    monkeypatch.setattr(slabs, "predict_tiled", logistic)
    monkeypatch.setattr(loading, "load_model", lambda name, device=None, fast=False: Network())


@pytest.fixture
def computed(monkeypatch):
    """Slabs that were computed, in order."""
    found, compute = [], survey_module.compute_slab

    def count(model, survey, job, slab, **options):
        found.append(slab)
        return compute(model, survey, job, slab, **options)

    monkeypatch.setattr(survey_module, "compute_slab", count)
    return found


def segment(folder, name="b.sgy", **options):
    """Segment the survey of a folder to one volume, or two where both directions are segmented."""
    options = {"directions": BOTH, "disagreement": folder / "d.sgy"} | options
    return segment_survey(Network(), open_survey(folder / "a.sgy"), folder / name, **options)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def whole(tmp_path):
    """Files of one run without an interruption, which are then removed."""
    segment(tmp_path)
    found = files_of(tmp_path)
    assert set(found) == {"a.sgy", "b.sgy", "b.json", "d.sgy"}
    assert len(os.listdir(tmp_path)) == len(found)
    for name in set(found) - {"a.sgy"}:
        (tmp_path / name).unlink()
    return found


@pytest.mark.parametrize("order", [(1,), (1, 2), (2, 1), (3, 1, 2), tuple(range(9, 0, -1))])
def test_shards_in_any_order_are_one_run(tmp_path, whole, computed, order):
    for k, number in enumerate(order):
        before = len(computed)
        found = segment(tmp_path, shard=(number, len(order)))
        left = 8 - len(computed)
        if k + 1 < len(order):
            assert (found["slabs"], found["slabs_left"]) == (8, left)
            assert "salt" not in found
            assert set(files_of(tmp_path)) == {"a.sgy"}
            again = segment(tmp_path, shard=(number, len(order)))
            assert (again["slabs_left"], len(computed)) == (left, 8 - left)
        assert abs((len(computed) - before) - 8 / len(order)) < 1
    assert files_of(tmp_path) == whole
    assert len(os.listdir(tmp_path)) == len(whole)
    assert len(set(computed)) == len(computed) == 8


def test_one_direction_and_chosen_lines_need_only_their_slabs(tmp_path, computed):
    options = {"directions": ("inline",), "disagreement": None, "lines": (104, 106, 2)}
    segment(tmp_path, "whole.sgy", **options)
    assert [(slab.first, slab.stop) for slab in computed] == [(2, 4)]
    assert "salt" in segment(tmp_path, shard=(1, 2), **options)
    assert (tmp_path / "b.sgy").read_bytes() == (tmp_path / "whole.sgy").read_bytes()


def test_a_shard_that_starts_after_the_result_is_complete_has_nothing_to_do(tmp_path, computed):
    found = segment(tmp_path, shard=(1, 1))
    files = {**files_of(tmp_path)}
    computed.clear()
    for options in ({}, {"resume": True}, {"overwrite": True}):
        again = segment(tmp_path, shard=(9, 9), **options)
        assert again == json.loads(json.dumps(found))
    assert (computed, files_of(tmp_path), sorted(os.listdir(tmp_path))) == ([], files, sorted(files))


@pytest.mark.parametrize("options", [{"shard": (2, 2)}, {"shard": (2, 2), "resume": True}, {"resume": True}, {}])
def test_a_result_of_other_options_is_not_replaced(tmp_path, computed, options):
    segment(tmp_path)
    files = files_of(tmp_path)
    with pytest.raises(FileExistsError, match=r"b\.sgy is there already"):
        segment(tmp_path, threshold=0.7, **options)
    assert files_of(tmp_path) == files
    assert sorted(os.listdir(tmp_path)) == sorted(files)  # no folder of parts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("start", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 4, 5))])
def test_a_process_that_ends_at_any_change_of_the_disk_is_resumed(tmp_path, whole, start):
    """Each change of a name is the last thing that the process does, in turn."""
    changes = ("rename", "replace", "mkdir", "unlink", "rmdir")
    for last in itertools.count(start, 5):
        folder = tmp_path / str(last)
        folder.mkdir()
        shutil.copy2(tmp_path / "a.sgy", folder)
        child = os.fork()
        if not child:
            calls = itertools.count(1)

            def ends(change, *given, calls=calls, last=last, **options):
                change(*given, **options)
                if next(calls) == last:
                    os._exit(9)

            for name in changes:
                setattr(os, name, partial(ends, getattr(os, name)))
            try:
                segment(folder)
            finally:
                os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done = set(files_of(folder))
        assert ended == 9 or done == set(whole)
        segment(folder, resume=True)
        found = files_of(folder)
        assert {name: found[name] for name in ("b.sgy", "d.sgy")} == {name: whole[name] for name in ("b.sgy", "d.sgy")}
        told, expected = json.loads(found["b.json"]), json.loads(whole["b.json"])
        assert (told["salt"], told["amplitudes"]) == (expected["salt"], expected["amplitudes"])
        assert sorted(os.listdir(folder)) == sorted(whole)
        shutil.rmtree(folder)
        if ended == 0:
            break
    assert last > 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_bytes_are_the_same_after_five_kills(tmp_path, whole, monkeypatch):
    log, parts = tmp_path.parent / f"{tmp_path.name}.log", tmp_path / ".b.sgy.parts"
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    compute = survey_module.compute_slab

    def logged(model, survey, job, slab, **options):
        time.sleep(0.02)
        os.write(file, f"{slab.direction}_{slab.first}_{slab.stop}.f32\n".encode())
        return compute(model, survey, job, slab, **options)

    monkeypatch.setattr(survey_module, "compute_slab", logged)
    chance = random.Random(7)
    for _ in range(5):
        finished = set(os.listdir(parts)) if parts.exists() else set()
        begun = log.read_text().splitlines()
        child = os.fork()
        if not child:
            try:
                segment(tmp_path, resume=True)
            finally:
                os._exit(0)
        slabs_more = len(begun) + chance.randint(1, 2)
        while len(log.read_text().splitlines()) < slabs_more:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert not finished & set(log.read_text().splitlines()[len(begun) :])
        assert set(files_of(tmp_path)) == {"a.sgy"}
    assert segment(tmp_path, resume=True)["salt"]
    os.close(file)
    assert files_of(tmp_path) == whole
    assert len(os.listdir(tmp_path)) == len(whole)
    computed = log.read_text().splitlines()
    assert len(set(computed)) == 8
    assert len(computed) <= 8 + 5  # a slab that was begun when its process was killed


def run(capsys, *words):
    status = main(["predict", *map(str, words), "--model", "none.here", "--device", "cpu"])
    done = capsys.readouterr()
    return status, done.out, " ".join(done.err.split())


def test_the_command_goes_on_and_tells_how(capsys, tmp_path, monkeypatch, computed):
    words = [tmp_path / "a.sgy", "--out", tmp_path / "b.sgy"]
    assert run(capsys, *words)[0] == 0
    expected = (tmp_path / "b.sgy").read_bytes()
    calls = itertools.count()

    def stopped(model, picture, **how):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return logistic(model, picture)

    monkeypatch.setattr(slabs, "predict_tiled", stopped)
    status, _, err = run(capsys, *words, "--overwrite")
    assert status == 130
    assert f"finished slabs are in {tmp_path / '.b.sgy.parts'}: run the same command with --resume to go on" in err
    (tmp_path / "b.sgy").unlink()
    (tmp_path / "b.json").unlink()
    computed.clear()
    status, _, err = run(capsys, *words)
    assert (status, "pass resume (--resume) to go on with it, or overwrite" in err) == (2, True)
    status, _, err = run(capsys, *words, "--resume", "--overlap", 0.25)
    assert status == 1
    assert "options must be those that the run of" in err
    assert "got others (overlap 0.5, not 0.25)" in err
    status, out, err = run(capsys, *words, "--resume")
    assert (status, err, "6 lines" in out) == (0, "", True)
    assert [slab.first for slab in computed] == [4]
    assert (tmp_path / "b.sgy").read_bytes() == expected
    status, again, _ = run(capsys, *words, "--resume")
    assert (status, again, len(computed)) == (0, out, 1)
    assert run(capsys, *words, "--resume", "--overlap", 0.25)[0] == 1
    assert (tmp_path / "b.sgy").read_bytes() == expected


def test_the_command_tells_which_shards_are_missing(capsys, tmp_path):
    words = [tmp_path / "a.sgy", "--out", tmp_path / "b.zarr"]
    status, out, err = run(capsys, *words, "--shard", "2/2")
    assert (status, err) == (0, "")
    assert "shard 2/2 is finished; 2 of 3 slabs are left to other shards, the last of which writes" in out
    status, out, _ = run(capsys, *words, "--shard", "1/2", "--json")
    assert (status, json.loads(out)["lines"], "salt" in json.loads(out)) == (0, 6, True)
    assert sorted(os.listdir(tmp_path)) == ["a.sgy", "b.json", "b.zarr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "0/4"], "shard must be I/N with I from 1 to N, such as 1/4, got '0/4'"),
        (["--shard", "5/4"], "shard must be I/N"),
        (["--shard", "1"], "shard must be I/N"),
        (["--shard", "1/2", "--dask", "local:2"], "--shard and --dask share one survey out in two ways"),
    ],
)
def test_other_shards_are_refused(capsys, tmp_path, words, message):
    status, _, err = run(capsys, tmp_path / "a.sgy", "--out", tmp_path / "b.sgy", *words)
    assert (status, message in err) == (2, True)
    assert os.listdir(tmp_path) == ["a.sgy"]


def test_a_survey_that_changed_is_another_run(tmp_path):
    segment(tmp_path, shard=(1, 2))
    os.utime(tmp_path / "a.sgy", (1, 1))
    with pytest.raises(ValueError, match=r"options must be those .*modified \d+, not 1000000000"):
        segment(tmp_path, shard=(2, 2))
