"""Ensembles against sums written out, and their folders."""

import json
import shutil
from math import exp
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from torch import nn

import saltzoo
from saltzoo import Ensemble, Preprocess, SegOutput, create_model, predict, save_pretrained
from saltzoo.checkpoints.hub import push_folder
from saltzoo.inference import Gated, disagreement, predict_tiled
from saltzoo.zoo import sources
from saltzoo.zoo.combine import COMBINE

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 45, 50), dtype=np.uint8)
METRIC = {"name": "salt_map", "value": 0.8, "data": "tiles", "fold": "0 of 2"}


def tiny(seed=0, *, preprocess=None, **options):
    torch.manual_seed(seed)
    model = create_model("unet", encoder="test_resnet", **{"decoder_channels": (8,) * 5, **options})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    nn.init.normal_(list(model.head.parameters())[-1], std=0.5)
    if preprocess:
        model.preprocess = preprocess
    return model


def members():
    """Models of other normalisation, padding, channels and heads, with logits of both signs."""
    return [
        tiny(0),
        tiny(1, preprocess=Preprocess(mean=(0.2,), std=(0.3,), multiple=32)),
        tiny(2, in_chans=3, deep_supervision=True),
    ]


def sigmoid(x):
    return 1 / (1 + exp(-x))


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_the_mean_is_that_of_what_members_predict(weights):
    models = members()
    ensemble = Ensemble(models, weights=weights)
    assert (ensemble.in_chans, ensemble.num_classes, ensemble.mode, ensemble.training) == (1, 1, "mean", False)
    want = np.average([predict(model, IMAGES) for model in models], axis=0, weights=weights)
    assert np.allclose(predict(ensemble, IMAGES), want, rtol=0, atol=1e-6)
    mirrored = np.average([predict(model, IMAGES, tta="hflip") for model in models], axis=0, weights=weights)
    assert np.allclose(predict(ensemble, IMAGES, tta="hflip"), mirrored, rtol=0, atol=1e-6)
    assert np.ptp([predict(model, IMAGES) for model in models], axis=0).max() > 0.01  # members differ


def test_images_of_several_channels_are_passed_on():
    models = [tiny(0, in_chans=3), tiny(1, in_chans=3, preprocess=Preprocess((0.1, 0.5, 0.9), (0.2, 0.3, 0.4), 32))]
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 45, 50), dtype=np.uint8)
    ensemble = Ensemble(models)
    assert ensemble.in_chans == 3
    assert np.allclose(predict(ensemble, images), np.mean([predict(m, images) for m in models], 0), rtol=0, atol=1e-6)


def test_scalars_are_passed_on():
    models = [
        tiny(seed, in_chans=2, preprocess=Preprocess((0.5, mean), (0.2, 200.0), scalar=True))
        for seed, mean in ((0, 500.0), (1, 300.0))
    ]
    ensemble = Ensemble(models)
    depths = [100.0, 900.0, 400.0]
    want = np.mean([predict(model, IMAGES, scalars=depths) for model in models], 0)
    assert np.allclose(predict(ensemble, IMAGES, scalars=depths), want, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="reads a number for each image"):
        predict(ensemble, IMAGES)


LOGITS = [[-90.0, -3.0, 0.1, 4.0, 90.0, 2.0], [-90.0, 1.0, -0.5, 5.0, 95.0, -7.0], [-80.0, 2.0, -0.2, 3.0, 99.0, 7.0]]
WEIGHTS = [1.0, 1.5, 0.25]


def combined(mode, logits, weights):
    return COMBINE[mode]([torch.tensor(one, dtype=torch.float64).view(1, 1, 1, -1) for one in logits], weights).view(-1)


def test_logits_of_one_class():
    shares = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    columns = list(zip(*LOGITS, strict=True))
    got = combined("mean", LOGITS, WEIGHTS)
    for value, column in zip(got.tolist(), columns, strict=True):
        p = sum(share * sigmoid(x) for share, x in zip(shares, column, strict=True))
        q = sum(share * sigmoid(-x) for share, x in zip(shares, column, strict=True))
        assert sigmoid(value) == pytest.approx(p, rel=1e-12)
        assert sigmoid(-value) == pytest.approx(q, rel=1e-12)  # where p rounds to 1, too
    want = [sum(share * x for share, x in zip(shares, column, strict=True)) for column in columns]
    assert combined("logit_mean", LOGITS, WEIGHTS).tolist() == pytest.approx(want)
    votes = [sum(share * (x > 0) for share, x in zip(shares, column, strict=True)) for column in columns]
    assert combined("vote", LOGITS, WEIGHTS).sigmoid().tolist() == pytest.approx(votes, abs=2e-6)


