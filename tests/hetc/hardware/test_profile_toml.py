"""Profiles written with comments read back as the same, and explain every key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hetc.base.schema_keys import schema_keys
from hetc.hardware.noise_models import NOISE_MODELS
from hetc.hardware.profile import Profile, built_in_profiles, load_profile
from hetc.hardware.profile_toml import commented_toml, noise_toml, to_toml

PROFILES = [load_profile(name) for name in built_in_profiles()]
PROFILES += [Profile(name=name, noise=model) for name, model in NOISE_MODELS.items()]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_written_in_full_it_reads_back_as_the_same(tmp_path: Path, profile: Profile) -> None:
    for text in (commented_toml(profile), to_toml(profile, in_full=True), to_toml(profile)):
        (tmp_path / "p.toml").write_text(text)
        assert load_profile(tmp_path / "p.toml") == profile


def test_every_key_of_the_schema_is_there_below_its_comment() -> None:
    text = commented_toml(load_profile())
    lines = text.splitlines()
    for key in schema_keys("profile").values():
        name = key.path.rsplit(".", 1)[-1]
        first = f"{key.meaning[0].upper()}{key.meaning[1:]}"[:40]
        if key.path.endswith(f"[].{name}"):
            assert f"#   {name}: {first}" in text
        else:
            written = [
                n for n, line in enumerate(lines) if line == f"[{name}]" or line.startswith(f"{name} = ")
            ]
            assert written, key.path
            above = "\n".join(lines[max(0, written[0] - 14) : written[0]])
            assert f"# {first}" in above, key.path
    assert max(map(len, (line for line in lines if line.startswith("#")))) <= 100


def test_a_noise_model_is_a_section_that_can_be_pasted(tmp_path: Path) -> None:
    mine = replace(NOISE_MODELS["afm"], name="mine")
    (tmp_path / "p.toml").write_text('name = "mine"\n\n' + noise_toml(mine))
    assert load_profile(tmp_path / "p.toml").noise == mine
