"""The options that say which hardware is meant."""

from __future__ import annotations

import click

from hetc.cli.completion import noises, profiles

__all__ = ["noise_option", "noise_scale_option", "profile_option"]

profile_option = click.option(
    "--profile",
    shell_complete=profiles,
    help="Hardware profile: a name or a TOML file.  [default: pcm-512]",
)
noise_option = click.option(
    "--noise", shell_complete=noises, help="Programming noise model, instead of the profile's."
)
noise_scale_option = click.option(
    "--noise-scale", type=float, metavar="C", help="Factor on the programming noise."
)
