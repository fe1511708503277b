"""Outputs of predict_tiled: arrays and files, and runs that are interrupted and go on."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from saltzoo import Preprocess, create_model, predict_tiled
from saltzoo.inference import _strips


def network(classes=1, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 9, padding=4), nn.Tanh(), nn.Conv2d(4, classes, 1))
    model.preprocess = Preprocess(mean=(0.47,), std=(0.16,))
    return model


def section(height=150, width=70):
    values = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    values[:, 3] = 0
    values[50:55, 20:30] = np.nan
    return values


OPTIONS = {"tile": 20, "normalize": "survey", "batch_size": 4}


class Stop(Exception):
    pass


def stopping_after(strips):
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == strips:
            raise Stop

    return progress


class Chunked:
    """An array of a file that takes slices and is no numpy array, such as that of zarr."""

    def __init__(self, shape):
        self.values, self.shape, self.dtype, self.writes = np.full(shape, -1, np.float32), shape, np.dtype("f4"), []

    def __setitem__(self, part, values):
        self.writes.append((part, values.shape))
        self.values[part] = values


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (1.3, 0.6)])
def test_every_output_holds_the_same_in_strips(classes, columns, scale, tmp_path, monkeypatch):
    if columns:
        monkeypatch.setattr(_strips, "LARGE_STRIP", 0)
    shape = (60, 150) if columns else (150, 70)
    model, picture, options = network(classes), section(*shape), {**OPTIONS, "scale": scale}
    want = predict_tiled(model, picture, **options)
    assert want.shape == (shape if classes == 1 else (3, *shape))
    file = predict_tiled(model, picture, out=tmp_path / "a.npy", **options)
    assert isinstance(file, np.memmap)
    np.testing.assert_array_equal(file, want)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), want)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    chunked = Chunked(want.shape)
    assert predict_tiled(model, picture, out=chunked, **options) is chunked
    np.testing.assert_array_equal(chunked.values, want)
    along = -1 if columns else -2
    assert sum(shape[along] for _, shape in chunked.writes) == want.shape[along]  # every row once
    assert max(shape[along] for _, shape in chunked.writes) <= 50
    assert {type(one) for part, _ in chunked.writes for one in part} == {slice}
    half = np.empty(want.shape, np.float16)
    predict_tiled(model, picture, out=half, **options)
    np.testing.assert_allclose(half, want, atol=1e-3)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.7, 1.3), (1.6, 0.8)])
@pytest.mark.parametrize("strips", [1, 4])
def test_a_run_goes_on_to_the_same_bytes_without_computing_a_strip_again(strips, scale, columns, tmp_path, monkeypatch):
    if columns:
        monkeypatch.setattr(_strips, "LARGE_STRIP", 0)
    shape = (60, 150) if columns else (150, 70)
    picture = section(*shape)
    model, options = network(), {**OPTIONS, "scale": scale, "tta": "flips"}
    whole, tiles = predict_tiled(model, picture, **options), []
    out, chunked, state = tmp_path / "a.npy", Chunked(shape), tmp_path / "state.json"
    for target, resume in ((out, False), (chunked, state)):
        with pytest.raises(Stop):
            predict_tiled(model, picture, out=target, resume=resume, progress=stopping_after(strips), **options)
    assert not out.exists()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [
        "a.npy.part",
        "a.npy.part.json",
        f"a.npy.part.json.{strips}.sums",
        "state.json",
        f"state.json.{strips}.sums",
    ]
    hook = model.register_forward_pre_hook(lambda _module, args: tiles.append(len(args[0])))
    totals = []
    for target, resume in ((out, True), (chunked, state)):
        tiles.clear()
        got = predict_tiled(model, picture, out=target, resume=resume, progress=lambda *n: totals.append(n), **options)
        first, total = totals[0]
        rows = first // (strips + 1)  # tiles in a strip
        assert sum(tiles) == 4 * (total - strips * rows)  # the flips
        totals.clear()
    hook.remove()
    assert got is chunked
    np.testing.assert_array_equal(chunked.values, whole)
    assert np.load(out).tobytes() == whole.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


KILLED = """
    import sys, os, signal
    sys.path.insert(0, {folder!r})
    from test_tiled_resume import network, section, OPTIONS
    from saltzoo import predict_tiled
    def progress(done, total):
        if done > total // 2:
            os.kill(os.getpid(), signal.SIGKILL)
    predict_tiled(network(), section(), out={out!r}, progress=progress, **OPTIONS)
