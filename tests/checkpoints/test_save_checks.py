"""save_pretrained: what is written can be read; wrappers are seen through, other models are refused."""

import os
import re
import resource
import threading

import pytest
import torch
from _tiny import same_weights, tiny
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

import saltzoo
from saltzoo import Preprocess, create_model, save_pretrained
from saltzoo import _files as files
from saltzoo.training import exponential_average
from saltzoo.zoo import pack

MODEL = "model.safetensors"


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "averaged": AveragedModel,
    "our average": exponential_average,
    "average of compiled": lambda model: AveragedModel(torch.compile(model)),
    "compiled average": lambda model: torch.compile(exponential_average(model)),
    "three": lambda model: torch.compile(nn.DataParallel(torch.compile(model))),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_are_seen_through(tmp_path, wrap):
    model = tiny()
    again = create_model(f"local-dir:{save_pretrained(wrap(model), tmp_path / 'x')}")
    assert same_weights(again, model)
    assert again.config == model.config


def test_a_model_for_several_processes_is_seen_through(tmp_path, process_group):
    model = tiny()
    for wrapped in (DistributedDataParallel(model), torch.compile(DistributedDataParallel(model))):
        assert same_weights(create_model(f"local-dir:{save_pretrained(wrapped, tmp_path / 'x')}"), model)


def test_wrapped_parts_are_seen_through(tmp_path):
    model, plain = tiny(), tiny()
    model.encoder = torch.compile(model.encoder)
    model.decoder.blocks[0] = nn.DataParallel(torch.compile(model.decoder.blocks[0]))
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, tmp_path / 'x')}"), plain)
    half = save_pretrained(model, tmp_path / "half", dtype="float16")
    assert (half / MODEL).read_bytes() == (save_pretrained(plain, tmp_path / "h", dtype="float16") / MODEL).read_bytes()


def test_a_wrapped_model_is_pushed(hub):
    model = tiny()
    saltzoo.push_to_hub(nn.DataParallel(model), "org/wrapped", token="secret")
    assert same_weights(create_model("hf-hub:org/wrapped"), model)


def test_synchronised_batch_norms_are_those_of_one_process(tmp_path):
    model = nn.SyncBatchNorm.convert_sync_batchnorm(create_model("unet_resnet18"))
    assert any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, tmp_path / 'x')}"), model)


