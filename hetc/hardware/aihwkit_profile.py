"""Profiles from aihwkit's configurations: a dump of an `RPUConfig` becomes a hardware profile.

docs/from-aihwkit.md says how to dump one and maps it field by field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError
from hetc.base.reading import read_json
from hetc.base.schema import shown
from hetc.hardware.noise_models import NOISE_MODELS, NoiseModel
from hetc.hardware.profile import Profile

__all__ = ["ConvertedProfile", "from_aihwkit", "read_aihwkit"]

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "forward.inp_bound": (1.0,),
    "forward.inp_noise": (0.0,),
    "forward.inp_asymmetry": (0.0,),
    "forward.out_asymmetry": (0.0,),
    "forward.out_noise_std": (0.0,),
    "forward.out_nonlinearity": (0.0,),
    "forward.out_nonlinearity_std": (0.0,),
    "forward.out_scale": (1.0,),
    "forward.out_sto_round": (False,),
    "forward.slope_calibration": (0.0,),
    "forward.v_offset_std": (0.0,),
    "forward.r_series": (0.0,),
    "forward.w_read_asymmetry_dtod": (0.0,),
    "forward.ir_drop_g_ratio": (1 / 0.35 / 5e-6,),
    "forward.ir_drop_segments": (),
    "forward.mv_type": ("ONE_PASS",),
    "forward.max_bm_factor": (1000,),
    "forward.max_bm_res": (0.25,),
    "forward.noise_management": ("ABS_MAX",),
    "mapping.digital_bias": (True,),
    "mapping.weight_scaling_omega": (1.0,),
    "pre_post.input_range.enable": (False,),
    "clip.type": ("NONE",),
    "modifier.enable_during_test": (False,),
    "noise_model.g_converter.class": ("SINGLEPAIRCONDUCTANCECONVERTER",),
    "noise_model.g_converter.g_min": (0.0,),
}
"""Fields that hetc has no counterpart for, with the values that change nothing; () where any would."""
TRAINING = ("backward", "update", "modifier", "remap", "runtime", "bindings", "device")
"""Sections that only matter while training, or for the simulator itself."""
BOUND_MANAGEMENT = {"NONE": "none", "ITERATIVE": "iterative"}
WEIGHT_NOISE = {"ADDITIVE_CONSTANT": "additive", "PCM_READ": "pcm-read"}
G_MAX = {"PCMLikeNoiseModel": 25.0, "HermesNoiseModel": 20.7}
"""What the coefficients of a model are relative to, where it doesn't say."""
LARGEST = 1e30
"""No setting of a device is larger."""
UNLIMITED = 512
"""Stands for a tile without a largest size, which no hardware has."""


@dataclass(frozen=True)
class ConvertedProfile:
    """A profile and what it leaves out.

    Attributes:
        profile: The profile.
        unsupported: Fields that would change results and have no counterpart, as `path = value`.
        ignored: Sections that only matter in training.
    """

    profile: Profile
    unsupported: tuple[str, ...]
    ignored: tuple[str, ...]


def read_aihwkit(path: Path) -> dict[str, Any]:
    """Reads a configuration that was dumped as JSON.

    Raises:
        UsageError: The file cannot be read.
        InvalidInputError: Not a JSON object, or without the section `forward`.
    """
    try:
        data = read_json(path, "configuration")
    except InvalidInputError as error:
        raise InvalidInputError(f"{error}; docs/from-aihwkit.md shows how to dump one") from error
    if not isinstance(data, dict) or not isinstance(data.get("forward"), dict):
        raise InvalidInputError(f"configuration {path} has no section 'forward'; is it an RPUConfig?")
    return data


