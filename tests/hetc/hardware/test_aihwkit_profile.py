"""aihwkit configurations become profiles; what cannot be carried over is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lightning import INSTALL
from places import ROOT, TESTS

from hetc.base.errors import InvalidInputError
from hetc.cli.main import hetc
from hetc.costing.profile import built_in_costs
from hetc.hardware.aihwkit_profile import from_aihwkit, read_aihwkit
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import built_in_profiles, load_profile
from hetc.hardware.profile_toml import to_toml

DUMPS = TESTS / "aihwkit"
"""Written by docs/from-aihwkit.md's lines under aihwkit 1.1.0 and aihwkit-lightning 2.1.0."""

# What IBM's StandardHWATrainingPreset says about inference, dumped as docs/from-aihwkit.md shows.
PRESET: dict[str, Any] = {
    "class": "InferenceRPUConfig",
    "mapping": {
        "max_input_size": 512,
        "max_output_size": 256,
        "weight_scaling_omega": 1.0,
        "weight_scaling_columnwise": True,
    },
    "forward": {
        "is_perfect": False,
        "inp_res": 1 / 254,
        "out_res": 1 / 254,
        "inp_bound": 1.0,
        "out_bound": 10.0,
        "out_noise": 0.04,
        "w_noise": 0.0175,
        "w_noise_type": "WeightNoiseType.PCM_READ",
        "ir_drop": 1.0,
        "inp_sto_round": False,
        "noise_management": "NoiseManagementType.ABS_MAX",
        "bound_management": "BoundManagementType.ITERATIVE",
    },
    "noise_model": {"class": "PCMLikeNoiseModel", "prog_noise_scale": 1.5, "read_noise_scale": 1.0},
    "drift_compensation": {"class": "GlobalDriftCompensation"},
    "modifier": {"type": "ADD_NORMAL"},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(PRESET))
    *sections, key = path.split(".")
    target = config
    for section in sections:
        target = target.setdefault(section, {})
    target[key] = value
    return config


def test_a_preset_becomes_a_profile() -> None:
    converted = from_aihwkit(PRESET, "preset")
    profile = converted.profile
    assert converted.unsupported == () and converted.ignored == ("modifier",)
    assert (profile.tile_rows, profile.tile_columns, profile.dac_bits, profile.adc_bits) == (512, 256, 8, 8)
    assert (profile.output_noise, profile.weight_noise, profile.weight_noise_form) == (
        0.04,
        0.0175,
        "pcm-read",
    )
    assert (profile.ir_drop, profile.bound_management, profile.scale_mode) == (1.0, "iterative", "column")
    assert (profile.noise.name, profile.noise_scale, profile.flicker_noise) == ("pcm", 1.5, 1.0)
    assert profile.drift_compensation == "global"


def test_the_real_preset() -> None:
    converted = from_aihwkit(read_aihwkit(DUMPS / "StandardHWATrainingPreset.json"), "preset")
    profile = converted.profile
    assert converted.unsupported == (
        "mapping.max_output_size = 0",
        "forward.noise_management = CONSTANT",
        "pre_post.input_range.enable = True",
        "clip.type = FIXED_VALUE",
    )
    assert (profile.tile_rows, profile.dac_bits, profile.adc_bits, profile.out_bound) == (512, 8, 8, 10.0)
    assert (profile.output_noise, profile.weight_noise, profile.ir_drop) == (0.04, 0.0175, 1.0)
    assert (profile.weight_noise_form, profile.scale_mode) == ("pcm-read", "column")
    assert (profile.noise, profile.flicker_noise) == (NOISE_MODELS["pcm"], 1.0)


def test_a_real_configuration_with_one_device() -> None:
    converted = from_aihwkit(read_aihwkit(DUMPS / "TorchInferenceRPUConfig.json"), "one")
    assert converted.unsupported == ()
    assert converted.profile.noise == NOISE_MODELS["hermes_single"]
    assert (converted.profile.bound_management, converted.profile.output_noise) == ("iterative", 0.06)


def test_a_real_configuration_of_lightning() -> None:
    config = read_aihwkit(DUMPS / "lightning_TorchInferenceRPUConfig.json")
    converted = from_aihwkit(config, "lightning")
    profile = converted.profile
    assert converted.unsupported == ("mapping.max_output_size = -1", "pre_post.input_range.enable = True")
    assert (profile.tile_rows, profile.dac_bits, profile.adc_bits, profile.out_bound) == (512, 8, 8, 12.0)
    # Output noise and the modifier act in training.
    assert (profile.scale_mode, profile.output_noise, profile.noise.name) == ("column", 0.0, "none")
    config["clip"]["type"], config["pre_post"]["input_range"]["dynamic"] = "LEARNABLE_PER_CHANNEL", True
    config["modifier"]["enable_during_test"] = True
    assert from_aihwkit(config, "learnable").unsupported == (
        "mapping.max_output_size = -1",
        "clip.type = LEARNABLE_PER_CHANNEL",
        "modifier.enable_during_test = True",
    )