class Lightning(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net


def test_an_unknown_wrapper_is_refused_with_the_name_of_the_model_inside(tmp_path):
    with pytest.raises(ValueError, match=r"this Lightning cannot be saved.*It wraps such a model: save its \.net"):
        save_pretrained(Lightning(tiny()), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def relu_becomes_gelu(model):
    model.decoder.blocks[1].conv1.act = nn.GELU()


def classes_are_added(model):
    model.head.conv = nn.Conv2d(8, 3, 3, padding=1)


def stride_is_other(model):
    model.decoder.blocks[0].conv1.conv.dilation = (2, 2)


def bias_is_added(model):
    old = model.decoder.blocks[0].conv1.conv
    model.decoder.blocks[0].conv1.conv = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1)


def eps_is_other(model):
    model.decoder.blocks[0].conv1.norm.eps = 1e-3


def layer_is_added(model):
    model.extra = nn.Linear(2, 2)


def layer_is_removed(model):
    model.decoder.blocks[4].conv2 = nn.Identity()


def weight_is_normalised(model):
    parametrizations.weight_norm(model.head.conv)


def weight_is_pruned(model):
    prune.l1_unstructured(model.head.conv, "weight", 0.5)


def buffer_is_added(model):
    model.register_buffer("mean", torch.zeros(1))


def indices_become_numbers(model):
    model.decoder.blocks[0].conv1.norm.num_batches_tracked = torch.tensor(0.0)


def head_is_left_out_by_hand(model):
    model.config = saltzoo.models.ModelConfig("unet", {**model.config.model_args, "deep_supervision": True})


CHANGES = {
    relu_becomes_gelu: r"decoder.blocks.1.conv1.act is a GELU and was built as a ReLU",
    classes_are_added: r"head.conv.weight is \(3, 8, 3, 3\) and was built as \(1, 8, 3, 3\)",
    stride_is_other: r"decoder.blocks.0.conv1.conv is Conv2d\(.*dilation=\(2, 2\).* and was built as Conv2d\(",
    bias_is_added: r"decoder.blocks.0.conv1.conv.bias is added",
    eps_is_other: r"norm is PooledBatchNorm\(8, eps=0.001.*and was built as PooledBatchNorm\(8, eps=1e-05",
    layer_is_added: r"extra.weight is added",
    layer_is_removed: r"decoder.blocks.4.conv2.conv.weight is missing",
    weight_is_normalised: r"head.conv.weight is missing",
    weight_is_pruned: r"head.conv.weight is missing.*head.conv.weight_orig is added",
    buffer_is_added: r"mean is added",
    indices_become_numbers: r"num_batches_tracked is torch.float32 and was built as torch.int64",
    head_is_left_out_by_hand: r"deep_supervision.* is missing",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_model_that_was_changed_by_hand_is_refused_with_the_difference(tmp_path, change):
    model = tiny()
    change(model)
    with pytest.raises(ValueError, match=rf"this Segmenter cannot be saved.*another model.*{CHANGES[change]}"):
        save_pretrained(model, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_what_matters_in_training_only_may_change(tmp_path):
    model = tiny()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
        if isinstance(part, nn.ReLU):
            part.inplace = not part.inplace
    model.requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, tmp_path / 'x')}"), model)


def test_saving_leaves_the_random_numbers_and_the_model(tmp_path):
    model = tiny().eval()
    torch.manual_seed(1)
    want = torch.rand(3)
    torch.manual_seed(1)
    save_pretrained(model, tmp_path / "x")
    assert torch.equal(torch.rand(3), want)
    assert not any(part.training for part in model.modules())


def test_a_config_that_does_not_build_is_refused(tmp_path):
    for args, name, words in (
        ({"encoder": "no_such"}, "unet", "no_such"),
        ({"wings": 2}, "unet", "wings"),
        ({}, "ghost", "unknown model 'ghost'"),
    ):
        model = tiny()
        model.config = saltzoo.models.ModelConfig(name, {**model.config.model_args, **args})
        with pytest.raises(ValueError, match=rf"cannot be saved, because create_model cannot build it.*{words}"):
            save_pretrained(model, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_a_preprocess_for_other_channels_is_refused(tmp_path):
    model = tiny(in_chans=2)
    model.preprocess = Preprocess(mean=(0.5,), std=(0.2,))
    with pytest.raises(ValueError, match=r"preprocess is for 1 channel\(s\), and the model has 2"):
        save_pretrained(model, tmp_path / "x")
    model.preprocess = {"mean": 0.5}
    with pytest.raises(ValueError, match=r"set model.preprocess = saltzoo.Preprocess"):
        save_pretrained(model, tmp_path / "x")


class Tied(nn.Module):
    """A registered model of a user, whose two layers have one weight."""

    def __init__(self, in_chans=1, num_classes=1, tied=True):
        super().__init__()
        self.preprocess = Preprocess.gray(in_chans)
        self.first, self.second = nn.Conv2d(in_chans, num_classes, 1), nn.Conv2d(in_chans, num_classes, 1)
        self.scale = nn.Parameter(torch.tensor(self.first.weight.sum().item()))  # does not work on "meta"
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return self.first(x) + self.second(x) * self.scale


@pytest.fixture
def registered(own_registry):
    saltzoo.register_model(saltzoo.ModelSpec("tied_net", Tied))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tied_weights_are_saved(tmp_path, registered, tied, dtype):
    model = create_model("tied_net", tied=tied)
    model.second.weight = model.first.weight
    model.half()
    again = create_model(f"local-dir:{save_pretrained(model, tmp_path / 'x', dtype=dtype)}")
    assert (again.second.weight is again.first.weight) is tied
    assert all(torch.equal(value, model.state_dict()[key].float()) for key, value in again.state_dict().items())


def test_tensors_with_other_strides_or_in_a_larger_memory_are_saved(tmp_path):
    model, memory = tiny(), torch.randn(8, 100)
    norm = model.decoder.blocks[0].conv1.norm
    norm.weight = nn.Parameter(memory[:, 0])
    norm.bias = nn.Parameter(memory[3, :8])
    norm.running_mean = torch.ones(1).expand(8)
    folder = save_pretrained(model, tmp_path / "x")
    assert same_weights(create_model(f"local-dir:{folder}"), model)
    assert (folder / MODEL).stat().st_size == (save_pretrained(tiny(), tmp_path / "y") / MODEL).stat().st_size


class Wrapping(torch.Tensor):
    pass


def quantised(value):
    return torch.quantize_per_tensor(value, 0.1, 0, torch.quint8)


def test_tensors_that_cannot_be_stored_are_refused_in_our_words(tmp_path):
    for make, words in (
        (lambda value: value.to("meta"), r'has no values \(its device is "meta"\)'),
        (lambda value: value.to_sparse(), r"is sparse \(torch.sparse_coo\): make it dense"),
        (quantised, "is quantised: save the model before"),
        (lambda value: value.as_subclass(Wrapping), "is a Wrapping, not a plain tensor"),
        (lambda value: value.to(torch.complex64), "is torch.complex64: checkpoints hold real numbers"),
    ):
        model = tiny()
        norm = model.decoder.blocks[0].conv1.norm
        norm.running_mean = make(norm.running_mean)
        with pytest.raises(ValueError, match=rf"cannot be saved: decoder.blocks.0.conv1.norm.running_mean {words}"):
            save_pretrained(model, tmp_path / "x")
    with torch.device("meta"):
        model = tiny()
    with pytest.raises(ValueError, match="has no values"):
        save_pretrained(model, tmp_path / "x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "salt"}, "labels must name each of the model's 4"),
        ({"license": None}, "license must be a string"),
        ({"metrics": {"name": "iou", "value": 1.0}}, "a metric needs at least"),
        ({"recipe": [1]}, "recipe must be a mapping, got a list"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        save_pretrained(tiny(num_classes=4), tmp_path / "x", **options)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_full_disk_leaves_nothing_of_a_new_checkpoint(tmp_path, monkeypatch, call):
    calls = []

    def fsync(_):
        calls.append(1)
        if len(calls) == call:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(
        OSError, match=r"No space left on device: the checkpoint could not be written.*free space.*b'"
    ) as error:
        save_pretrained(tiny(), tmp_path / "a" / "b")
    assert error.value.errno == 28
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_a_file_that_cannot_grow_leaves_the_folder_as_it_was(tmp_path, there):
    folder = tmp_path / "a" / "b"
    if there:
        save_pretrained(tiny(), folder)
    before = {path.name: path.read_bytes() for path in folder.rglob("*")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: the checkpoint could not be written, and nothing was"):
            save_pretrained(tiny(1), folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.rglob("*")} == before
    assert (tmp_path / "a").exists() == there


def test_what_does_not_read_as_it_was_written_gets_no_name(tmp_path, monkeypatch):
    folder = save_pretrained(tiny(), tmp_path / "old")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(pack, "tensors_to_bytes", lambda tensors: before[MODEL][:-4])
    for place in (folder, tmp_path / "new"):
        with pytest.raises(ValueError, match="damaged or cut short"):
            save_pretrained(tiny(1), place)
    monkeypatch.undo()
    monkeypatch.setattr(pack, "to_stored", lambda tensors, parameters, dtype: {"other": torch.ones(1)})
    monkeypatch.setattr(pack, "tensors_to_bytes", lambda tensors: before[MODEL])
    with pytest.raises(OSError, match="does not read as it was written"):
        save_pretrained(tiny(1), tmp_path / "new")
    assert os.listdir(tmp_path) == ["old"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken" / "config.json").mkdir(parents=True)
    (tmp_path / "taken" / "model.safetensors").touch()  # as in the folder of a checkpoint
    for place in ("file", "file/below", "taken"):
        with pytest.raises(OSError, match="the checkpoint could not be written, and nothing was changed"):
            save_pretrained(tiny(), tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path / "taken")) == ["config.json", "model.safetensors"]


def test_the_home_folder_is_where_loading_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = tiny()
    assert save_pretrained(model, "~/mine") == tmp_path / "mine"
    assert same_weights(create_model("local-dir:~/mine"), model)
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, '.')}"), model)


def test_two_threads_save_to_one_folder(tmp_path):
    models = [tiny(0), tiny(1)]
    threads = [threading.Thread(target=save_pretrained, args=(model, tmp_path / "x")) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = create_model(f"local-dir:{tmp_path / 'x'}")
    assert any(same_weights(again, model) for model in models)
    assert sorted(os.listdir(tmp_path / "x")) == ["README.md", "config.json", MODEL]
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_the_cost_of_a_wrapped_model_is_that_of_the_model(wrap):
    model = tiny()
    assert saltzoo.cost(wrap(model)) == saltzoo.cost(model)


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (nn.DataParallel, "`.module`"),
        (AveragedModel, "`.module`"),
        (lambda model: nn.DataParallel(torch.compile(model)), "`.module._orig_mod`"),
        (lambda model: torch.compile(nn.DataParallel(model)), "`._orig_mod.module`"),
    ],
)
def test_predict_says_where_the_model_is_inside_a_wrapper(wrap, place):
    with pytest.raises(TypeError, match=rf"is not a saltzoo model.*pass the Segmenter inside, {place}"):
        saltzoo.predict(wrap(tiny()), torch.zeros(1, 32, 32))