def test_logits_far_out_stay_finite_with_their_gradient():
    logits = [torch.tensor([[[[300.0, -300.0, 300.0]]]], requires_grad=True) for _ in range(2)]
    result = COMBINE["mean"]([logits[0], logits[1] * torch.tensor([1.0, 1.0, -1.0])], [1, 1])
    assert result.flatten().tolist() == [300.0, -300.0, 0.0]
    result.sum().backward()
    assert torch.isfinite(logits[0].grad).all()


@pytest.mark.parametrize("mode", COMBINE)
def test_one_member_alone_or_twice_gives_itself(mode):
    model = tiny(3)
    own = predict(model, IMAGES)
    for count in (1, 2):
        found = predict(Ensemble([model] * count, mode=mode), IMAGES)
        if mode == "vote":
            assert np.array_equal(found > 0.5, own > 0.5)
        else:
            assert np.allclose(found, own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [2, 4, 6, 10])
def test_a_tie_of_votes_is_exactly_one_half(count):
    half = count // 2
    votes = combined("vote", [[1.0]] * half + [[-1.0]] * half, [1.0] * count)
    assert votes.item() == 0


def test_several_classes():
    models = [tiny(seed, num_classes=3) for seed in range(3)]
    each = np.stack([predict(model, IMAGES) for model in models])  # M N K H W
    assert Ensemble(models).num_classes == 3
    assert np.allclose(predict(Ensemble(models), IMAGES), each.mean(0), rtol=0, atol=1e-6)
    logs = np.log(each).mean(0)
    want = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
    assert np.allclose(predict(Ensemble(models, mode="logit_mean"), IMAGES), want, rtol=0, atol=1e-6)
    votes = np.eye(3)[each.argmax(2)].mean(0).transpose(0, 3, 1, 2)
    assert np.allclose(predict(Ensemble(models, mode="vote"), IMAGES), votes, rtol=0, atol=1e-5)


def test_disagreement_is_the_deviation_over_members():
    models, weights = members(), [1.0, 2.0, 5.0]
    each = np.stack([predict(model, IMAGES) for model in models]).astype(np.float64)
    mean = np.average(each, axis=0, weights=weights)
    want = np.sqrt(np.average((each - mean) ** 2, axis=0, weights=weights))
    ensemble = Ensemble(models, weights=weights)
    found = disagreement(ensemble, IMAGES, batch_size=2)
    assert found.dtype == np.float32
    assert np.allclose(found, want, rtol=0, atol=1e-6)
    assert np.allclose(disagreement(ensemble, IMAGES[0]), want[0], rtol=0, atol=1e-6)
    of_tensors = disagreement(ensemble, torch.from_numpy(IMAGES))
    assert isinstance(of_tensors, torch.Tensor)
    assert np.allclose(of_tensors.numpy(), want, rtol=0, atol=1e-6)
    several = disagreement(ensemble, [IMAGES[0], torch.from_numpy(IMAGES[1])])
    assert [type(one) for one in several] == [np.ndarray, torch.Tensor]
    assert np.allclose(several[1].numpy(), want[1], rtol=0, atol=1e-6)
    assert disagreement(ensemble, []) == []
    assert disagreement(Ensemble(models[:1]), IMAGES).max() == 0
    with pytest.raises(TypeError, match=r"must be a saltzoo.Ensemble, got a Segmenter"):
        disagreement(models[0], IMAGES)


def test_pictures_are_predicted_tile_by_tile():
    models = members()[:2]
    picture = np.random.default_rng(3).integers(0, 256, (90, 130), dtype=np.uint8)
    ensemble = Ensemble(models, mode="logit_mean")
    found = predict_tiled(ensemble, picture, tile=64)
    logits = [np.log(p / (1 - p)) for p in (predict_tiled(model, picture, tile=64).astype(float) for model in models)]
    assert np.allclose(found, 1 / (1 + np.exp(-np.mean(logits, 0))), rtol=0, atol=1e-5)  # blending is linear