@pytest.mark.peer
def test_the_documented_lines_dump_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = pytest.importorskip("aihwkit_lightning.simulator.configs", reason=INSTALL)
    config = configs.TorchInferenceRPUConfig()
    config.mapping.max_input_size = 512
    config.forward.inp_res, config.forward.out_res, config.forward.out_bound = 254, 254, 12.0
    config.forward.out_noise = 0.02
    config.clip.type, config.clip.sigma = configs.WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL, 3.0
    config.modifier.type = configs.WeightModifierType.ADD_NORMAL_PER_CHANNEL
    config.modifier.std_dev = 0.03
    config.pre_post.input_range.enable = True
    text = (ROOT / "docs" / "from-aihwkit.md").read_text("utf-8")
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert lines is not None
    monkeypatch.chdir(tmp_path)
    exec(lines[1], {"rpu_config": config})
    committed = read_aihwkit(DUMPS / "lightning_TorchInferenceRPUConfig.json")
    assert read_aihwkit(tmp_path / "mine.json") == committed


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("forward.inp_noise", 0.1, "forward.inp_noise = 0.1"),
        ("forward.out_sto_round", True, "forward.out_sto_round = True"),
        ("forward.noise_management", "AVERAGE_ABS_MAX", "forward.noise_management = AVERAGE_ABS_MAX"),
        ("forward.bound_management", "SHIFT", "forward.bound_management = SHIFT"),
        ("forward.w_noise_type", "OTHER", "forward.w_noise_type = OTHER"),
        ("mapping.weight_scaling_omega", 0.0, "mapping.weight_scaling_omega = 0.0"),
        ("mapping.max_input_size", 0, "mapping.max_input_size = 0"),
        ("forward.mv_type", "SPLIT_MODE", "forward.mv_type = SPLIT_MODE"),
        ("forward.ir_drop_segments", 8, "forward.ir_drop_segments = 8"),
        ("modifier.enable_during_test", True, "modifier.enable_during_test = True"),
        ("noise_model.g_converter", {"g_min": 1.0}, "noise_model.g_converter.g_min = 1.0"),
        ("noise_model", {"class": "MyNoise"}, "noise_model = MyNoise"),
        ("noise_model.t_0", 30.0, "noise_model.t_0 = 30.0"),
        ("drift_compensation", {"class": "Mine"}, "drift_compensation = Mine"),
    ],
)
def test_what_has_no_counterpart_is_named(path: str, value: Any, named: str) -> None:
    assert from_aihwkit(changed(path, value), "x").unsupported == (named,)


@pytest.mark.parametrize(("resolution", "bits"), [(254, 8), (1 / 126, 7), (1 / 510, 9), (-1, 0)])
def test_resolutions(resolution: float, bits: int) -> None:
    assert from_aihwkit(changed("forward.inp_res", resolution), "x").profile.dac_bits == bits


def test_a_resolution_between_two_bits_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no whole number of bits"):
        from_aihwkit(changed("forward.out_res", 1 / 200), "x")


def test_other_noise_models() -> None:
    hermes = from_aihwkit(changed("noise_model", {"class": "HermesNoiseModel", "num_devices": 1}), "x")
    assert hermes.profile.noise == NOISE_MODELS["hermes_single"]
    mine = from_aihwkit(changed("noise_model.prog_coeff", [0.5, 1.0]), "x").profile.noise
    assert (mine.name, mine.sigma) == ("pcm-custom", (0.02, 0.04))
    coefficients = {
        "class": "PCMLikeNoiseModel",
        "prog_coeff": [0.5, 1.0],
        "prog_coeff_g_max_reference": 20.0,
    }
    assert from_aihwkit(changed("noise_model", coefficients), "x").profile.noise.sigma == (0.025, 0.05)
    slower = from_aihwkit(changed("noise_model.drift_scale", 0.5), "x").profile.noise
    assert slower.drift_mean[1:4] == tuple(value / 2 for value in NOISE_MODELS["pcm"].drift_mean[1:4])
    assert from_aihwkit(changed("noise_model", None), "x").profile.noise.name == "none"


def test_toml_reads_back_as_the_same_profile(tmp_path: Path) -> None:
    profiles = [load_profile(name) for name in built_in_profiles()]
    assert profiles
    profiles += [from_aihwkit(PRESET, "p").profile]
    profiles += [from_aihwkit(changed("noise_model.drift_scale", 0.5), "q").profile]
    for profile in profiles:
        (tmp_path / "p.toml").write_text(to_toml(profile))
        assert load_profile(tmp_path / "p.toml") == profile


def test_commands(tmp_path: Path) -> None:
    source, target = tmp_path / "mine.json", tmp_path / "mine.toml"
    source.write_text(json.dumps(changed("forward.inp_noise", 0.1)))
    run = CliRunner().invoke
    result = run(hetc, ["profiles", "from-aihwkit", str(source), "-o", str(target)])
    assert result.exit_code == 0 and "unsupported: forward.inp_noise = 0.1" in result.output
    assert "# not carried over: forward.inp_noise = 0.1" in target.read_text()
    assert load_profile(target).output_noise == 0.04
    assert 'name = "mine"' in run(hetc, ["profiles", "show", str(target)]).output
    assert "pcm-512" in run(hetc, ["profiles", "list"]).output
    listed = json.loads(run(hetc, ["profiles", "list", "--json"]).output)
    assert set(listed["hardware"]) == set(built_in_profiles())
    assert set(listed["costs"]) == set(built_in_costs())
    assert set(listed["noise"]) == set(NOISE_MODELS)
    again = run(hetc, ["profiles", "from-aihwkit", str(source), "-o", str(target)])
    assert again.exit_code != 0 and "--force" in str(again.exception)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_not_a_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    result = CliRunner().invoke(hetc, ["profiles", "from-aihwkit", str(tmp_path / "bad.json")])
    assert isinstance(result.exception, InvalidInputError)