def from_aihwkit(config: Mapping[str, Any], name: str) -> ConvertedProfile:
    """Turns a dumped `RPUConfig` of aihwkit or aihwkit-lightning into a profile.

        >>> import hetc
        >>> hetc.from_aihwkit({"forward": {"is_perfect": True}}, "mine").profile.name
        'mine'

    Args:
        config: The configuration as nested dictionaries; enumerations by name, objects with their class
            under `class`.
        name: Name of the profile.

    Raises:
        InvalidInputError: A value that no profile can hold.
    """
    if "is_perfect" not in config.get("forward", {}):
        config = _from_lightning(config)
    forward, mapping = _section(config, "forward"), _section(config, "mapping")
    sizes = {side: int(_number(mapping, f"max_{side}_size", UNLIMITED)) for side in ("input", "output")}
    unsupported = [f"mapping.max_{side}_size = {size}" for side, size in sizes.items() if size <= 0]
    unsupported += [
        f"{path} = {value}"
        for path, neutral in NEUTRAL.items()
        if (value := _enumeration(_at(config, path))) is not None and value not in neutral
    ]

    def choose(path: str, table: Mapping[str, str], default: str) -> str:
        value = _enumeration(_at(config, path)) or "NONE"
        if value != "NONE" and value not in table:
            unsupported.append(f"{path} = {value}")
        return table.get(value, default)

    perfect = bool(forward.get("is_perfect", False))
    adc_bits = 0 if perfect else _bits(_number(forward, "out_res", -1))
    out_bound = _number(forward, "out_bound", 10.0)
    if adc_bits and not 0 < out_bound < math.inf:
        raise InvalidInputError(f"forward.out_bound is {out_bound}: an ADC needs a bound above 0")
    weight_noise = WEIGHT_NOISE.get(_enumeration(forward.get("w_noise_type")) or "NONE")
    device, extra = _device(config.get("noise_model"))
    unsupported += extra
    drift = config.get("drift_compensation")
    compensation = "none" if drift is None else "global"
    if drift is not None and _class_of(drift) != "GlobalDriftCompensation":
        unsupported.append(f"drift_compensation = {_class_of(drift)}")
    profile = Profile(
        name=name,
        tile_rows=sizes["input"] if sizes["input"] > 0 else UNLIMITED,
        tile_columns=sizes["output"] if sizes["output"] > 0 else UNLIMITED,
        dac_bits=0 if perfect else _bits(_number(forward, "inp_res", -1)),
        adc_bits=adc_bits,
        out_bound=out_bound if adc_bits else 10.0,
        drift_compensation=compensation,
        output_noise=0.0 if perfect else _number(forward, "out_noise", 0.0),
        weight_noise=0.0 if perfect or weight_noise is None else _number(forward, "w_noise", 0.0),
        weight_noise_form=weight_noise or "additive",
        ir_drop=0.0 if perfect else _number(forward, "ir_drop", 0.0),
        dac_rounding="stochastic" if forward.get("inp_sto_round") and not perfect else "nearest",
        bound_management=choose("forward.bound_management", BOUND_MANAGEMENT, "none"),
        scale_mode="column" if mapping.get("weight_scaling_columnwise", False) else "tile",
        **device,
    )
    choose("forward.w_noise_type", WEIGHT_NOISE, "additive")
    return ConvertedProfile(
        profile, tuple(unsupported), tuple(key for key in TRAINING if config.get(key) is not None)
    )


def _from_lightning(config: Mapping[str, Any]) -> dict[str, Any]:
    """An aihwkit-lightning configuration in aihwkit's fields.

    There, output noise acts in training only, a clip type says whether scales are per column, and slices
    always are as wide as the matrix.
    """
    clip = _enumeration(_at(config, "clip.type")) or "NONE"
    input_range = _at(config, "pre_post.input_range") or {}
    static = bool(input_range.get("enable")) and not input_range.get("dynamic")
    return {
        **config,
        "forward": {**_section(config, "forward"), "out_noise": 0.0},
        "mapping": {
            **_section(config, "mapping"),
            "max_output_size": -1,
            "weight_scaling_columnwise": clip.endswith("_PER_CHANNEL"),
        },
        "pre_post": {"input_range": {"enable": static}},
        "clip": {"type": clip if clip.startswith("LEARNABLE") else "NONE"},
    }


