"""The command line: what it prints, and what it says of wrong words."""

import json
import subprocess
import sys

import pytest
import torch
from minihub import MiniHub

import saltzoo
from saltzoo import sources
from saltzoo.cli import main


def test_list(capsys):
    assert main(["list", "saltnet*"]) == 0
    assert capsys.readouterr().out.split() == ["saltnet_m", "saltnet_s"]
    assert main(["list", "nothing*"]) == 1
    assert "no name fits 'nothing*'" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == saltzoo.list_models()


def test_listing_needs_no_torch():
    code = "from saltzoo.cli import main; import sys; main(['list']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_info(capsys):
    assert main(["info", "saltnet_s"]) == 0
    printed = capsys.readouterr().out
    with torch.device("meta"):
        model = saltzoo.create_model("saltnet_s")
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in printed
    assert "  attention = 'scse'" in printed
    assert "weights" not in printed
    assert main(["info", "saltnet_x"]) == 1
    assert "error: unknown model 'saltnet_x'" in capsys.readouterr().err


def test_info_of_weights(capsys, tmp_path, monkeypatch):
    assert main(["info", "saltnet_s.tgs"]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((sources.BUNDLED / "saltnet_s.tgs" / "config.json").read_text())["metrics"]
    assert "licence cc-by-nc-4.0" in printed
    assert f"  salt_map = {metrics[0]['value']:.4f} (data TGS Salt Identification Challenge, fold 0 of 5" in printed
    assert "  attention = 'scse'" in printed
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    assert main(["info", "saltnet_s.tgs"]) == 0
    assert "weights saltnet_s.tgs: on the Hugging Face Hub, saltzoo/saltnet_s.tgs@" in capsys.readouterr().out
    assert main(["info", "saltnet_s.none"]) == 1
    assert "error: no weights 'saltnet_s.none'" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    metric = {"name": "salt_map", "value": 0.8, "data": "tiles"}
    return saltzoo.save_pretrained(model, tmp_path / "unet.mine", metrics=[metric])


def pushed(folder, hub, *words):
    """In a process of its own: the client reads its settings when it is imported."""
    env = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "secret",
        "HF_HOME": str(folder.parent / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-m", "saltzoo.cli", "push", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**env, "PATH": ""})


def test_push(folder):
    with MiniHub(writers={"secret": "org"}) as hub:
        done = pushed(folder, hub, str(folder), "--to", "org/unet.mine")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].startswith("hf-hub:org/unet.mine@")
        files = hub.repos["org/unet.mine"].files("main")
        assert {*files} >= {"README.md", "config.json", "model.safetensors"}
        assert json.loads(files["config.json"])["metrics"][0]["value"] == 0.8
        wrong = pushed(folder, hub, str(folder), "--to", "not an id")
        assert wrong.returncode == 1
        assert wrong.stderr.startswith("error: ")


def test_what_is_no_weights(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    assert main(["push", "saltnet_s.nothing", "--to", "org/name"]) == 1
    assert "no weights 'saltnet_s.nothing': neither in" in capsys.readouterr().err


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    with pytest.raises(SystemExit):
        main(["--version"])
    assert saltzoo.__version__ in capsys.readouterr().out
