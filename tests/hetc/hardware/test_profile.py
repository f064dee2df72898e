"""Profiles: the built-in ones, users' own, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hetc.base.errors import InvalidInputError, UsageError
from hetc.hardware.profile import Profile, built_in_profiles, load_profile

OWN = 'name = "x"\n[noise]\nmodel = "m"\nform = "gaussian"\n'


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
        ('name = "x"\n[tile]\nheight = 1', "tile.height"),
        ('name = "x"\n[converters]\ndac_bits = 1', "dac_bits is 1"),
        ('name = "x"\n[converters]\nout_bound = -1.0', "out_bound"),
        ('name = "x"\n[noise]\nmodel = "magic"', "magic"),
        ('name = "x"\n[noise]\nmodel = "m"\nform = "odd"\nsigma = []', "odd"),
        ('name = "x"\n[noise]\nmodel = "pcm"\nscale = -1.0', "noise.scale"),
        ('name = "x"\n[noise]\nmodel = "pcm"\nfloor = 0.1', "needs noise.sigma"),
        (
            'name = "x"\n[noise]\nmodel = "m"\nform = "gaussian"\nsigma = [1, 2, 3]\nsigma_breaks = [0.5]',
            "2 poly",
        ),
        ('name = "x"\n[noise]\nmodel = "afm"\n[drift]\ntime = 60', "no drift is"),
        ('name = "x"\n[noise]\nmodel = "afm"\n[drift]\nflicker_noise = 1', "no 1/f noise"),
        ('name = "x"\n[drift]\ncompensation = "all"', "none, global, column"),
        ('name = "x"\n[product]\noutput_noise = -1', "output_noise"),
        ('name = "x"\n[converters]\nscale_mode = "row"', "column, tile"),
        ('name = "x"\ntile = 512', "tile is 512; it must be a table"),
        ("name = 5", "name is 5; it must be text"),
        ('name = "x"\n[tile]\nrows = 512.5', "tile.rows is 512.5; it must be a whole number"),
        ('name = "x"\n[tile]\nrows = 512.0', "tile.rows is 512.0; it must be a whole number"),
        ('name = "x"\n[tile]\nrows = true', "tile.rows is true; it must be a whole number"),
        ('name = "x"\n[converters]\ndac_bits = 8.5', "converters.dac_bits is 8.5; it must be 0 .* 2 to 16"),
        (OWN + "sigma = [nan]", r"noise.sigma\[0\] is nan; it must be a finite number"),
        (OWN + "sigma = [-inf]", r"noise.sigma\[0\] is -inf"),
        (OWN + "sigma = [1e300]", r"noise.sigma\[0\] is 1e\+300; it must be a number from -1e6 to 1e6"),
        (OWN + "sigma = []", "sigma has 0 numbers"),
        (OWN + "sigma = [1]\nscale = inf", "noise.scale is inf"),
        (OWN + "sigma = [1]\ndrift_reference = 0", "drift_reference is 0; it must be seconds from"),
        (OWN + "sigma = [1, 1]\nsigma_breaks = [2]", r"sigma_breaks\[0\] is 2; it must be .* 0 to 1"),
        (OWN + "sigma = [1, 1, 1]\nsigma_breaks = [0.5, 0.2]", "in ascending order"),
        (OWN + "sigma = [1]\ndrift_mean = [{start = 0.5}, {}]", "ascending order of their start"),
        (OWN + "sigma = [1]\ndrift_mean = [{polynomial = [1, 1, 1, 1, 1]}]", "a list of at most 4"),
        (OWN + "sigma = [1]\ndrift_mean = [{slope = 1}]", r"unknown key noise.drift_mean\[0\].slope"),
        ("a = " + "[" * 100_000, "mine.toml is not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_profile(write(tmp_path, text))


def test_values_from_python_are_checked_like_those_of_a_file() -> None:
    with pytest.raises(InvalidInputError, match=r"tile.rows is 512.5; it must be a whole number"):
        Profile(tile_rows=512.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"noise.scale is nan"):
        Profile(noise_scale=float("nan"))


def test_the_digest_tells_profiles_apart(tmp_path: Path) -> None:
    mine = load_profile(write(tmp_path, OWN.replace('"m"', '"pcm"') + "sigma = [0.5, 0.02]"))
    assert mine.digest == Profile.from_dict(mine.to_dict()).digest
    assert mine.digest != load_profile().digest


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = '\xe9'"])
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"mine\.toml is not UTF-8"):
        load_profile(tmp_path / "mine.toml")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(InvalidInputError, match="no regular file"):
        load_profile(tmp_path / "pipe.toml")
    with pytest.raises(InvalidInputError, match="is a folder"):
        load_profile(tmp_path)


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