def test_gated_models_empty_images_without_salt():
    model = tiny(0, classifier="beside").eval()
    batch = model.preprocess(torch.from_numpy(IMAGES)[:, None] / 255)
    with torch.no_grad():
        output = model(batch)
        assert isinstance(output, SegOutput)
        at = output.image.sigmoid().flatten().sort().values[1].item()  # two of three images are at or below it
        gated = Gated(model, threshold=at)(batch)
    closed = output.image.sigmoid().flatten() <= at
    assert closed.sum() == 2
    assert torch.equal(gated[~closed], output.logits[~closed])
    assert (gated[closed].sigmoid() < 1e-9).all()
    assert np.array_equal(predict(Gated(model, threshold=0.0), IMAGES), predict(model, IMAGES))
    assert predict(Ensemble([Gated(model, threshold=at)]), IMAGES)[closed.numpy()].max() < 1e-9
    with pytest.raises(ValueError, match=r'classification head .*classifier="fused"'):
        Gated(tiny(0))(batch)
    with pytest.raises(ValueError, match="must have one class, got 2"):
        Gated(tiny(0, classifier="beside", num_classes=2))(batch)
    with pytest.raises(ValueError, match="threshold must be at least 0 and below 1"):
        Gated(model, threshold=1.0)
    with pytest.raises(TypeError, match="must be a saltzoo model"):
        Gated(nn.Conv2d(1, 1, 1))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Ensemble([]), ValueError, "one member or more, got none"),
        (lambda: Ensemble([tiny()], mode="median"), ValueError, "unknown mode 'median': choose one of 'mean', 'logit_"),
        (lambda: Ensemble([tiny()], weights=[1, 2]), ValueError, r"for each of 1 member\(s\), got \[1, 2\]"),
        (lambda: Ensemble([tiny()], weights=[0]), ValueError, "finite number above 0"),
        (lambda: Ensemble([tiny()], weights=[float("nan")]), ValueError, "finite number above 0"),
        (lambda: Ensemble([tiny(), nn.ReLU()]), TypeError, r"members\[1\] must be a saltzoo model, got a ReLU without"),
        (lambda: Ensemble([nn.DataParallel(tiny())]), TypeError, "pass the Segmenter inside, `.module`"),
        (lambda: Ensemble([tiny(), tiny(num_classes=2)]), ValueError, r"the same classes, got \[1, 2\] logits per"),
        (
            lambda: Ensemble([tiny(in_chans=2), tiny(in_chans=2, preprocess=Preprocess.gray(2, scalar=True))]),
            ValueError,
            r"all or none of the members must read a number for each image, got \[False, True\]",
        ),
        (lambda: Ensemble([tiny()])(torch.rand(1, 3, 45, 50)), ValueError, r"a batch N 1 H W, got \(1, 3, 45, 50\)"),
    ],
)
def test_what_is_no_ensemble_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_classes_that_no_config_tells_are_compared_when_the_model_runs():
    one, two = tiny(), tiny(num_classes=2)
    one.config = two.config = None
    ensemble = Ensemble([one, two])
    assert ensemble.num_classes is None
    with pytest.raises(ValueError, match=r"got \[1, 2\] logits per pixel"):
        predict(ensemble, IMAGES)


