"""Options: every value is checked before anything is built, and every one is in the checkpoint."""

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

import saltzoo
from saltzoo import create_model, save_pretrained
from saltzoo.heads import ClassificationHead, DeepSupervisionHead, HypercolumnHead, SegmentationHead
from saltzoo.models import PlainUnetOptions, SaltnetOptions, UnetOptions

SMALL = {
    "saltnet_s": {"channels": (8, 12, 16), "decoder_channels": (10, 8), "blocks": 1},
    "unet_plain": {"channels": (6, 8, 10)},
}
KINDS = {"saltnet_s": SaltnetOptions, "unet_plain": PlainUnetOptions, "unet": UnetOptions}
every_small = pytest.mark.parametrize("name", SMALL)


pytestmark = pytest.mark.usefixtures("own_registry")


@every_small
def test_which_heads_a_model_has(name):
    def build(**options):
        return create_model(name, **SMALL[name], **{"hypercolumn": False, **options})

    plain = build(num_classes=3, drop_rate=0.2)
    assert type(plain.head) is SegmentationHead
    assert plain.head.dropout.p == 0.2
    assert plain.head.conv.out_channels == 3 * plain.decoder.reduction**2
    assert [plain.classifier, plain.deep_supervision, plain.auxiliary] == [None, None, None]

    column = build(hypercolumn=True, drop_rate=0.2)
    assert type(column.head) is HypercolumnHead
    assert column.head.classify.dropout.p == 0.2
    width = sum(column.decoder.channels)
    assert column.head.mix.conv.in_channels == 16 * len(column.decoder.channels)
    assert build(hypercolumn=True, hypercolumn_channels=None).head.mix.conv.in_channels == width
    assert build(hypercolumn=True, hypercolumn_channels=5).head.reduce[0].conv.out_channels == 5

    deep = build(deep_supervision=True, num_classes=2)
    assert type(deep.deep_supervision) is DeepSupervisionHead
    assert [conv.in_channels for conv in deep.deep_supervision.heads] == list(deep.decoder.channels)
    assert {conv.out_channels for conv in deep.deep_supervision.heads} == {2}
    wider = build(deep_supervision=True, deep_supervision_channels=7)
    assert [head[0].out_channels for head in wider.deep_supervision.heads] == [7] * len(deep.decoder.channels)

    beside = build(classifier="beside", drop_rate=0.3)
    assert type(beside.classifier) is ClassificationHead
    assert beside.classifier.linear.in_features == SMALL[name]["channels"][-1]
    assert beside.classifier.dropout.p == 0.3
    assert not beside.head.reads_image
    fused = build(classifier="fused", hypercolumn=True)
    assert fused.head.reads_image
    assert fused.head.mix.conv.in_channels == column.head.mix.conv.in_channels + 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classifier": "both"}, "unknown classifier 'both': choose one of 'none', 'beside', 'fused'"),
        ({"classifier": "fused", "hypercolumn": False}, 'add hypercolumn=True, or pass classifier="beside"'),
        (
            {"hypercolumn_channels": 0},
            "hypercolumn_channels must be at least 1, or None, got 0",
        ),
        ({"hypercolumn_channels": -4, "hypercolumn": False}, "got -4"),
        (
            {"hypercolumn_channels": 8, "hypercolumn": False},
            "hypercolumn_channels=8 is an option of the hypercolumn, which is off: leave it at 16, or "
            "pass hypercolumn=True",
        ),
        (
            {"deep_supervision_channels": 8},
            "=8 is an option of the deep supervision, which is off",
        ),
        (
            {"deep_supervision_channels": 0, "deep_supervision": True},
            "deep_supervision_channels must be at least 1, or None, got 0",
        ),
        ({"hypercolumn_channels": None, "hypercolumn": False}, "hypercolumn_channels=None is an option of"),
        (
            {"attention": "none", "attention_reduction": 4},
            "attention_reduction=4 is an option of the attention, which is off: leave it at None, or pass an "
            'attention, such as attention="scse"',
        ),
        ({"drop_rate": 1.0}, "drop_rate must be at least 0 and below 1, got 1.0"),
        ({"drop_rate": -0.1}, "got -0.1"),
        ({"drop_rate": float("nan")}, "got nan"),
    ],
)
@pytest.mark.parametrize("kind", KINDS.values())
def test_values_that_make_no_sense_are_refused_before_anything_is_built(kind, options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        kind(**options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("saltnet_s", {"hypercolum": True}, "'saltnet_s' has no option 'hypercolum'. Did you mean 'hypercolumn' or"),
        ("unet_plain", {"zzz": 1}, "'unet_plain' has no option 'zzz'. It has in_chans, num_classes, hypercolumn, "),
        ("unet", {"decoder_channel": 1}, "'unet' has no option 'decoder_channel'. Did you mean 'decoder_channels' or"),
        (
            "saltnet_s",
            {"decoder_channels": "abc"},
            "'decoder_channels' of model 'saltnet_s' must be Sequence[int (at least 1)], got 'abc'",
        ),
        ("unet", {"decoder_channels": "abcde"}, "must be Sequence[int] | None, got 'abcde'"),
        ("unet", {"decoder_channels": (64, 48, "32", 16, 8)}, "got (64, 48, '32', 16, 8)"),
        (
            "unet",
            {"attention_sites": "encoder"},
            "'attention_sites' of model 'unet' must be Sequence[str], got 'encoder'",
        ),
        ("saltnet_s", {"channels": 32}, "must be Sequence[int (at least 1)], got 32"),
        ("saltnet_s", {"channels": (8.0, 8, 8, 8)}, "must be Sequence[int (at least 1)], got (8.0, 8, 8, 8)"),
        ("saltnet_s", {"blocks": 1.5}, "'blocks' of model 'saltnet_s' must be int (at least 1), got 1.5"),
        ("saltnet_s", {"blocks": True}, "must be int (at least 1), got True"),
        (
            "saltnet_s",
            {"drop_rate": "x"},
            "of model 'saltnet_s' must be float (at least 0 and below 1), got 'x'",
        ),
        ("saltnet_s", {"drop_rate": False}, "must be float (at least 0 and below 1), got False"),
        ("saltnet_s", {"hypercolumn": "no"}, "'hypercolumn' of model 'saltnet_s' must be bool, got 'no'"),
        ("unet_plain", {"deep_supervision": 1}, "must be bool, got 1"),
        ("saltnet_s", {"hypercolumn_channels": "16"}, "must be int (at least 1) | None, got '16'"),
        ("saltnet_s", {"attention": ["scse"]}, "must be str, got ['scse']"),
        ("unet", {"encoder": 34}, "'encoder' of model 'unet' must be str, got 34"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name, options, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        create_model(name, **options)


def test_a_whole_number_may_stand_for_a_float_and_a_list_for_a_tuple():
    model = create_model("saltnet_s", **{**SMALL["saltnet_s"], "channels": [8, 12, 16], "drop_rate": 0})
    assert model.config.model_args["drop_rate"] == 0
    assert model.encoder.spec.channels == (8, 12, 16)


def test_none_is_the_default_where_it_is_not_a_value():
    kept = create_model(
        "saltnet_s", attention=None, blocks=None, **{k: v for k, v in SMALL["saltnet_s"].items() if k != "blocks"}
    )
    assert (kept.config.model_args["attention"], kept.config.model_args["blocks"]) == ("scse", 2)
    whole = create_model("saltnet_s", hypercolumn_channels=None, **SMALL["saltnet_s"])
    assert whole.config.model_args["hypercolumn_channels"] is None
    assert whole.head.mix.conv.in_channels == 16 + 10 + 8


@pytest.mark.parametrize("name", KINDS)
def test_options_can_not_be_changed_and_are_keywords(name):
    kind = KINDS[name]
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().drop_rate = 0.5
    with pytest.raises(TypeError):
        kind(1)


@every_small
@pytest.mark.parametrize(
    "options",
    [{}, {"hypercolumn": True, "hypercolumn_channels": None, "classifier": "fused", "deep_supervision": True}],
)
def test_a_checkpoint_holds_every_option_and_comes_back(name, options, tmp_path):
    torch.manual_seed(0)
    model = create_model(name, in_chans=2, **SMALL[name], **options)
    args = model.config.model_args
    assert set(args) == {f.name for f in dataclasses.fields(KINDS[name])}
    assert json.loads(json.dumps(args)) == args
    assert args["channels"] == list(SMALL[name]["channels"])
    folder = save_pretrained(model, tmp_path)
    again = create_model(f"local-dir:{folder}")
    assert again.config == model.config
    x = torch.randn(2, 2, 33, 40)
    with torch.no_grad():
        for a, b in zip(again.eval()(x), model.eval()(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    # The same value may be said again, as a tuple or a list; another is refused.
    create_model(f"local-dir:{folder}", channels=SMALL[name]["channels"], in_chans=2)
    create_model(f"local-dir:{folder}", channels=list(SMALL[name]["channels"]))
    with pytest.raises(ValueError, match=re.escape("drop channels, or build the model without weights")):
        create_model(f"local-dir:{folder}", channels=(8, 8))


@pytest.mark.parametrize("name", ["saltnet_s", "saltnet_m", "unet_plain"])
def test_the_names_of_the_catalog_say_all_their_options(name):
    with torch.device("meta"):
        args = create_model(name).config.model_args
    assert json.loads(json.dumps(args)) == args
    assert args["channels"] == {"saltnet_m": [48, 96, 192, 256], "saltnet_s": [32, 64, 128, 192]}.get(
        name, [64, 128, 256, 512, 1024]
    )


def test_a_dataclass_of_a_user_is_a_builder(tmp_path):
    @saltzoo.register_model
    @dataclass(frozen=True, kw_only=True)
    class my_options:
        in_chans: int = 1
        num_classes: int = 1
        widths: Sequence[int] = field(default_factory=lambda: [4, 8])
        anything: Any = None

        def build(self):
            first, second = self.widths
            body = nn.Sequential(nn.Conv2d(self.in_chans, first, 1), nn.Conv2d(first, second, 1))
            model = nn.Sequential(body, nn.Conv2d(second, self.num_classes, 1))
            model.preprocess = saltzoo.Preprocess.gray(self.in_chans)
            return model

    model = create_model("my_options", num_classes=3)
    assert model.config.model_args == {"in_chans": 1, "num_classes": 3, "widths": [4, 8], "anything": None}
    again = create_model(f"local-dir:{save_pretrained(model, tmp_path)}")
    assert again.config == model.config
    with pytest.raises(TypeError, match=re.escape("'widths' of model 'my_options' must be Sequence[int], got 4")):
        create_model("my_options", widths=4)
    with pytest.raises(ValueError, match="'my_options' has no pretrained encoder"):
        create_model("my_options", pretrained_encoder=True)
    with pytest.raises(ValueError, match="a Sequential has no heads to leave out"):
        create_model("my_options", mask_only=True)


def test_annotations_that_can_not_be_read_check_nothing():
    @saltzoo.register_model
    def odd_net(*, in_chans=1, num_classes=1, width: "NotImported" = 4):  # noqa: F821
        return nn.Conv2d(in_chans, num_classes, 1)

    assert create_model("odd_net", width="wide").config.model_args["width"] == "wide"