"""


def test_a_killed_process_leaves_whole_files_and_goes_on(tmp_path):
    out = tmp_path / "a.npy"
    code = textwrap.dedent(KILLED).format(folder=os.path.dirname(__file__), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    state = json.loads((tmp_path / "a.npy.part.json").read_text())
    assert state["finished"] == 8
    tiles, model = [], network()
    model.register_forward_pre_hook(lambda _module, args: tiles.append(len(args[0])))
    predict_tiled(model, section(), out=out, resume=True, **OPTIONS)
    assert sum(tiles) == (14 - 8) * 6
    assert np.load(out).tobytes() == predict_tiled(network(), section(), **OPTIONS).tobytes()


def test_a_disk_without_space_for_the_result_leaves_what_was_there(tmp_path):
    out = tmp_path / "a.npy"
    out.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the result has 42,128 bytes
    try:
        with pytest.raises(OSError, match=re.escape(f"File too large: '{out}'")):
            predict_tiled(network(), section(), out=out, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert out.read_bytes() == b"old"
    assert os.stat(predict_tiled(network(), section(), out=out, **OPTIONS).filename).st_blocks * 512 >= 42_128


def interrupted(tmp_path):
    out = tmp_path / "a.npy"
    with pytest.raises(Stop):
        predict_tiled(network(), section(), out=out, progress=stopping_after(3), **OPTIONS)
    return out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overlap": 0.25}, "differs in overlap"),
        ({"tile": 21}, "differs in tile"),
        ({"tta": "hflip", "polarity": -1}, "differs in tta, polarity"),
        ({"fill": 0.0}, "differs in fill"),
        ({"normalize": (0.0, 1.0)}, "differs in normalize"),
    ],
)
def test_another_run_is_not_continued(changes, words, tmp_path):
    out = interrupted(tmp_path)
    before = (tmp_path / "a.npy.part").read_bytes()
    with pytest.raises(ValueError, match=words):
        predict_tiled(network(), section(), out=out, resume=True, **{**OPTIONS, **changes})
    assert (tmp_path / "a.npy.part").read_bytes() == before


def test_another_model_or_picture_is_not_continued(tmp_path):
    out = interrupted(tmp_path)
    with pytest.raises(ValueError, match="differs in model:"):
        predict_tiled(network(seed=1), section(), out=out, resume=True, **OPTIONS)
    other = network()
    other.preprocess = Preprocess(mean=(0.5,), std=(0.16,))
    with pytest.raises(ValueError, match="differs in preprocess:"):
        predict_tiled(other, section(), out=out, resume=True, **OPTIONS)
    with pytest.raises(ValueError, match="differs in picture:"):
        predict_tiled(network(), section() + 1, out=out, resume=True, **OPTIONS)
    fresh = predict_tiled(network(), section() + 1, out=out, **OPTIONS)  # starts again
    np.testing.assert_array_equal(fresh, predict_tiled(network(), section() + 1, **OPTIONS))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy.part.json", b"{", "must be the state of a tiled prediction and is damaged"),
        ("a.npy.part.json", b'{"finished": 3}', "is damaged"),
        ("a.npy.part.json.3.sums", b"\x93NUMPY", "is damaged"),
        ("a.npy.part", b"", "must be the unfinished result of the run to resume"),
    ],
)
def test_damaged_files_are_named(name, content, words, tmp_path):
    out = interrupted(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path / name.removesuffix('.3.sums')))} {words}|{words}"):
        predict_tiled(network(), section(), out=out, resume=True, **OPTIONS)


def test_resume_without_a_state_starts_and_replaces(tmp_path):
    out = tmp_path / "a.npy"
    out.write_bytes(b"old")
    with pytest.raises(Stop):
        predict_tiled(network(), section(), out=out, resume=True, progress=stopping_after(2), **OPTIONS)
    assert out.read_bytes() == b"old"
    predict_tiled(network(), section(), out=out, resume=True, **OPTIONS)
    assert np.load(out).shape == (150, 70)


def test_a_private_map_keeps_its_changes(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((150, 70), np.float32))
    picture = np.load(tmp_path / "in.npy", mmap_mode="c")
    picture[:] = section()
    got = predict_tiled(network(), picture, **OPTIONS)
    np.testing.assert_array_equal(picture, section())
    np.testing.assert_array_equal(got, predict_tiled(network(), section(), **OPTIONS))
    np.save(tmp_path / "in.npy", section())
    for mode in ("r", "r+"):
        mapped = np.load(tmp_path / "in.npy", mmap_mode=mode)
        np.testing.assert_array_equal(predict_tiled(network(), mapped, **OPTIONS), got)
        np.testing.assert_array_equal(
            predict_tiled(network(), mapped[::-1], **OPTIONS), predict_tiled(network(), section()[::-1], **OPTIONS)
        )


def test_the_file_of_the_picture_is_not_replaced(tmp_path):
    model = create_model("saltnet_s")
    file = tmp_path / "line.npy"
    np.save(file, np.full((60, 70), 0.5, np.float32))
    before = file.read_bytes()
    with pytest.raises(ValueError, match="out must be another file than that of the picture"):
        predict_tiled(model, np.load(file, mmap_mode="r"), out=file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_outputs_and_pictures_of_other_kinds_are_told_apart():
    model, picture = create_model("saltnet_s"), np.random.default_rng(0).random((60, 70), np.float32)
    with pytest.raises(TypeError, match=r"out must be None, a path .* got Tensor"):
        predict_tiled(model, picture, out=torch.zeros(60, 70))
    with pytest.raises(ValueError, match="got a read-only one"):
        predict_tiled(model, picture, out=np.broadcast_to(np.float32(0), (60, 70)))
    with pytest.raises(TypeError, match="got a masked one"):
        predict_tiled(model, np.ma.masked_array(picture, picture > 0.5))
    gray = torch.from_numpy(picture).bfloat16()
    same = predict_tiled(model, gray, tile=np.int64(64))
    np.testing.assert_array_equal(same, predict_tiled(model, gray.float(), tile=64))
