"""push_to_hub and push_folder: the real client against a Hub on loopback."""

import re

import pytest
import torch
from _tiny import TOKEN, checkpoint_files, same_weights, tiny
from huggingface_hub import HfApi, ModelCard

import saltzoo
from saltzoo.checkpoints.hub import push_folder

FILES = ["README.md", "config.json", "model.safetensors"]
METRICS = [{"name": "salt_map", "value": 0.85, "data": "TGS fold 0", "dataset": "org/tgs"}]


def push(seed=0, name="org/net", **options):
    return saltzoo.push_to_hub(tiny(seed), name, **{"token": TOKEN, **options})


def test_a_push_is_one_commit_of_three_files(hub):
    pushed = push(commit_message="First")
    repo = hub.repos["org/net"]
    assert (pushed.sha, pushed.url) == (repo.branches["main"], f"{hub.url}/org/net/commit/{pushed.sha}")
    assert list(repo.messages.values()) == ["", "First"]  # the server's commit, and one of ours
    assert not repo.private
    assert HfApi().list_repo_files("org/net") == [".gitattributes", *FILES]
    agents = [agent for asked, agent in zip(hub.requests, hub.agents, strict=True) if "create" in asked]
    assert all(f"saltzoo/{saltzoo.__version__}" in agent for agent in agents)
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny())


def test_the_card_of_a_pushed_model(hub):
    push(metrics=METRICS, license="mit")
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


def test_push_to_main_and_to_a_branch(hub):
    first = push(0)
    second = push(1, private=True, replace=True)
    third = push(2, revision="trial/3", dtype="float16")
    fourth = push(3, revision="trial/3", replace=True)
    assert not hub.repos["org/net"].private  # `private` applies to a new repository only
    assert hub.repos["org/net"].branches == {"main": second.sha, "trial/3": fourth.sha}
    assert '"hf-hub:org/net@trial/3"' in hub.repos["org/net"].files("trial/3")["README.md"].decode()
    for revision, seed in ((first.sha, 0), ("main", 1), (second.sha, 1), ("trial/3", 3), (fourth.sha, 3)):
        assert same_weights(saltzoo.create_model(f"hf-hub:org/net@{revision}"), tiny(seed)), revision
    half = saltzoo.create_model(f"hf-hub:org/net@{third.sha}")
    assert {value.dtype for value in half.parameters()} == {torch.float32}
    for got, want in zip(half.parameters(), tiny(2).parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


def test_the_same_weights_may_be_pushed_again(hub):
    first = push(0)
    assert push(0, metrics=METRICS).sha != first.sha  # with a better card


@pytest.mark.parametrize("options", [{}, {"dtype": "float16"}, {"revision": "main"}, {"revision": "SHA"}])
def test_other_weights_are_replaced_only_on_request(hub, options):
    sha = hub.put("org/net", checkpoint_files(0))
    if options.get("revision") == "SHA":
        options = {"revision": sha}
    where = f"org/net@{options.get('revision', 'main')}"
    words = rf"{where} holds other weights.*a new name or a new branch.*replace=True, or --replace"
    with pytest.raises(FileExistsError, match=words):
        push(1, **options)
    assert hub.repos["org/net"].branches == {"main": sha}
    assert not [line for line in hub.asked() if "/commit/" in line or "/branch/" in line]
    last = push(1, replace=True)
    assert hub.repos["org/net"].branches == {"main": last.sha}
    assert same_weights(saltzoo.create_model(f"hf-hub:org/net@{sha}"), tiny(0))
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny(1))


def test_a_new_branch_takes_other_weights_and_then_keeps_them(hub):
    sha = hub.put("org/net", checkpoint_files(0))
    trial = push(1, revision="trial")  # although it starts with the files of the main branch
    with pytest.raises(FileExistsError, match="org/net@trial holds other weights"):
        push(2, revision="trial")
    assert hub.repos["org/net"].branches == {"main": sha, "trial": trial.sha}


def test_push_folder_takes_three_files_and_a_card_written_by_hand(hub, tmp_path, monkeypatch):
    folder = saltzoo.save_pretrained(tiny(), tmp_path / "run")
    (folder / "last.pt").write_bytes(b"not to be published")
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nBy hand.\n")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pushed = push_folder(folder, "folder")  # without an owner: the owner of the token
    assert pushed.sha == hub.repos["org/folder"].branches["main"]
    files = hub.repos["org/folder"].files("main")
    assert sorted(files) == [".gitattributes", *FILES]
    assert b"By hand." in files["README.md"]
    assert b'"hf-hub:org/folder"' in files["README.md"]
    assert same_weights(saltzoo.create_model("hf-hub:org/folder"), tiny())


def test_push_folder_writes_a_missing_card(hub, tmp_path):
    folder = saltzoo.save_pretrained(tiny(), tmp_path / "run")
    (folder / "README.md").unlink()
    push_folder(folder, "org/bare", token=TOKEN)
    assert b'"hf-hub:org/bare"' in hub.repos["org/bare"].files("main")["README.md"]


def test_a_private_repository_needs_a_token(hub, monkeypatch):
    push(private=True)
    assert hub.repos["org/net"].private
    with pytest.raises(OSError, match=r"no repository org/net on the Hub, or it is private.*hf auth login"):
        saltzoo.create_model("hf-hub:org/net")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(OSError, match=r"the Hub rejected the token .* org/net@main.*hf auth login"):
        saltzoo.create_model("hf-hub:org/net")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert same_weights(saltzoo.create_model("hf-hub:org/net"), tiny())


@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_push_without_a_valid_token_is_refused(hub, token, exists):
    if exists:
        hub.put("org/net", checkpoint_files())
    with pytest.raises(OSError, match=r"org/net needs a token.*hf auth login.*HF_TOKEN.*token="):
        push(token=token)


def test_a_push_to_another_owner_is_refused(hub):
    with pytest.raises(OSError, match=r"this token may not write to other/net: .* write access to other"):
        push(name="other/net")
    assert not hub.repos


def test_a_refused_upload_is_explained_by_its_status(hub):
    hub.uploads_status = 403  # the client wraps this error in another, which names only the file
    with pytest.raises(OSError, match="this token may not write to org/net"):
        push()


def test_a_push_to_a_malformed_name_is_refused(hub):
    with pytest.raises(ValueError, match=r"not a repository of the Hub: 'a/b/c' \(expected org/name\)"):
        push(name="a/b/c")


def test_a_model_that_cannot_be_saved_creates_no_repository(hub):
    with pytest.raises(ValueError, match="a metric needs"):
        push(metrics=[{}])
    assert hub.asked() == []


def test_a_push_without_a_network_is_refused(hub, monkeypatch):
    hub.close()
    with pytest.raises(OSError, match=r"org/net could not be pushed to: .*Check the network and HF_ENDPOINT"):
        push()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="org/net cannot be pushed to, because HF_HUB_OFFLINE is set: unset it"):
        push()
