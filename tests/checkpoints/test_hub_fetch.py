"""create_model("hf-hub:..."): the real client against a Hub on loopback."""

import json

import pytest
import torch
from _tiny import checkpoint_files, same_weights, tiny
from safetensors.torch import load, save

import saltzoo
from saltzoo.zoo import sources


@pytest.fixture
def log(caplog):
    """Return the lines that saltzoo logged since the last call."""
    caplog.set_level("INFO", logger="saltzoo")

    def lines():
        found = [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name == "saltzoo"]
        caplog.clear()
        return found

    return lines


@pytest.fixture
def register(own_registry):
    """Return register_weights; what it registers is removed after the test."""

    def register(*args, **options):
        return saltzoo.register_weights(saltzoo.WeightsSpec(*args, **options))

    return register


def refused(kind, words, source, **options):
    with pytest.raises(kind, match=words):
        saltzoo.create_model(source, **options)


def test_the_first_pull_asks_the_hub(hub, log):
    sha = hub.put("org/net", checkpoint_files())
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny())
    assert log() == [f"INFO weights of hf-hub:org/net: from the Hub, commit {sha}"]
    asked = hub.asked()
    assert "GET /org/net/resolve/main/config.json" in asked  # the request by which the Hub counts downloads
    assert not [line for line in asked if "/org/net/" not in line]  # no ImageNet weights are requested
    assert f"saltzoo/{saltzoo.__version__}" in hub.agents[-1]


def test_the_second_pull_reads_the_cache(hub, log):
    sha = hub.put("org/net", checkpoint_files())
    saltzoo.create_model("hf-hub:org/net")
    hub.asked(), log()
    saltzoo.create_model("hf-hub:org/net")
    assert log() == [f"INFO weights of hf-hub:org/net: from the cache, commit {sha}"]
    assert [line for line in hub.asked() if not line.startswith("HEAD")] == []
    saltzoo.create_model(f"hf-hub:org/net@{sha}")
    assert log() == [f"INFO weights of hf-hub:org/net@{sha}: from the cache, commit {sha}"]
    assert hub.asked() == []  # a commit cannot change


def test_cache_dir_is_where_files_are_kept(hub, tmp_path):
    hub.put("org/net", checkpoint_files())
    saltzoo.create_model("hf-hub:org/net", cache_dir=str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "models--org--net" / "snapshots").is_dir()
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("hf-hub:org/net@v9", OSError, "org/net has no revision 'v9': use a branch"),
        (f"hf-hub:org/net@{'a' * 40}", OSError, "org/net has no revision 'aaaa"),
        ("hf-hub:org/gone", OSError, "no repository org/gone on the Hub, or it is private"),
        ("hf-hub:a/b/c", ValueError, r"not a repository of the Hub: 'a/b/c' \(expected org/name\)"),
        ("hf-hub:", ValueError, "not a repository of the Hub: ''"),
    ],
)
def test_a_repository_or_revision_that_does_not_exist(hub, source, kind, words):
    hub.put("org/net", checkpoint_files())
    refused(kind, words, source)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["config.json"], r"org/net@main has no model.safetensors.*It holds \['config.json'\]"),
        (["model.safetensors"], "org/net@main has no config.json, so it is not a saltzoo checkpoint"),
        (
            ["config.json", "pytorch_model.bin"],
            r"pytorch_model.bin may hold pickled code.*saltzoo.convert.load_foreign",
        ),
    ],
)
def test_a_repository_without_a_checkpoint(hub, names, words):
    hub.put("org/net", {name: checkpoint_files().get(name, b"\x80\x04.") for name in names})
    refused(OSError, words, "hf-hub:org/net")
    assert not [line for line in hub.asked() if ".bin" in line]  # a pickle is not even fetched


def test_both_files_come_from_one_commit_although_the_branch_moves(hub):
    hub.put("org/net", checkpoint_files())

    def moving(data):
        hub.put("org/net", {"model.safetensors": b"of the next commit"})
        return data

    hub.damage = {"config.json": moving}
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny())


def put_newer(hub, **change):
    config = json.loads(checkpoint_files()["config.json"])
    config = {**config, "saltzoo_version": "99.1.0", **change}
    hub.put("org/net", {**checkpoint_files(), "config.json": json.dumps(config).encode()})


