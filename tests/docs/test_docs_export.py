"""The page about export: its Python and its commands run, with a small network in place of the trained one."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saltzoo
from saltzoo.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "export.md").read_text(encoding="utf-8")
TINY = {"channels": (4, 8), "decoder_channels": (4,), "blocks": 1, "hypercolumn": False}


@pytest.mark.slow
def test_python_blocks_and_commands_run(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = saltzoo.create_model("saltnet_s", **TINY).eval()
    with torch.no_grad():
        small.head.conv.bias.fill_(9)  # far from the threshold: rounding to int8 moves no pixel over it
    saltzoo.save_pretrained(small, "small")
    create = saltzoo.create_model
    monkeypatch.setattr(saltzoo, "create_model", lambda *_, **__: create("local-dir:small"))
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "export.md", "exec"), names)
    np.testing.assert_allclose(names["probabilities"], names["same"], atol=1e-5)
    np.testing.assert_allclose(names["quantised"], names["same"], atol=0.05)
    assert names["again"].license == "cc-by-nc-4.0"

    Image.fromarray(names["tiles"].images[0]).save("line.png")
    commands = [shlex.split(line) for line in re.findall(r"^saltzoo (predict .*)$", PAGE, re.MULTILINE)]
    assert [command[-1] for command in commands] == ["masks", "masks_of_file"]
    for command in commands:
        assert main(["local-dir:small" if word == "saltnet_s.wide2" else word for word in command]) == 0
    masks = [np.asarray(Image.open(next(Path(command[-1]).glob("line*.png")))) for command in commands]
    np.testing.assert_array_equal(*masks)
