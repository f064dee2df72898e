"""`hetc profiles`: hardware and cost profiles that come with hetc, and conversion from aihwkit."""

from __future__ import annotations

from pathlib import Path

import click

from hetc.cli.output import as_lines, as_text, json_option, print_json

__all__ = ["profiles_command"]


@click.group("profiles")
def profiles_command() -> None:
    """List and show hardware profiles and cost profiles; convert hardware profiles."""


@profiles_command.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the built-in profiles: hardware for `compile --profile`, systems for `cost --costs`."""
    from hetc.costing.profile import built_in_costs, load_costs
    from hetc.hardware.profile import built_in_profiles, load_profile

    profiles = {name: load_profile(name) for name in built_in_profiles()}
    systems = {name: load_costs(name) for name in built_in_costs()}
    if as_json:
        hardware = {name: profile.to_dict() for name, profile in profiles.items()}
        print_json({**hardware, **{name: system.to_dict() for name, system in systems.items()}})
        return
    for name, profile in profiles.items():
        tile = f"{profile.tile_rows} x {profile.tile_columns}"
        click.echo(
            f"{name:12} tile {tile:10} DAC {profile.dac_bits} ADC {profile.adc_bits} {profile.noise.name}"
        )
    for name, system in systems.items():
        click.echo(f"{name:12} costs of {system.description}")


@profiles_command.command("show")
@click.argument("profile", metavar="NAME-OR-FILE")
@json_option
def show_profile(profile: str, as_json: bool) -> None:
    """Show a hardware or cost profile in full, as TOML."""
    from hetc.costing.profile import cost_file_text, is_cost_profile, load_costs
    from hetc.hardware.profile import load_profile
    from hetc.hardware.profile_toml import to_toml

    if is_cost_profile(profile):
        record, text = load_costs(profile).to_dict(), cost_file_text(profile)
    else:
        loaded = load_profile(profile)
        record, text = loaded.to_dict(), to_toml(loaded)
    if as_json:
        print_json(record)
    else:
        click.echo(as_lines(text), nl=False)


@profiles_command.command("from-aihwkit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="TOML file to write.  [default: stdout]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def convert_profile(file: Path, output: Path | None, force: bool) -> None:
    """Convert an aihwkit RPUConfig, dumped as JSON, into a profile (docs/from-aihwkit.md)."""
    from hetc.base.output import whole_file
    from hetc.hardware.aihwkit_profile import from_aihwkit, read_aihwkit
    from hetc.hardware.profile_toml import to_toml

    converted = from_aihwkit(read_aihwkit(file), file.stem)
    for field in converted.unsupported:
        click.echo(f"unsupported: {as_text(field)}", err=True)
    for section in converted.ignored:
        click.echo(f"ignored: {as_text(section)} (training or simulator only)", err=True)
    notes = "".join(f"# not carried over: {field}\n" for field in converted.unsupported)
    text = f"# From an aihwkit configuration.\n{notes}" + to_toml(converted.profile)
    if output is None:
        click.echo(text, nl=False)
    else:
        with whole_file(output, force=force) as staging:
            staging.write_text(text, "utf-8")