def _bits(resolution: float) -> int:
    """Converter bits of a resolution: a step over the full range if below 1, else a number of steps."""
    if resolution <= 0:
        return 0
    steps = max(resolution, min(1 / resolution, LARGEST))
    bits = round(math.log2(steps + 2))
    if abs(2**bits - 2 - steps) > 1e-3 * steps:
        raise InvalidInputError(f"a resolution of {resolution} is no whole number of bits: 2^bits - 2 steps")
    return bits


def _device(model: Any) -> tuple[dict[str, Any], list[str]]:
    """Noise model, scale and 1/f factor for `Profile`, and what has no counterpart."""
    if model is None:
        return {"noise": NOISE_MODELS["none"]}, []
    if not isinstance(model, Mapping):
        raise InvalidInputError(f"noise_model is {shown(model)}; it must be a table")
    kind = _class_of(model)
    known = NOISE_MODELS["pcm"] if kind == "PCMLikeNoiseModel" else None
    if kind == "HermesNoiseModel":
        known = NOISE_MODELS["hermes_single" if _number(model, "num_devices", 2) == 1 else "hermes"]
    if known is None:
        return {"noise": NOISE_MODELS["none"]}, [f"noise_model = {kind}"]
    unsupported = []
    if coefficients := model.get("prog_coeff"):
        reference = _number(model, "prog_coeff_g_max_reference", G_MAX[kind])
        if reference <= 0:
            raise InvalidInputError(f"prog_coeff_g_max_reference is {reference:g}; it must be above 0")
        numbers = coefficients if isinstance(coefficients, list) else [coefficients]
        sigma = tuple(_number({"prog_coeff": value}, "prog_coeff", 0.0) / reference for value in numbers)
        if sigma != known.sigma:
            source = "from an aihwkit configuration"
            known = replace(known, name=f"{known.name}-custom", sigma=sigma, source=source)
    if (times := _number(model, "drift_scale", 1.0)) != 1.0:
        known = _scaled_drift(known, times)
    for key, native in (("t_0", known.drift_reference), ("t_read", known.flicker_read_time)):
        if not math.isclose(_number(model, key, native), native):
            unsupported.append(f"noise_model.{key} = {model[key]}")
    return {
        "noise": known,
        "noise_scale": _number(model, "prog_noise_scale", 1.0),
        "flicker_noise": _number(model, "read_noise_scale", 1.0),
    }, unsupported


def _scaled_drift(model: NoiseModel, factor: float) -> NoiseModel:
    """A model whose drift exponents are all multiplied."""

    def scaled(curve: tuple[float, ...]) -> tuple[float, ...]:
        kept = {0, 5}  # where a piece starts, and its exponent
        return tuple(value if i % 10 in kept else value * factor for i, value in enumerate(curve))

    return replace(
        model,
        name=f"{model.name}-drift-{factor:g}",
        drift_mean=scaled(model.drift_mean),
        drift_deviation=scaled(model.drift_deviation),
    )


def _number(model: Mapping[str, Any], key: str, default: float) -> float:
    value = model.get(key)
    if value is None:
        return default
    if not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
        raise InvalidInputError(f"{key} is {shown(value)}; it must be a number up to {LARGEST:g}")
    return float(value)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = config.get(key) or {}
    if not isinstance(section, Mapping):
        raise InvalidInputError(f"{key} is {shown(section)}; it must be a table")
    return section


def _class_of(value: Any) -> str:
    return str(value.get("class", "unnamed")) if isinstance(value, Mapping) else str(value)


def _enumeration(value: Any) -> Any:
    """The plain name of an enumeration that was dumped as text, `Kind.NAME` or `NAME`; others as they are."""
    return value.rsplit(".", 1)[-1].upper() if isinstance(value, str) else value


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
