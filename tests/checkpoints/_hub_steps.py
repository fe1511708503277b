"""What the real client does with a loopback Hub: steps that test_hub_loopback.py runs in fresh processes, in order.

python _hub_steps.py online RESULTS   (steps online_*, then, with the server closed, closed_*)
python _hub_steps.py offline RESULTS  (steps offline_*, in the cache that the other left, with HF_HUB_OFFLINE=1)
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from _hub_run import TOKEN, cached, main, refused, same, saying, tiny
from safetensors.torch import load, save

import saltzoo

TIMM = "timm/test_resnet.r160_in1k"
FILES = ["README.md", "config.json", "model.safetensors"]
METRICS = [{"name": "salt_map", "value": 0.85, "data": "TGS fold 0", "dataset": "org/tgs"}]


def online_push_list_and_pull(hub):
    from huggingface_hub import HfApi

    model = tiny()
    pushed = saltzoo.push_to_hub(model, "org/net", token=TOKEN, metrics=METRICS, license="mit", commit_message="First")
    repo = hub.repos["org/net"]
    assert (pushed.sha, pushed.url) == (repo.branches["main"], f"{hub.url}/org/net/commit/{pushed.sha}")
    assert list(repo.messages.values()) == ["", "First"]  # the server's own, and one of ours
    assert not repo.private
    agents = [agent for asked, agent in zip(hub.requests, hub.agents, strict=True) if "/api/" in asked]
    assert all(f"saltzoo/{saltzoo.__version__}" in agent for agent in agents)
    api = HfApi()
    assert api.list_repo_files("org/net") == [".gitattributes", *FILES]
    assert (api.model_info("org/net").sha, api.model_info("org/net").private) == (pushed.sha, False)
    hub.asked()
    with saying() as lines:
        assert same(saltzoo.create_model("hf-hub:org/net"), model)
    assert lines == [f"INFO weights of hf-hub:org/net: from the Hub, commit {pushed.sha}"]
    asked = hub.asked()
    assert "GET /org/net/resolve/main/config.json" in asked  # by which the Hub counts downloads
    assert not [line for line in asked if "/org/net/" not in line]  # no ImageNet weights are asked for
    assert f"saltzoo/{saltzoo.__version__}" in hub.agents[-1]


def online_card_of_a_pushed_model(hub):
    from huggingface_hub import ModelCard

    card = ModelCard(hub.repos["org/net"].files("main")["README.md"].decode())
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("saltzoo", "image-segmentation", "mit")
    assert data.datasets == ["org/tgs"]
    (result,) = data.eval_results
    assert (result.metric_value, result.dataset_name, result.dataset_type) == (0.85, "TGS fold 0", "org/tgs")
    (usage,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert '"hf-hub:org/net"' in usage
    names = {}
    exec(usage, names)
    assert names["probabilities"].shape == (1, 101, 101)


def online_pull_again(hub):
    sha = hub.repos["org/net"].branches["main"]
    hub.asked()
    with saying() as lines:
        saltzoo.create_model("hf-hub:org/net")
    assert lines == [f"INFO weights of hf-hub:org/net: from the cache, commit {sha}"]
    assert [line for line in hub.asked() if not line.startswith("HEAD")] == []
    with saying() as lines:
        saltzoo.create_model(f"hf-hub:org/net@{sha}")
    assert lines == [f"INFO weights of hf-hub:org/net@{sha}: from the cache, commit {sha}"]
    assert hub.asked() == []


def online_push_again_and_to_a_branch(hub):
    first = hub.repos["org/net"].branches["main"]
    second = saltzoo.push_to_hub(tiny(1), "org/net", token=TOKEN, private=True, replace=True)
    third = saltzoo.push_to_hub(tiny(2), "org/net", token=TOKEN, revision="trial/3", dtype="float16")
    fourth = saltzoo.push_to_hub(tiny(3), "org/net", token=TOKEN, revision="trial/3", replace=True)
    assert not hub.repos["org/net"].private  # it was there, and stays as it was
    assert hub.repos["org/net"].branches == {"main": second.sha, "trial/3": fourth.sha}
    assert '"hf-hub:org/net@trial/3"' in hub.repos["org/net"].files("trial/3")["README.md"].decode()
    for revision, seed in ((first, 0), ("main", 1), (second.sha, 1), ("trial/3", 3), (fourth.sha, 3)):
        assert same(saltzoo.create_model(f"hf-hub:org/net@{revision}"), tiny(seed)), revision
    half = saltzoo.create_model(f"hf-hub:org/net@{third.sha}")
    assert {value.dtype for value in half.parameters()} == {torch.float32}
    for got, want in zip(half.parameters(), tiny(2).parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def online_other_weights_are_replaced_by_permission_alone(hub):
    def push(seed, name="org/kept", **options):
        return saltzoo.push_to_hub(tiny(seed), name, token=TOKEN, **options)

    first = push(0)
    again = push(0, metrics=METRICS)  # the same weights, and a better card
    assert again.sha != first.sha
    branches = dict(hub.repos["org/kept"].branches)
    hub.asked()
    for options, words in (
        ({}, r"org/kept@main holds other weights.*a new name or a new branch.*replace=True, or --replace"),
        ({"dtype": "float16"}, "org/kept@main holds other weights"),
        ({"revision": "main"}, "org/kept@main holds other weights"),
        ({"revision": first.sha}, f"org/kept@{first.sha} holds other weights"),
    ):
        with pytest.raises(FileExistsError, match=words):
            push(1, **options)
    assert hub.repos["org/kept"].branches == branches
    assert not [line for line in hub.asked() if "/commit/" in line or "/branch/" in line]
    trial = push(1, revision="trial")  # one that is new starts with the files of the main one
    with pytest.raises(FileExistsError, match="org/kept@trial holds other weights"):
        push(2, revision="trial")
    last = push(2, replace=True)
    assert hub.repos["org/kept"].branches == {"main": last.sha, "trial": trial.sha}
    for sha, seed in ((first.sha, 0), (trial.sha, 1), (last.sha, 2)):
        assert same(saltzoo.create_model(f"hf-hub:org/kept@{sha}"), tiny(seed)), sha


def online_push_what_others_left_beside(hub, tmp_path):
    from saltzoo.checkpoints.hub import push_folder

    folder = saltzoo.save_pretrained(tiny(), tmp_path / "run")
    (folder / "last.pt").write_bytes(b"not to be published")
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nBy hand.\n")
    os.environ["HF_TOKEN"] = TOKEN  # the client's own means
    pushed = push_folder(folder, "folder")  # its own name: that of the token
    del os.environ["HF_TOKEN"]
    assert pushed.sha == hub.repos["org/folder"].branches["main"]
    files = hub.repos["org/folder"].files("main")
    assert sorted(files) == [".gitattributes", *FILES]
    assert b"By hand." in files["README.md"]
    assert b'"hf-hub:org/folder"' in files["README.md"]
    (folder / "README.md").unlink()
    push_folder(folder, "org/bare", token=TOKEN)
    assert b'"hf-hub:org/bare"' in hub.repos["org/bare"].files("main")["README.md"]
    assert same(saltzoo.create_model("hf-hub:org/folder"), tiny())


def online_revisions_and_repositories_that_are_not_there(hub):
    refused(OSError, "org/net has no revision 'v9': use a branch", "hf-hub:org/net@v9")
    refused(OSError, "org/net has no revision 'aaaa", f"hf-hub:org/net@{'a' * 40}")
    refused(OSError, "no repository org/gone on the Hub, or it is private", "hf-hub:org/gone")
    refused(ValueError, r"not a repository of the Hub: 'a/b/c' \(expected org/name\)", "hf-hub:a/b/c")


def online_files_that_are_not_there(hub):
    files = hub.repos["org/net"].files("main")
    hub.put("org/half", {"config.json": files["config.json"]})
    refused(OSError, r"org/half@main has no model.safetensors.*It holds \['config.json'\]", "hf-hub:org/half")
    hub.put("org/bert", {"model.safetensors": b""})
    refused(OSError, "org/bert@main has no config.json, so it is no checkpoint of saltzoo", "hf-hub:org/bert")
    hub.put("org/old", {"config.json": files["config.json"], "pytorch_model.bin": b"\x80\x04."})
    hub.asked()
    refused(OSError, r"pytorch_model.bin may hold pickled code.*saltzoo.convert.load_foreign", "hf-hub:org/old")
    assert not [line for line in hub.asked() if ".bin" in line]


def online_damaged_on_its_way(hub):
    hub.put("org/damaged", hub.repos["org/net"].files("main"))

    def flipped(data):
        return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]

    hub.damage = {"model.safetensors": lambda data: data[:-100]}
    refused(OSError, r"could not be fetched.*size.*try again", "hf-hub:org/damaged")
    hub.damage = {"model.safetensors": flipped}
    refused(OSError, r"model.safetensors was damaged on its way.*was removed: try again", "hf-hub:org/damaged")
    hub.damage = {}
    assert same(saltzoo.create_model("hf-hub:org/damaged"), tiny(1))  # nothing of it was left in the cache
    hub.put("org/broken", {**hub.repos["org/net"].files("main"), "model.safetensors": b"\x80\x04 not a tensor"})
    words = "model.safetensors is damaged or cut short .*and so it is on the Hub: tell who made org/broken"
    for _ in range(2):  # once from the Hub, once from the cache
        hub.asked()
        refused(ValueError, words, "hf-hub:org/broken")
        assert len([line for line in hub.asked() if line.startswith("GET") and "safetensors" in line]) == 1


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "garbage": lambda data: b"\x80\x04 not what it was" * 100,
}


def online_damaged_in_the_cache(hub, tmp_path):
    sha = hub.put("org/rotten", hub.repos["org/net"].files("main"))
    for source in ("hf-hub:org/rotten", f"hf-hub:org/rotten@{sha}"):
        for name in ("config.json", "model.safetensors"):
            for damage in DAMAGES.values():
                saltzoo.create_model(source, cache_dir=str(tmp_path))
                file = cached("org/rotten", name, tmp_path)
                good = file.read_bytes()
                file.resolve().write_bytes(damage(good))
                with saying() as lines:
                    assert same(saltzoo.create_model(source, cache_dir=str(tmp_path)), tiny(1))
                (warning,) = [line for line in lines if line.startswith("WARNING")]
                assert re.search(rf"/{name} is (not JSON|damaged or cut short) .*: fetching it once more", warning)
                assert file.read_bytes() == good
    hub.asked()
    with saying() as lines:
        saltzoo.create_model(source, cache_dir=str(tmp_path))
    assert (len(lines), hub.asked()) == (1, [])


def online_damaged_in_the_cache_and_gone_from_the_hub(hub, tmp_path):
    hub.put("org/lost", hub.repos["org/net"].files("main"))
    saltzoo.create_model("hf-hub:org/lost", cache_dir=str(tmp_path))
    file = cached("org/lost", "model.safetensors", tmp_path)
    file.resolve().write_bytes(b"garbage")
    hub.damage = {"model.safetensors": lambda data: data[:-1] + bytes([data[-1] ^ 1])}
    words = "model.safetensors was damaged on its way.*was removed: try again"
    refused(OSError, words, "hf-hub:org/lost", cache_dir=str(tmp_path))
    hub.damage = {}
    saltzoo.create_model("hf-hub:org/lost", cache_dir=str(tmp_path))
    file.resolve().write_bytes(b"garbage")
    commit = file.parent.name
    del hub.repos["org/lost"]
    words = (
        rf"{file.resolve()} is damaged or cut short .*can't be replaced now: no repository org/lost.* or delete that"
    )
    refused(OSError, words, f"hf-hub:org/lost@{commit}", cache_dir=str(tmp_path))
    assert file.read_bytes() == b"garbage"
    file.resolve().unlink()  # as the message says
    refused(OSError, "no repository org/lost", f"hf-hub:org/lost@{commit}", cache_dir=str(tmp_path))


def online_a_branch_that_moves_meanwhile(hub):
    hub.put("org/moving", hub.repos["org/net"].files("main"))

    def moving(data):
        hub.put("org/moving", {"model.safetensors": b"of the next commit"})
        return data

    hub.damage = {"config.json": moving}
    assert same(saltzoo.create_model("hf-hub:org/moving"), tiny(1))  # both files are of the commit that it was at
    hub.damage = {}


def online_configs_of_a_newer_version(hub):
    files = hub.repos["org/net"].files("main")
    config = {**json.loads(files["config.json"]), "saltzoo_version": "99.1.0"}

    def put(**change):
        hub.put("org/new", {**files, "config.json": json.dumps({**config, **change}).encode()})

    put(optimiser="unheard of")
    with saying() as lines:
        assert same(saltzoo.create_model("hf-hub:org/new"), tiny(1))
    assert len(lines) == 2
    assert lines[1].startswith("WARNING hf-hub:org/new was saved by saltzoo 99.1.0, which is newer than this")
    for change in (
        {"architecture": "unet9"},
        {"model_args": {**config["model_args"], "wings": 2}},
        {"model_args": {**config["model_args"], "attention": "quantum"}},
        {"preprocess": {**config["preprocess"], "gamma": 2.2}},
        {"preprocess": None},
    ):
        put(**change)
        refused(ValueError, r"hf-hub:org/new was saved by saltzoo 99.1.0.* newer.*--upgrade", "hf-hub:org/new")


def online_weights_that_do_not_fit(hub):
    files = hub.repos["org/net"].files("main")
    tensors = load(files["model.safetensors"])
    for change, words in (
        ({"head.conv.bias": None}, "do not fit: head.conv.bias is missing"),
        ({"head.extra": torch.zeros(1)}, "head.extra is unknown"),
        ({"head.conv.bias": torch.zeros(3)}, r"head.conv.bias is \(3,\), the model's \(1,\)"),
    ):
        changed = {key: value for key, value in {**tensors, **change}.items() if value is not None}
        hub.put("org/odd", {**files, "model.safetensors": save(changed)})
        refused(ValueError, words, "hf-hub:org/odd")


def online_other_channels_and_classes(hub):
    with saying() as lines:
        model = saltzoo.create_model("hf-hub:org/net", in_chans=3, num_classes=2)
    assert lines[1:] == [
        "WARNING hf-hub:org/net, made to fit in_chans=3 (saved with 1), num_classes=2 (saved with 1): first filters "
        "are summed or repeated over channels: encoder.backbone.conv1.0.weight; these start anew and are to be "
        "trained: head.conv.weight, head.conv.bias"
    ]
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 2, 64, 64)


def online_private(hub):
    model = tiny(4)
    saltzoo.push_to_hub(model, "org/mine", token=TOKEN, private=True)
    assert hub.repos["org/mine"].private
    refused(OSError, r"no repository org/mine on the Hub, or it is private.*hf auth login", "hf-hub:org/mine")
    os.environ["HF_TOKEN"] = "wrong"
    refused(OSError, "the Hub does not know the token that org/mine@main was asked for with", "hf-hub:org/mine")
    os.environ["HF_TOKEN"] = TOKEN
    assert same(saltzoo.create_model("hf-hub:org/mine"), model)
    del os.environ["HF_TOKEN"]


def online_pushes_that_are_refused(hub):
    for token in (None, "wrong"):
        with pytest.raises(OSError, match=r"nobody push to org/net without a token.*hf auth login.*HF_TOKEN.*token="):
            saltzoo.push_to_hub(tiny(1), "org/net", token=token)  # what is there already
    with pytest.raises(OSError, match=r"this token may not write to other/net: .* right to write for other"):
        saltzoo.push_to_hub(tiny(), "other/net", token=TOKEN)
    with pytest.raises(ValueError, match="not a repository of the Hub: 'a/b/c'"):
        saltzoo.push_to_hub(tiny(), "a/b/c", token=TOKEN)
    hub.asked()
    with pytest.raises(ValueError, match="a metric needs"):
        saltzoo.push_to_hub(tiny(), "org/net", token=TOKEN, metrics=[{}])
    assert hub.asked() == []  # what can't be saved makes no repository


def online_published_weights(hub):
    repo = hub.repos["org/net"]
    files = repo.files("main")
    sha = hub.put("saltzoo/unet.tgs", files)
    hub.put("saltzoo/unet.new", files)
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "tgs", revision=sha))
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "new"))
    assert saltzoo.list_models("unet.*", pretrained=True) == ["unet.new", "unet.tgs"]
    for name, source, where in (
        ("unet.tgs", f"saltzoo/unet.tgs@{sha}", "Hub"),
        ("unet", f"saltzoo/unet.tgs@{sha}", "cache"),
        ("unet.new", "saltzoo/unet.new@main", "Hub"),
        ("unet.new", "saltzoo/unet.new@main", "cache"),
    ):
        hub.asked()
        with saying() as lines:
            assert same(saltzoo.create_model(name, pretrained=True), tiny(1))
        commit = hub.repos[source.partition("@")[0]].branches["main"]
        assert lines == [f"INFO weights of hf-hub:{source}: from the {where}, commit {commit}"]
        assert bool(hub.asked()) == (name == "unet.new" or where == "Hub")
    saltzoo.register_weights(saltzoo.WeightsSpec("unet_plain", "tgs", "org/net"))
    refused(ValueError, "a 'unet', not the weights of 'unet_plain.tgs': correct its", "unet_plain", pretrained=True)
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "later"))
    words = r"no repository saltzoo/unet.later on the Hub.* Or take them from a clone .* `pip install -e \.`"
    refused(OSError, words, "unet.later", pretrained=True)
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "theirs", "org/gone"))
    with pytest.raises(OSError, match="no repository org/gone") as error:
        saltzoo.create_model("unet.theirs", pretrained=True)
    assert "clone" not in str(error.value)


def online_bundled_weights_come_first(hub, tmp_path):
    from saltzoo import sources

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BUNDLED", tmp_path / "pretrained")
        hub.asked()
        saltzoo.create_model("unet.tgs", pretrained=True)  # no such folder: as before
        folder = saltzoo.save_pretrained(tiny(5), tmp_path / "pretrained" / "unet.tgs", dtype="float16")
        with saying() as lines:
            model = saltzoo.create_model("unet", pretrained=True)
        assert lines == [f"INFO weights of unet.tgs: bundled with saltzoo {saltzoo.__version__}, {folder}"]
        for got, want in zip(model.parameters(), tiny(5).parameters(), strict=True):
            assert torch.equal(got, want.half().float())
        (folder / "model.safetensors").unlink()  # a package that leaves out what is large
        assert same(saltzoo.create_model("unet.tgs", pretrained=True), tiny(1))
        assert hub.asked() == []


def online_imagenet_weights(hub, tmp_path):
    import timm

    torch.manual_seed(7)
    theirs = timm.create_model("test_resnet").state_dict()
    hub.put(TIMM, {"model.safetensors": save(theirs), "config.json": b"{}"})
    hub.asked()
    model = saltzoo.create_model("unet", encoder="test_resnet", in_chans=3, pretrained_encoder=True)
    assert f"GET /{TIMM}/resolve/main/model.safetensors" in hub.asked()
    ours = model.encoder.backbone.state_dict()
    assert set(theirs) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    gray = saltzoo.create_model("unet", encoder="test_resnet", pretrained_encoder=True).encoder.backbone.state_dict()
    torch.testing.assert_close(gray["conv1.0.weight"], theirs["conv1.0.weight"].sum(1, keepdim=True))
    # A checkpoint of such a model brings all weights: of timm's, nothing is asked for again.
    saltzoo.push_to_hub(model, "org/tuned", token=TOKEN)
    del hub.repos[TIMM]
    hub.asked()
    tuned = saltzoo.create_model("hf-hub:org/tuned", cache_dir=str(tmp_path))
    assert same(tuned, model)
    assert tuned.preprocess == model.preprocess
    assert {re.match(r"\w+ /([^/]+/[^/]+)/", line)[1] for line in hub.asked()} == {"org/tuned"}
    assert (tmp_path / "models--org--tuned" / "snapshots").is_dir()  # cache_dir is the client's
    hub.put(TIMM, {"model.safetensors": save(theirs), "config.json": b"{}"})


def online_imagenet_weights_that_are_pickled(hub, tmp_path):
    import timm

    torch.manual_seed(8)
    theirs = timm.create_model("test_resnet").state_dict()
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return Path.touch, (trap,)

    tmp_path.mkdir()
    for name, state in (("good", theirs), ("trap", {**theirs, "fc.bias": Trap()})):
        torch.save(state, tmp_path / name)
        repo = hub.repos.pop(TIMM)
        hub.put(TIMM, {"pytorch_model.bin": (tmp_path / name).read_bytes(), "config.json": b"{}"})
        options = {"in_chans": 3, "pretrained_encoder": True, "cache_dir": str(tmp_path / f"cache of {name}")}
        hub.asked()
        if name == "good":
            ours = saltzoo.create_model("unet", encoder="test_resnet", **options).encoder.backbone.state_dict()
            assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
        else:
            refused(
                OSError,
                "ImageNet weights of encoder 'test_resnet' can't be loaded",
                "unet",
                encoder="test_resnet",
                **options,
            )
        assert f"GET /{TIMM}/resolve/main/pytorch_model.bin" in hub.asked()
        hub.repos[TIMM] = repo
    assert not trap.exists()
    torch.load(tmp_path / "trap", weights_only=False)
    assert trap.exists()  # it would have sprung


def closed_damaged_in_the_cache():
    stays_damaged("Connect")


def stays_damaged(why):
    """Cuts a cached file short while nobody can be asked for another."""
    file = cached("org/damaged", "model.safetensors")
    good = file.read_bytes()
    file.resolve().write_bytes(good[:-1])
    for source in ("hf-hub:org/damaged", f"hf-hub:org/damaged@{file.parent.name}"):
        words = rf"{file.resolve()} is damaged or cut short .*can't be replaced now: .*{why}.* or delete that file"
        refused(OSError, words, source)
    assert file.read_bytes() == good[:-1]
    file.resolve().write_bytes(good)
    assert same(saltzoo.create_model("hf-hub:org/damaged"), tiny(1))


def closed_pull_from_the_cache(hub):
    sha = hub.repos["org/net"].branches["main"]
    assert same(saltzoo.create_model(f"hf-hub:org/net@{sha}"), tiny(1))
    with saying() as lines:
        assert same(saltzoo.create_model("hf-hub:org/net"), tiny(1))
    assert lines == [f"INFO weights of hf-hub:org/net: from the cache, commit {sha}"]
    assert same(saltzoo.create_model("unet.tgs", pretrained=True), tiny(1))


def closed_imagenet_weights_from_the_cache(hub):
    theirs = load(hub.repos[TIMM].files("main")["model.safetensors"])
    model = saltzoo.create_model("unet", encoder="test_resnet", in_chans=3, pretrained_encoder=True)
    assert all(torch.equal(value, theirs[key]) for key, value in model.encoder.backbone.state_dict().items())


def closed_push():
    with pytest.raises(OSError, match=r"org/net could not be pushed to: .*Check the network and HF_ENDPOINT"):
        saltzoo.push_to_hub(tiny(), "org/net", token=TOKEN)


def offline_pull_from_the_cache():
    assert same(saltzoo.create_model("hf-hub:org/net"), tiny(1))
    assert same(saltzoo.create_model("hf-hub:org/net@"), tiny(1))
    assert same(saltzoo.create_model("hf-hub:org/net@trial/3"), tiny(3))


def offline_says_what_is_missing():
    refused(OSError, "config.json of org/net@v9 is not in the cache.*HF_HUB_OFFLINE", "hf-hub:org/net@v9")
    refused(OSError, "config.json of org/tuned@main is not in the cache.*cache_dir", "hf-hub:org/tuned")
    refused(OSError, "model.safetensors of org/half@main is not in the cache", "hf-hub:org/half")
    refused(ValueError, "not a repository of the Hub: ''", "hf-hub:")
    with pytest.raises(OSError, match="org/net can't be pushed to, as HF_HUB_OFFLINE is set"):
        saltzoo.push_to_hub(tiny(), "org/net", token=TOKEN)


def offline_published_weights_say_where_else_they_are():
    saltzoo.register_weights(saltzoo.WeightsSpec("unet_plain", "never"))
    words = r"config.json of saltzoo/unet_plain.never@main is not in the cache.* Or take them from a clone"
    refused(OSError, words, "unet_plain.never", pretrained=True)


def offline_damaged_in_the_cache():
    stays_damaged("HF_HUB_OFFLINE")


def offline_imagenet_weights_from_the_cache():
    import timm

    model = saltzoo.create_model("unet", encoder="test_resnet", in_chans=3, pretrained_encoder=True)
    torch.manual_seed(7)
    theirs = timm.create_model("test_resnet").state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.encoder.backbone.state_dict().items())


def steps_of(kind):
    """The steps of a kind, in order."""
    return [step for name, step in globals().items() if name.startswith(f"{kind}_")]


if __name__ == "__main__":
    main(steps_of, sys.argv[1], Path(sys.argv[2]))
