"""Profiles: the built-in ones, users' own, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile, built_in_profiles, load_profile


def write(folder: Path, text: str) -> Path:
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_default_is_what_the_design_says() -> None:
    profile = load_profile()
    assert (profile.tile_rows, profile.tile_columns, profile.dac_bits, profile.adc_bits) == (512, 512, 8, 8)
    assert (profile.out_bound, profile.noise.name, profile.noise_scale) == (10.0, "pcm", 1.0)


@pytest.mark.parametrize("name", built_in_profiles())
def test_built_in_profiles_load_and_round_trip(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert Profile.from_dict(profile.to_dict()) == profile


def test_users_bring_their_own_polynomial(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'name = "mine"\n[tile]\nrows = 256\n'
        '[noise]\nmodel = "lab"\nform = "gaussian"\nsigma = [0.01, 0.02]\nscale = 2\n',
    )
    profile = load_profile(path)
    assert (profile.tile_rows, profile.tile_columns) == (256, 512)
    assert (profile.noise.name, profile.noise.sigma, profile.noise_scale) == ("lab", (0.01, 0.02), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "mine.toml"),
        ("[tile]\nrows = 1", "name"),
        ('name = "x"\ncolour = 1', "colour"),
        ('name = "x"\n[tile]\nheight = 1', "tile_height"),
        ('name = "x"\n[converters]\ndac_bits = 1', "dac_bits is 1"),
        ('name = "x"\n[converters]\nout_bound = -1.0', "out_bound"),
        ('name = "x"\n[noise]\nmodel = "magic"', "magic"),
        ('name = "x"\n[noise]\nmodel = "m"\nform = "odd"\nsigma = []', "odd"),
        ('name = "x"\n[noise]\nmodel = "pcm"\nscale = -1.0', "noise_scale"),
        ('name = "x"\n[noise]\nmodel = "pcm"\nfloor = 0.1', "needs a sigma"),
        (
            'name = "x"\n[noise]\nmodel = "m"\nform = "gaussian"\nsigma = [1, 2, 3]\nsigma_breaks = [0.5]',
            "2 poly",
        ),
        ('name = "x"\n[noise]\nmodel = "afm"\n[drift]\ntime = 60', "no drift is"),
        ('name = "x"\n[noise]\nmodel = "afm"\n[drift]\nflicker_noise = 1', "no 1/f noise"),
        ('name = "x"\n[drift]\ncompensation = "all"', "none, global, column"),
        ('name = "x"\n[product]\noutput_noise = -1', "output_noise"),
        ('name = "x"\n[converters]\nscale_mode = "row"', "column, tile"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_profile(write(tmp_path, text))


def test_missing_profile_lists_the_known() -> None:
    with pytest.raises(UsageError, match="pcm-512"):
        load_profile("nowhere.toml")


def test_unknown_noise_lists_the_known() -> None:
    with pytest.raises(UsageError, match="none, pcm, gaussian"):
        Profile().with_noise("pink", None)


def test_users_bring_their_own_drift(tmp_path: Path) -> None:
    profile = load_profile(
        write(
            tmp_path,
            """
name = "mine"
[converters]
scale_mode = "tile"
[noise]
model = "lab"
form = "differential-pair"
sigma = [0.01, 0.02]
drift_reference = 10.0
drift_mean = [{polynomial = [0.05]}, {start = 0.5, logarithm = -0.01, low = 0.0, high = 0.1}]
drift_deviation = [{polynomial = [0.01]}]
[drift]
time = 3600
compensation = "column"
[product]
output_noise = 0.04
""",
        )
    )
    assert profile.noise.drift_mean[6] == 0.05 and profile.noise.drift_mean[10:14] == (0.5, 0.0, 0.1, -0.01)
    assert (profile.drift_time, profile.drift_compensation, profile.scale_mode) == (3600, "column", "tile")
    assert profile.noisy and profile.disturbs
    assert Profile.from_dict(profile.to_dict()) == profile