def test_a_checkpoint_of_a_newer_version_loads_with_a_warning(hub, log):
    put_newer(hub, optimiser="unknown to this version")
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny())
    _, warning = log()
    assert warning.startswith("WARNING hf-hub:org/net was saved by saltzoo 99.1.0, which is newer than this")


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "unet9"},
        {"model_args": {"encoder": "test_resnet", "wings": 2}},
        {"model_args": {"encoder": "test_resnet", "attention": "quantum"}},
        {"preprocess": {"mean": [0.4], "std": [0.2], "gamma": 2.2}},
        {"preprocess": None},
    ],
)
def test_a_checkpoint_that_only_a_newer_version_reads(hub, change):
    put_newer(hub, **change)
    refused(ValueError, r"hf-hub:org/net was saved by saltzoo 99.1.0.* newer.*--upgrade", "hf-hub:org/net")


def test_weights_that_do_not_fit(hub):
    tensors = load(checkpoint_files()["model.safetensors"])
    hub.put("org/net", {**checkpoint_files(), "model.safetensors": save({**tensors, "head.extra": torch.zeros(1)})})
    refused(ValueError, "the weights of hf-hub:org/net and 'unet' do not fit: head.extra is unknown", "hf-hub:org/net")


def test_other_channels_and_classes(hub, log):
    hub.put("org/net", checkpoint_files())
    model = saltzoo.create_model("hf-hub:org/net", in_chans=3, num_classes=2)
    assert log()[1:] == [
        "WARNING hf-hub:org/net, adapted to in_chans=3 (saved with 1), num_classes=2 (saved with 1): first filters "
        "are summed or repeated over channels: encoder.backbone.conv1.0.weight; these layers start untrained: "
        "head.conv.weight, head.conv.bias"
    ]
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 2, 64, 64)


def test_published_weights_come_from_their_repository(hub, register, log):
    sha = hub.put("saltzoo/unet.tgs", checkpoint_files(1))
    register("unet", "tgs", revision=sha)
    register("unet", "new")
    hub.put("saltzoo/unet.new", checkpoint_files(1))
    assert saltzoo.list_models("unet.*", pretrained=True) == ["unet.new", "unet.tgs"]
    for name, source, where in (
        ("unet.tgs", f"saltzoo/unet.tgs@{sha}", "Hub"),
        ("unet", f"saltzoo/unet.tgs@{sha}", "cache"),
        ("unet.new", "saltzoo/unet.new@main", "Hub"),
        ("unet.new", "saltzoo/unet.new@main", "cache"),
    ):
        hub.asked()
        assert same_weights(saltzoo.create_model(name, pretrained=True), tiny(1))
        commit = hub.repos[source.partition("@")[0]].branches["main"]
        assert log() == [f"INFO weights of hf-hub:{source}: from the {where}, commit {commit}"]
        assert bool(hub.asked()) == (name == "unet.new" or where == "Hub")


def test_published_weights_of_another_model_are_refused(hub, register):
    hub.put("org/net", checkpoint_files())
    register("unet_plain", "tgs", "org/net")
    refused(ValueError, "a 'unet', not the weights of 'unet_plain.tgs': correct its", "unet_plain", pretrained=True)


def test_published_weights_that_are_missing_are_in_a_clone_if_they_are_ours(hub, register):
    register("unet", "later")
    words = r"no repository saltzoo/unet.later on the Hub.* Or take them from a clone .* `pip install -e \.`"
    refused(OSError, words, "unet.later", pretrained=True)
    register("unet", "theirs", "org/gone")
    with pytest.raises(OSError, match="no repository org/gone") as error:
        saltzoo.create_model("unet.theirs", pretrained=True)
    assert "clone" not in str(error.value)


def test_bundled_weights_come_before_the_hub(hub, register, log, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "pretrained")
    register("unet", "tgs")
    hub.put("saltzoo/unet.tgs", checkpoint_files(1))
    folder = saltzoo.save_pretrained(tiny(5), tmp_path / "pretrained" / "unet.tgs", dtype="float16")
    model = saltzoo.create_model("unet", pretrained=True)
    assert log() == [f"INFO weights of unet.tgs: bundled with saltzoo {saltzoo.__version__}, {folder}"]
    for got, want in zip(model.parameters(), tiny(5).parameters(), strict=True):
        assert torch.equal(got, want.half().float())
    assert hub.asked() == []
    (folder / "model.safetensors").unlink()  # a package may leave out large weights
    assert same_weights(saltzoo.create_model("unet.tgs", pretrained=True), tiny(1))
