"""The client's cache: damaged files, and a Hub that cannot be reached."""

import hashlib
import re

import pytest
from _tiny import checkpoint_files, same_weights, tiny

import saltzoo
from saltzoo.checkpoints.hub import fetch

WEIGHTS = "model.safetensors"


def load(source="hf-hub:org/net", **options):
    return saltzoo.create_model(source, **options)


def refused(kind, words, source="hf-hub:org/net", **options):
    with pytest.raises(kind, match=words):
        load(source, **options)


@pytest.fixture
def cached(tmp_path):
    """Return the path of a file in the cache, which holds one commit of org/net."""

    def path(name):
        (file,) = (tmp_path / "hf" / "hub" / "models--org--net" / "snapshots").glob(f"*/{name}")
        return file

    return path


def flip_a_bit(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-100], r"could not be fetched.*size.*try again"),
        (flip_a_bit, r"model.safetensors was damaged in transit.*was removed: try again"),
    ],
)
def test_a_file_damaged_in_transit_does_not_stay_in_the_cache(hub, damage, words):
    hub.put("org/net", checkpoint_files())
    hub.damage = {WEIGHTS: damage}
    refused(OSError, words)
    hub.damage = {}
    assert same_weights(load(), tiny())


def test_a_file_damaged_on_the_hub_is_fetched_once(hub):
    hub.put("org/net", {**checkpoint_files(), WEIGHTS: b"\x80\x04 not a tensor"})
    words = "model.safetensors is damaged or cut short .*and so is the file on the Hub: tell the owner of org/net"
    for _ in range(2):  # once from the Hub, once from the cache
        hub.asked()
        refused(ValueError, words)
        assert len([line for line in hub.asked() if line.startswith("GET") and "safetensors" in line]) == 1


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\x80\x04 something else" * 100],
    ids=["cut short", "empty", "something else"],
)
@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_file_damaged_in_the_cache_is_fetched_again(hub, cached, caplog, name, damage):
    sha = hub.put("org/net", checkpoint_files())
    for source in ("hf-hub:org/net", f"hf-hub:org/net@{sha}"):
        load(source)
        good = cached(name).read_bytes()
        cached(name).resolve().write_bytes(damage(good))
        caplog.clear()
        assert same_weights(load(source), tiny())
        (warning,) = caplog.messages
        assert re.search(rf"/{name} is (not JSON|damaged or cut short) .*: fetching it again", warning)
        assert cached(name).read_bytes() == good
    hub.asked()
    load(source)
    assert hub.asked() == []


def test_a_file_damaged_in_the_cache_and_again_in_transit_is_removed(hub, cached):
    hub.put("org/net", checkpoint_files())
    load()
    cached(WEIGHTS).resolve().write_bytes(b"garbage")
    hub.damage = {WEIGHTS: flip_a_bit}
    refused(OSError, "model.safetensors was damaged in transit.*was removed: try again")
    hub.damage = {}
    assert same_weights(load(), tiny())


def test_a_file_damaged_in_the_cache_stays_if_its_repository_is_gone(hub, cached):
    sha = hub.put("org/net", checkpoint_files())
    load()
    file = cached(WEIGHTS)
    file.resolve().write_bytes(b"garbage")
    del hub.repos["org/net"]
    words = rf"{file.resolve()} is damaged or cut short .*cannot be replaced now: no repository org/net.* or delete"
    refused(OSError, words, f"hf-hub:org/net@{sha}")
    assert file.read_bytes() == b"garbage"
    file.resolve().unlink()  # the step that the message names
    refused(OSError, "no repository org/net", f"hf-hub:org/net@{sha}")


@pytest.fixture(params=["closed", "offline"])
def unreachable(hub, request, monkeypatch):
    """Return a function after which the Hub does not answer, or is not asked because of HF_HUB_OFFLINE."""

    def cut():
        if request.param == "closed":
            hub.close()
            return "Connect"
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return "HF_HUB_OFFLINE"

    return cut


def test_a_file_damaged_in_the_cache_stays_while_the_hub_is_unreachable(hub, cached, unreachable):
    sha = hub.put("org/net", checkpoint_files())
    load()
    why = unreachable()
    file = cached(WEIGHTS)
    good = file.read_bytes()
    file.resolve().write_bytes(good[:-1])
    words = rf"{file.resolve()} is damaged or cut short .*cannot be replaced now: .*{why}.* or delete that file"
    for source in ("hf-hub:org/net", f"hf-hub:org/net@{sha}"):
        refused(OSError, words, source)
    assert file.read_bytes() == good[:-1]


def test_the_cache_is_enough_while_the_hub_is_unreachable(own_registry, hub, unreachable, caplog, monkeypatch):
    sha = hub.put("org/net", checkpoint_files())
    hub.put("org/net", checkpoint_files(1), branch="trial/1")
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "mine", "org/net"))
    load()
    load("hf-hub:org/net@trial/1")
    unreachable()
    caplog.set_level("INFO", logger="saltzoo")
    assert same_weights(load(), tiny())
    assert caplog.messages == [f"weights of hf-hub:org/net: from the cache, commit {sha}"]
    assert same_weights(load("hf-hub:org/net@"), tiny())
    assert same_weights(load(f"hf-hub:org/net@{sha}"), tiny())
    assert same_weights(load("hf-hub:org/net@trial/1"), tiny(1))
    assert same_weights(load("unet.mine", pretrained=True), tiny())


def test_offline_says_what_the_cache_lacks(own_registry, hub, tmp_path, monkeypatch):
    hub.put("org/net", checkpoint_files())
    hub.put("org/half", {"config.json": checkpoint_files()["config.json"]})
    load()
    refused(OSError, "no model.safetensors", "hf-hub:org/half")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(OSError, "config.json of org/net@v9 is not in the cache.*HF_HUB_OFFLINE", "hf-hub:org/net@v9")
    refused(OSError, "config.json of org/net@main is not in the cache.*cache_dir", cache_dir=str(tmp_path / "other"))
    refused(OSError, "model.safetensors of org/half@main is not in the cache", "hf-hub:org/half")
    saltzoo.register_weights(saltzoo.WeightsSpec("unet_plain", "never"))
    words = r"config.json of saltzoo/unet_plain.never@main is not in the cache.* Or take them from a clone"
    refused(OSError, words, "unet_plain.never", pretrained=True)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_shared_between_repositories_is_checked_by_the_name_of_its_link(monkeypatch, tmp_path, damaged):
    """The client stores it once, under another hash: snapshots/COMMIT/NAME -> blobs/SHA256 -> the file."""
    snapshot, blobs, shared = (tmp_path / place for place in ("repo/snapshots/abc", "repo/blobs", "blobs/ff"))
    for place in (snapshot, blobs, shared):
        place.mkdir(parents=True)
    content = checkpoint_files()[WEIGHTS]
    sha256 = hashlib.sha256(content).hexdigest()
    (snapshot / "config.json").write_bytes(checkpoint_files()["config.json"])
    (shared / ("f" * 64)).write_bytes(content[:-1] + bytes([content[-1] ^ damaged]))
    (blobs / sha256).symlink_to(f"../../blobs/ff/{'f' * 64}")
    (snapshot / WEIGHTS).symlink_to(f"../../blobs/{sha256}")
    monkeypatch.setattr(fetch, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(fetch, "hf_hub_download", lambda _, name, **__: str(snapshot / name))
    if damaged:
        refused(OSError, "model.safetensors was damaged in transit: its hash is not")
        assert [*blobs.iterdir(), *shared.iterdir()] == []
    else:
        assert same_weights(load(), tiny())