@pytest.mark.slow
def test_it_is_exported():
    ensemble = Ensemble([tiny(0), tiny(1, preprocess=Preprocess((0.2,), (0.3,), multiple=32))])
    batch = torch.rand(2, 1, 45, 50)
    program = torch.export.export(ensemble, (batch,)).module()
    with torch.no_grad():
        assert torch.allclose(program(batch), ensemble(batch), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_it_is_exported_to_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    ensemble = Ensemble([tiny(0), tiny(1, preprocess=Preprocess((0.2,), (0.3,), multiple=32))])
    batch = torch.rand(2, 1, 45, 50)
    torch.onnx.export(ensemble, (batch,), tmp_path / "x.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    with torch.no_grad():
        assert np.allclose(got, ensemble(batch).numpy(), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An ensemble of two runs, and the folder that holds the runs and the ensemble."""
    tmp_path = tmp_path_factory.mktemp("written")
    for fold in range(2):
        metrics = [{**METRIC, "value": 0.8 + fold / 100, "fold": f"{fold} of 2"}]
        place = tmp_path / "runs" / f"fold{fold}" / "model"
        save_pretrained(tiny(fold), place, metrics=metrics, license="cc-by-nc-4.0", recipe={"seed": fold})
    ensemble = Ensemble.from_runs(tmp_path / "runs", weights=[1, 3])
    save_pretrained(ensemble, tmp_path / "ensemble", metrics=[METRIC], threshold=0.4, min_size=20)
    return ensemble, tmp_path


@pytest.fixture
def saved(written, tmp_path):
    """An ensemble of two runs, and a copy of the folder it was saved in, beside the runs."""
    shutil.copytree(written[1], tmp_path, dirs_exist_ok=True)
    return written[0], tmp_path / "ensemble"


def test_it_is_saved_and_loaded_as_one_folder(saved):
    ensemble, folder = saved
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    files = ("README.md", "config.json", "model.safetensors")
    assert names == {"README.md", "config.json", *(f"member{k}/{name}" for k in range(2) for name in files)}
    config = json.loads((folder / "config.json").read_text())
    assert config["ensemble"] == {"mode": "mean", "members": ["member0", "member1"], "weights": [1.0, 3.0]}
    assert (config["license"], config["metrics"], config["labels"]) == ("cc-by-nc-4.0", [METRIC], ["salt"])
    again = create_model(f"local-dir:{folder}")
    assert isinstance(again, Ensemble)
    assert (again.mode, again.weights, again.training) == ("mean", (1.0, 3.0), False)
    assert (again.threshold, again.min_size) == (0.4, 20)
    assert np.array_equal(predict(again, IMAGES), predict(ensemble, IMAGES))
    alone = create_model(f"local-dir:{folder}/member1")  # each member is a checkpoint
    assert np.array_equal(predict(alone, IMAGES), predict(ensemble.members[1], IMAGES))
    assert [record["metrics"][0]["value"] for record in again.records] == [0.8, 0.81]


def test_the_card_names_members_with_scores_and_licences(saved):
    card = (saved[1] / "README.md").read_text()
    assert 'license: "cc-by-nc-4.0"' in card
    assert "# ensemble of 2 unet\n" in card
    assert "| member0 | unet | 1 | cc-by-nc-4.0 | salt_map 0.8000 (data tiles, fold 0 of 2) |" in card
    assert "| member1 | unet | 3 | cc-by-nc-4.0 | salt_map 0.8100 (data tiles, fold 1 of 2) |" in card
    assert "| salt_map | 0.8000 | data tiles, fold 0 of 2 |" in card
    code = card.split("```python\n")[1].split("```")[0].replace("local-dir:PATH", f"local-dir:{saved[1]}")
    exec(code, names := {})
    assert names["probabilities"].shape == (1, 101, 101)


def test_it_is_saved_again_with_all_that_is_known(saved):
    ensemble, folder = saved
    again = create_model(f"local-dir:{folder}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    save_pretrained(again, folder, metrics=[METRIC])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    smaller = save_pretrained(ensemble, folder.with_name("half"), license="mit", dtype="float16")
    assert json.loads((smaller / "config.json").read_text())["license"] == "mit"
    sizes = [(place / "member0" / "model.safetensors").stat().st_size for place in (smaller, folder)]
    assert sizes[0] < 0.7 * sizes[1]
    wider = create_model(f"local-dir:{folder}", in_chans=3)  # other models than those that were scored
    assert wider.records == ()
    config = save_pretrained(wider, folder.with_name("wide")) / "member0" / "config.json"
    assert json.loads(config.read_text())["metrics"] == []


def test_a_member_that_is_missing_is_named(saved):
    _, folder = saved
    (folder / "member1" / "model.safetensors").unlink()
    words = (
        r"member 'member1' of the ensemble local-dir:.* is missing: no model.safetensors in .*has 2 members, member0"
    )
    with pytest.raises(FileNotFoundError, match=words):
        create_model(f"local-dir:{folder}")
    shutil.rmtree(folder / "member1")
    with pytest.raises(FileNotFoundError, match=r"member 'member1' .*is missing: no config.json"):
        create_model(f"local-dir:{folder}")


@pytest.mark.parametrize(
    "table",
    [
        {"mode": "mean", "members": ["member0", "../member1"], "weights": [1, 1]},
        {"mode": "mean", "members": ["member0", "/etc"], "weights": [1, 1]},
        {"mode": "mean", "members": ["member0", "member1"], "weights": [1]},
        {"mode": "mean", "members": "member0", "weights": [1]},
        {"members": ["member0"], "weights": [1]},
        {},
    ],
)
def test_a_wrong_config_is_refused(saved, table):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "ensemble": table}))
    with pytest.raises(ValueError, match=r"must give mode, members \(names of folders in it\) and weights"):
        create_model(f"local-dir:{folder}")


def test_channels_and_heads_are_passed_to_the_members_and_other_options_refused(tmp_path):
    ensemble = Ensemble([tiny(seed, deep_supervision=True) for seed in range(2)])
    source = f"local-dir:{save_pretrained(ensemble, tmp_path / 'x')}"
    wide = create_model(source, in_chans=3)
    assert wide.in_chans == 3
    gray = np.repeat(IMAGES[:, None], 3, axis=1)
    assert np.allclose(predict(wide, gray), predict(ensemble, IMAGES), rtol=0, atol=1e-5)
    assert create_model(source, num_classes=4).num_classes == 4
    plain = create_model(source, mask_only=True)
    assert [member.returns_mask for member in plain.members] == [True, True]
    assert np.array_equal(predict(plain, IMAGES), predict(ensemble, IMAGES))
    with pytest.raises(TypeError, match="is an ensemble, which has no option 'attention'"):
        create_model(source, attention="scse")
    assert isinstance(create_model(source, attention=None), Ensemble)


def test_it_is_loaded_by_the_name_of_its_weights(saved, own_registry, monkeypatch):
    ensemble, folder = saved
    monkeypatch.setattr(sources, "BUNDLED", folder.parent)
    saltzoo.register_weights(saltzoo.WeightsSpec("unet", "tgs_folds"))
    folder.rename(folder.with_name("unet.tgs_folds"))
    model = create_model("unet.tgs_folds", pretrained=True)
    assert np.array_equal(predict(model, IMAGES), predict(ensemble, IMAGES))
    with pytest.raises(ValueError, match=r"is an ensemble, and one model is needed here: .*unet.tgs_folds/member0"):
        sources.load_weights("unet.tgs_folds")
    saltzoo.register_weights(saltzoo.WeightsSpec("saltnet_s", "tgs_folds"))
    folder.with_name("unet.tgs_folds").rename(folder.with_name("saltnet_s.tgs_folds"))
    with pytest.raises(ValueError, match=r"member0 holds a 'unet', not the weights of 'saltnet_s.tgs_folds'"):
        create_model("saltnet_s.tgs_folds", pretrained=True)


def test_it_is_pushed_to_the_hub_and_pulled(saved, hub):
    ensemble, folder = saved
    push_folder(folder, "org/folds", token="secret")
    model = create_model("hf-hub:org/folds")
    assert np.array_equal(predict(model, IMAGES), predict(ensemble, IMAGES))
    assert 'create_model("hf-hub:org/folds")' in hub.repos["org/folds"].files("main")["README.md"].decode()
    assert len([name for name in hub.repos["org/folds"].files("main") if name.startswith("member1/")]) == 3
    push_folder(folder, "org/folds", token="secret")  # the same weights again
    half = save_pretrained(ensemble, folder.with_name("half"), dtype="float16")
    with pytest.raises(FileExistsError, match="holds other weights"):
        push_folder(half, "org/folds", token="secret")
    create_model("hf-hub:org/folds")
    (cached, *_) = (path for path in hub_cache().glob("**/snapshots/*/member1/model.safetensors"))
    cached.resolve().write_bytes(b"damaged")
    assert np.array_equal(predict(create_model("hf-hub:org/folds"), IMAGES), predict(ensemble, IMAGES))
    files = dict(hub.repos["org/folds"].files("main"))
    del files["member1/model.safetensors"]
    hub.put("org/partial", files)
    with pytest.raises(OSError, match=r"org/partial@main has no member1/model.safetensors"):
        create_model("hf-hub:org/partial")


def hub_cache():
    return Path(huggingface_hub.constants.HF_HUB_CACHE)


def test_one_kind_does_not_replace_the_other(saved, tmp_path):
    ensemble, folder = saved
    with pytest.raises(FileExistsError, match="holds an ensemble, not one model: choose another directory"):
        save_pretrained(ensemble.members[0], folder)
    with pytest.raises(FileExistsError, match="holds one model, not an ensemble"):
        save_pretrained(ensemble, tmp_path / "runs" / "fold0" / "model")
    assert isinstance(create_model(f"local-dir:{folder}"), Ensemble)


def test_what_cannot_be_saved_writes_nothing(tmp_path):
    changed = tiny()
    changed.head.extra = nn.Conv2d(1, 1, 1)
    for wrong, words in (
        (Ensemble([tiny(), changed]), "was changed after create_model"),
        (Ensemble([Ensemble([tiny()])]), "member 0 is an ensemble itself"),
        (Ensemble([Gated(tiny(classifier="beside"))]), "Gated cannot be saved: .*save its .model"),
    ):
        with pytest.raises(ValueError, match=words):
            save_pretrained(wrong, tmp_path / "x")
        assert list(tmp_path.iterdir()) == []


def test_runs_are_found_in_the_order_of_their_numbers(tmp_path_factory, tmp_path):
    checkpoint = save_pretrained(tiny(), tmp_path_factory.mktemp("one"))
    for fold in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9):
        shutil.copytree(checkpoint, place := tmp_path / f"fold{fold}" / "model")
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**config, "recipe": {"fold": fold}}))
    (tmp_path / ".cache").mkdir()
    assert [record["recipe"]["fold"] for record in Ensemble.from_runs(tmp_path).records] == list(range(11))
    chosen = Ensemble.from_runs([tmp_path / "fold3", tmp_path / "fold10" / "model"], mode="vote")
    assert [record["recipe"]["fold"] for record in chosen.records] == [3, 10]
    assert chosen.mode == "vote"
    shutil.rmtree(tmp_path / "fold4")
    with pytest.raises(FileNotFoundError, match=r"holds fold0, .* and no fold4: finish the cross-validation"):
        Ensemble.from_runs(tmp_path)
    (tmp_path / "fold4").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*fold4 nor in .*fold4/model: finish that run"):
        Ensemble.from_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        Ensemble.from_runs(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="give folders"):
        Ensemble.from_runs([])


def test_options_of_masks_travel_with_a_model(tmp_path):
    model = tiny()
    assert (model.threshold, model.min_size) == (0.5, 0)
    plain = save_pretrained(model, tmp_path / "plain")
    assert not {"threshold", "min_size"} & set(json.loads((plain / "config.json").read_text()))
    save_pretrained(model, tmp_path / "x", threshold=0.37, min_size=30)
    loaded = create_model(f"local-dir:{tmp_path / 'x'}")
    assert (loaded.threshold, loaded.min_size) == (0.37, 30)
    assert (loaded.mask_only().threshold, loaded.mask_only().min_size) == (0.37, 30)
    save_pretrained(loaded, tmp_path / "y", min_size=0)
    again = create_model(f"local-dir:{tmp_path / 'y'}")
    assert (again.threshold, again.min_size) == (0.37, 0)
    for options, words in (
        ({"threshold": 1.0}, "threshold must be a probability of at least 0 and below 1, got 1.0"),
        ({"threshold": "low"}, "threshold must be a probability"),
        ({"min_size": -1}, "min_size must be a number of pixels, 0 or more, got -1"),
        ({"min_size": 0.5}, "min_size must be a number of pixels"),
    ):
        with pytest.raises(ValueError, match=words):
            save_pretrained(model, tmp_path / "z", **options)
    with pytest.raises(ValueError, match="threshold is for models of one class, and this one has 2"):
        save_pretrained(tiny(num_classes=2), tmp_path / "z", threshold=0.4)
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(json.dumps({**config, "threshold": "low"}))
    with pytest.raises(ValueError, match="threshold must be a number"):
        create_model(f"local-dir:{plain}")
