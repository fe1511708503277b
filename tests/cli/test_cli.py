"""The command line: output and error messages."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import click
import pytest
import torch
from minihub import MiniHub

import saltzoo
from saltzoo.checkpoints import hub as hub_package
from saltzoo.cli import list_models, main
from saltzoo.cli.main import saltzoo as saltzoo_group
from saltzoo.zoo import sources


def test_list(capsys):
    assert main(["list", "saltnet*"]) == 0
    assert capsys.readouterr().out.split() == ["saltnet_m", "saltnet_s"]
    assert main(["list", "nothing*"]) == 1
    assert "no name matches 'nothing*'" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == saltzoo.list_models()


@pytest.mark.parametrize("words", [["list"], ["--help"], ["predict", "--help"], ["train", "--help"], ["predict"]])
def test_lists_and_help_import_neither_torch_nor_numpy(words):
    code = (
        f"from saltzoo.cli import main; import sys; main({words});"
        "assert not {'torch', 'timm', 'numpy', 'PIL', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


COMMANDS = sorted(saltzoo_group.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example_that_parses(name, capsys):
    assert main([name, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "--debug Show the traceback of an error." in printed
    assert "None" not in printed
    assert all(one.help for one in saltzoo_group.commands[name].params if isinstance(one, click.Option))
    words = shlex.split(printed.rpartition("Example: ")[2])
    assert words[:2] == ["saltzoo", name]
    saltzoo_group.commands[name].make_context(name, words[2:])  # raises for a wrong option


def test_json_is_what_the_text_says(capsys):
    assert main(["list", "saltnet*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["saltnet_m", "saltnet_s"]
    assert main(["list", "nothing*", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []
    assert main(["info", "saltnet_s.tgs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with torch.device("meta"):
        model = saltzoo.create_model("saltnet_s")
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["options"]["attention"] == "scse"
    assert found["weights"]["license"] == "cc-by-nc-4.0"


def test_debug_shows_the_traceback(capsys):
    for words in (["--debug", "info", "saltnet_x"], ["info", "saltnet_x", "--debug"]):
        assert main(words) == 1
        message = capsys.readouterr().err
        assert "Traceback" in message
        assert message.splitlines()[-1].startswith("error: unknown model 'saltnet_x'")
    assert main(["info", "saltnet_x"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_info_of_a_folder(folder, capsys):
    assert main(["info", f"local-dir:{folder}"]) == 0
    printed = capsys.readouterr().out
    model = saltzoo.create_model(f"local-dir:{folder}")
    assert printed.startswith(f"unet: {sum(p.numel() for p in model.parameters()):,} parameters")
    assert "  encoder = 'test_resnet'" in printed
    assert f"weights local-dir:{folder}: {folder}, licence other" in printed
    assert "  salt_map = 0.8000 (data tiles)" in printed


def test_info_of_a_folder_without_a_checkpoint_says_what_is_there(folder, capsys, tmp_path):
    assert main(["info", f"local-dir:{tmp_path / 'none'}"]) == 1
    assert "error: no checkpoint at" in capsys.readouterr().err
    (folder / "config.json").unlink()
    assert main(["info", f"local-dir:{folder}"]) == 1
    assert "error: no config.json in" in capsys.readouterr().err
    assert main(["info", "hf-hub:org/name"]) == 1
    assert "https://huggingface.co/org/name" in capsys.readouterr().err


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
    torch.manual_seed(0)
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    metric = {"name": "salt_map", "value": 0.8, "data": "tiles"}
    return saltzoo.save_pretrained(model, tmp_path / "unet.mine", metrics=[metric])


@pytest.fixture
def pushed(monkeypatch):
    """The arguments of each call of push_folder, which is replaced."""
    given = []

    def push_folder(folder, to, **options):
        given.append((str(folder), to, options))
        return hub_package.PushedCommit("https://hub/commit/abc", "abc")

    monkeypatch.setattr(hub_package, "push_folder", push_folder)
    return given


def test_push(folder, hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert main(["push", str(folder), "--to", "org/unet.mine"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1].startswith("hf-hub:org/unet.mine@")
    files = hub.repos["org/unet.mine"].files("main")
    assert {*files} >= {"README.md", "config.json", "model.safetensors"}
    assert json.loads(files["config.json"])["metrics"][0]["value"] == 0.8
    assert not hub.repos["org/unet.mine"].private
    assert main(["push", str(folder), "--to", "not an id"]) == 1
    assert capsys.readouterr().err.startswith("error: not a repository of the Hub: 'not an id'")


def test_push_to_a_private_branch_and_over_other_weights(folder, hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    command = ["push", str(folder), "--to", "org/unet.mine", "--private", "--revision", "trial"]
    assert main(command) == 0, capsys.readouterr().err
    repo = hub.repos["org/unet.mine"]
    assert repo.private
    assert "model.safetensors" not in repo.files("main")
    first = (folder / "model.safetensors").read_bytes()
    assert repo.files("trial")["model.safetensors"] == first
    other = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    saltzoo.save_pretrained(other, folder)
    assert main(command) == 1
    message = capsys.readouterr().err
    assert "error: org/unet.mine@trial holds other weights" in message
    assert "--replace" in message
    assert repo.files("trial")["model.safetensors"] == first
    assert main([*command, "--replace"]) == 0, capsys.readouterr().err
    assert repo.files("trial")["model.safetensors"] == (folder / "model.safetensors").read_bytes() != first


@pytest.mark.slow
def test_push_and_load_with_settings_from_the_environment(folder):
    """In fresh processes, because the client reads its settings when it is imported."""
    load = [sys.executable, "-c", "import saltzoo; saltzoo.create_model('hf-hub:org/unet.mine')"]
    push = [sys.executable, "-m", "saltzoo.cli", "push", str(folder), "--to", "org/unet.mine"]
    with MiniHub(writers={"secret": ["org"]}) as hub:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder.parent / "hf"), "HF_HUB_DISABLE_XET": "1"}
        for command, settings in ((push, {"HF_TOKEN": "secret"}), (load, {}), (load, {"HF_HUB_OFFLINE": "1"})):
            hub.asked()
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**env, **settings})
            assert done.returncode == 0, done.stderr
            assert bool(hub.asked()) == ("HF_HUB_OFFLINE" not in settings)


def test_push_prints_what_it_pushes_and_where(folder, capsys, pushed):
    assert main(["push", str(folder), "--to", "org/unet.mine", "--revision", "trial", "--private"]) == 0
    parameters = sum(value.numel() for value in saltzoo.create_model(f"local-dir:{folder}").parameters())
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}: unet, {parameters:,} parameters, {megabytes:.1f} MB",
        "to org/unet.mine@trial",
        "https://hub/commit/abc",
        "hf-hub:org/unet.mine@abc",
    ]
    assert pushed == [(str(folder), "org/unet.mine", {"private": True, "revision": "trial", "replace": False})]


def test_push_tells_bundled_weights_from_folders(folder, capsys, monkeypatch, tmp_path, pushed):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "pretrained")
    shutil.copytree(folder, tmp_path / "pretrained" / "saltnet_s.tgs")
    monkeypatch.chdir(tmp_path)
    for weights, pushes in (
        ("saltnet_s.tgs", str(tmp_path / "pretrained" / "saltnet_s.tgs")),
        ("unet.mine", "unet.mine"),
        ("./unet.mine", "unet.mine"),
    ):
        assert main(["push", weights, "--to", "org/name"]) == 0, capsys.readouterr().err
        assert pushed.pop()[0] == pushes
    shutil.copytree(folder, "saltnet_s.tgs")
    assert main(["push", "saltnet_s.tgs", "--to", "org/name"]) == 1
    assert (
        "error: 'saltnet_s.tgs' is a folder here and a name of bundled weights: write ./saltnet_s.tgs or /"
        in capsys.readouterr().err
    )
    assert main(["push", "./saltnet_s.tgs", "--to", "org/name"]) == 0
    assert pushed.pop()[0] == "saltnet_s.tgs"
    monkeypatch.chdir(folder)
    assert main(["push", ".", "--to", "org/name"]) == 0  # the current folder
    assert pushed == [(".", "org/name", {"private": False, "revision": None, "replace": False})]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("saltnet_s.nothing", "no weights 'saltnet_s.nothing': neither a name that `saltzoo list --pretrained` prints"),
        ("saltnet_s", "no weights 'saltnet_s': neither"),
        ("", "no weights '': neither"),
        (".", "no config.json in ."),
        ("..", "no config.json in .."),
        ("saltnet_s.tgs", "the weights 'saltnet_s.tgs' are not in"),
    ],
)
def test_push_refuses_what_is_not_a_checkpoint(weights, words, capsys, tmp_path, monkeypatch, pushed):
    here = tmp_path / "work" / "here"
    here.mkdir(parents=True)
    shutil.copytree(sources.BUNDLED / "saltnet_s.tgs", tmp_path / "bundled", dirs_exist_ok=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "bundled")
    assert main(["push", weights, "--to", "org/name"]) == 1
    assert f"error: {words}" in capsys.readouterr().err
    assert pushed == []


def test_push_refuses_a_checkpoint_that_cannot_be_loaded(folder, capsys, pushed):
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["decoder_channels"] = [16] * 5
    (folder / "config.json").write_text(json.dumps(config))
    assert main(["push", str(folder), "--to", "org/name"]) == 1
    assert "and 'unet' do not fit" in capsys.readouterr().err
    assert pushed == []


def test_without_a_command_it_exits_with_2(capsys):
    assert main([]) == 2
    assert "Missing command" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"saltzoo {saltzoo.__version__}\n"


def run_command(*command, **options):
    """Run `python -m saltzoo` in a process, since what the interpreter does at its end counts too."""
    return subprocess.run(
        [sys.executable, "-m", "saltzoo", *command], capture_output=True, text=True, timeout=60, **options
    )


def test_the_package_is_the_command():
    done = run_command("list", "saltnet*")
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["saltnet_m", "saltnet_s"], "")
    assert run_command("--version").stdout == f"saltzoo {saltzoo.__version__}\n"
    for wrong in ((), ("list", "--wrong"), ("sing",), ("push", "folder")):
        done = run_command(*wrong)
        assert done.returncode == 2
        assert done.stderr.startswith("Usage: saltzoo")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("read", ["head -1", "true"])
@pytest.mark.parametrize("command", ["list", "list --pretrained", "--help", "--version"])
def test_a_reader_that_stops_early_sees_no_error(read, command):
    line = f"{sys.executable} -m saltzoo {command} | {read}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        line = [sys.executable, "-m", "saltzoo", "list"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_a_closed_output_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m saltzoo list >&-", shell=True, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_letters_that_the_terminal_cannot_show_are_escaped():
    code = (
        "from saltzoo.zoo import registry, ModelSpec; from saltzoo.cli import main;"
        "spec = registry._models['saltnet_s'];"
        "registry._models['saltnet_s'] = ModelSpec('saltnet_s', spec.builder, spec.options, paper='Lov\\xe1sz');"
        "main(['info', 'saltnet_s'])"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert "paper: Lov\\xe1sz" in done.stdout


def test_an_interrupt_is_no_traceback(capsys, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(list_models, "list_models", stopped)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"license": None}, "license must be str"),
        ({"metrics": 5}, "metrics must be list"),
        ({"metrics": [{"value": 1.0}]}, "metrics must be tables with a name"),
        ({"metrics": ["salt_map"]}, "metrics must be tables with a name"),
        ({"recipe": []}, "recipe must be dict"),
        ({"mask_only": "no"}, "mask_only must be bool"),
        ({"labels": "salt"}, "labels must be list"),
        ({"architecture": 5}, "it needs architecture"),
        ({"model_args": {"encoder": 5}}, "encoder"),
        ({"preprocess": {"mean": 5}}, "not a preprocess description"),
    ],
)
@pytest.mark.parametrize("card", [True, False])
def test_a_config_edited_by_hand_is_one_line(folder, capsys, pushed, monkeypatch, change, words, card):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    if not card:
        (folder / "README.md").unlink()
    assert main(["push", str(folder), "--to", "org/name"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert words in message
    assert message.count("\n") == 1
    assert pushed == []


def test_a_config_without_what_describes_weights_is_pushed_and_shown(folder, hub, capsys, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    for key in ("license", "metrics", "recipe", "labels"):
        del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").unlink()
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert main(["push", str(folder), "--to", "org/bare"]) == 0, capsys.readouterr().err
    assert 'license: "other"' in hub.repos["org/bare"].files("main")["README.md"].decode()
    bundled = folder.parent / "saltnet_s.tgs"
    shutil.copytree(folder, bundled)
    monkeypatch.setattr(sources, "BUNDLED", folder.parent)
    assert main(["info", "saltnet_s.tgs"]) == 0
    assert "licence other" in capsys.readouterr().out
    (bundled / "config.json").write_text("[" * 100_000)
    assert main(["info", "saltnet_s.tgs"]) == 1
    assert "is not JSON" in capsys.readouterr().err


def test_info_of_an_ensemble_describes_its_members(tmp_path, capsys):
    members = [saltzoo.create_model("saltnet_s"), saltzoo.create_model("unet_resnet18")]
    saltzoo.save_pretrained(saltzoo.Ensemble(members, mode="vote", weights=[1, 3]), tmp_path / "both")
    assert main(["info", f"local-dir:{tmp_path / 'both'}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == sum(p.numel() for model in members for p in model.parameters())
    assert [member["model"] for member in found["members"]] == ["saltnet_s", "unet_resnet18"]
    assert found["options"] == {"mode": "vote", "weights": [1.0, 3.0]}
    assert main(["info", f"local-dir:{tmp_path / 'both'}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"ensemble: {found['parameters']:,} parameters")
    assert "member1: unet_resnet18, " in printed
