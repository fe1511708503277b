"""The number format of a run: what "auto" means, what is told about it, and what a resumed run keeps."""

import json
import warnings
from contextlib import nullcontext

import pytest
import torch

from saltzoo.data import synthetic_tiles
from saltzoo.training import Recipe, Trainer, fit, precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
SMALL = {
    "model": {"name": "unet", "options": {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}},
    "epochs": 1,
    "batch_size": 4,
    "split": "coverage",
}
TILES = synthetic_tiles(10, seed=3, size=40)
AVX2 = "fpu avx avx2 f16c"


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Return a function that sets the flags of the processor, as Linux lists them."""

    def has(flags):
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
        monkeypatch.setattr(precision, "CPUINFO", file)

    monkeypatch.setattr(precision.sys, "platform", "linux")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    precision.warn_of_emulation.cache_clear()
    return has


def recipe_of(amp, **more):
    return Recipe.from_dict({**SMALL, "amp": amp, **more})


@pytest.mark.parametrize(
    ("flags", "unit"),
    [
        (AVX2, None),
        (f"{AVX2} avx512f avx512_vnni avx512bw", None),
        (f"{AVX2} amx_tile amx_int8", None),
        (f"{AVX2} avx512_bf16_other", None),
        ("", None),
        (f"{AVX2} avx512f avx512_bf16", "AVX512-BF16"),
        (f"{AVX2} amx_bf16 amx_tile", "AMX"),
        (f"{AVX2} amx_bf16 avx512_bf16", "AVX512-BF16 and AMX"),
    ],
)
def test_auto_follows_the_flags_of_the_processor(processor, flags, unit):
    processor(flags)
    lines = []
    assert precision.bf16_unit(CPU) == unit
    assert precision.with_amp_of(recipe_of("auto"), CPU, tell=lines.append).amp == ("bf16" if unit else "off")
    if unit:
        assert lines == [f"amp: bf16, because this processor has {unit}"]
    else:
        assert lines == ["amp: off (float32), because this processor has no bfloat16 unit that is known"]


def test_auto_is_float32_where_nothing_is_known(processor, monkeypatch, tmp_path):
    processor(f"{AVX2} amx_bf16")
    assert precision.bf16_unit(torch.device("mps")) is None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert precision.bf16_unit(CPU) is None
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(precision.sys, "platform", "darwin")
    assert precision.bf16_unit(CPU) is None
    monkeypatch.setattr(precision.sys, "platform", "linux")
    assert precision.bf16_unit(CPU) == "AMX"
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "none")
    assert precision.bf16_unit(CPU) is None


@pytest.mark.parametrize("native", [True, False])
def test_auto_asks_the_gpu_that_trains_without_emulation(monkeypatch, native):
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: asked.append(device) or nullcontext())

    def is_supported(including_emulation=True):
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert precision.with_amp_of(recipe_of("auto"), GPU).amp == ("bf16" if native else "off")
    assert asked == [GPU]


def test_bf16_where_it_is_emulated_is_kept_and_warns_once(processor):
    processor(AVX2)
    with pytest.warns(UserWarning, match="is emulated on this processor, .* 8 times as long as float32") as caught:
        amps = [precision.with_amp_of(recipe_of("bf16"), CPU).amp for _ in range(2)]
    assert amps == ["bf16", "bf16"]
    assert len(caught) == 1


def test_nothing_warns_without_emulation(processor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor(AVX2)
        for amp in ("auto", "off"):
            precision.with_amp_of(recipe_of(amp), CPU)
        processor(f"{AVX2} amx_bf16")
        for amp in ("auto", "off", "bf16"):
            precision.with_amp_of(recipe_of(amp), CPU)


@pytest.mark.parametrize(("flags", "amp"), [(AVX2, "off"), (f"{AVX2} amx_bf16", "bf16")])
def test_a_trainer_computes_in_the_chosen_format(processor, monkeypatch, flags, amp):
    processor(flags)
    trainer, seen = Trainer(recipe_of("auto"), TILES), []
    monkeypatch.setattr(trainer, "loss", lambda output, y: seen.append(output.dtype) or output.float().mean())
    trainer.epoch(0)
    assert trainer.recipe.amp == amp
    assert set(seen) == {torch.bfloat16 if amp == "bf16" else torch.float32}


def test_log_card_and_resumed_run_have_what_was_chosen(processor, tmp_path):
    """A run that began in float32 stays in float32 on a processor with bfloat16 units, as do runs of old versions."""
    assert Recipe.from_dict({"model": {"name": "saltnet_s"}}).amp == "auto"
    assert Recipe.from_saved({"model": {"name": "saltnet_s"}}).amp == "off"
    lines = []
    for flags, epochs in ((AVX2, 1), (f"{AVX2} amx_bf16", 2)):
        processor(flags)
        fit(recipe_of("auto", epochs=epochs), TILES, tmp_path / "run", resume=epochs > 1, tell=lines.append)
        config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
        assert config["recipe"]["amp"] == "off"
        assert '"amp": "off"' in (tmp_path / "run" / "model" / "README.md").read_text()
    told = [line for line in lines if line.startswith("amp:")]
    assert told == [
        "amp: off (float32), because this processor has no bfloat16 unit that is known",
        "amp: off (float32), as the recipe says",
    ]
