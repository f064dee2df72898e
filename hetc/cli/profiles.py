"""`hetc profiles`: what hardware is like. Listed, shown, checked, begun anew, fitted, taken from aihwkit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hetc.cli.command import Group
from hetc.cli.completion import all_profiles, profiles
from hetc.cli.output import as_lines, as_text, print_json, say

if TYPE_CHECKING:
    from hetc.hardware.measurements import Unit
    from hetc.hardware.noise_models import NoiseForm
    from hetc.hardware.profile import Profile

__all__ = ["profiles_command"]

FIGURE_FORMATS = ("svg", "png", "pdf")


@click.group("profiles", cls=Group)
def profiles_command() -> None:
    """Say what hardware is like: list, show, check, start, fit and convert profiles."""


@profiles_command.command("list")
def list_profiles(as_json: bool) -> None:
    """List hardware for `compile --profile`, noise models for `--noise`, and systems for `cost --costs`."""
    from hetc.costing.profile import built_in_costs, load_costs
    from hetc.hardware.noise_models import known_noise_models
    from hetc.hardware.profile import built_in_profiles, load_profile

    profiles = {name: load_profile(name) for name in built_in_profiles()}
    models = known_noise_models()
    systems = {name: load_costs(name) for name in built_in_costs()}
    if as_json:
        hardware = {name: profile.to_dict() for name, profile in profiles.items()}
        noise = {name: model.to_table(in_full=True) for name, model in models.items()}
        costs = {name: system.to_dict() for name, system in systems.items()}
        print_json({"hardware": hardware, "noise": noise, "costs": costs})
        return
    for name, profile in profiles.items():
        tile = f"{profile.tile_rows} x {profile.tile_columns}"
        click.echo(
            f"{name:14} tile {tile:10} DAC {profile.dac_bits} ADC {profile.adc_bits} {profile.noise.name}"
        )
    for name, model in models.items():
        click.echo(f"{as_text(name):14} noise, {model.form}: {as_text(model.source)}")
    for name, system in systems.items():
        click.echo(f"{name:14} costs of {system.description}")


@profiles_command.command("show")
@click.argument("profile", metavar="NAME-OR-FILE", shell_complete=all_profiles)
def show_profile(profile: str, as_json: bool) -> None:
    """Show a hardware profile, noise model or cost profile in full, as TOML."""
    from hetc.costing.profile import cost_file_text, is_cost_profile, load_costs
    from hetc.hardware.noise_models import known_noise_models
    from hetc.hardware.profile import load_profile
    from hetc.hardware.profile_toml import noise_toml, to_toml

    if is_cost_profile(profile):
        record, text = load_costs(profile).to_dict(), cost_file_text(profile)
    elif profile in (models := known_noise_models()):
        record, text = models[profile].to_table(in_full=True), noise_toml(models[profile])
    else:
        loaded = load_profile(profile)
        record, text = loaded.to_dict(), to_toml(loaded, in_full=True)
    if as_json:
        print_json(record)
    else:
        click.echo(as_lines(text), nl=False)


@profiles_command.command("new")
@click.argument("name")
@click.option(
    "--like",
    shell_complete=profiles,
    default="pcm-512",
    show_default=True,
    help="Profile to start from: a name or a file.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="TOML file to write.  [default: NAME.toml]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def new_profile(name: str, like: str, output: Path | None, force: bool, as_json: bool) -> None:
    """Write a profile called NAME with a comment on every key, to be changed (docs/own-device.md)."""
    from dataclasses import replace

    from hetc.hardware.profile import load_profile

    start = load_profile(like)
    profile = replace(start, name=name, noise=replace(start.noise, name=name))
    file = output or Path(f"{name}.toml")
    _write_commented(profile, file, force)
    if as_json:
        print_json({"file": file, "profile": profile.to_dict()})


@profiles_command.command("check")
@click.argument("file", metavar="NAME-OR-FILE")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw it, too: a .svg, .png or .pdf file.")
@click.option("--force", is_flag=True, help="Replace an existing figure.")
def check_profile(file: str, figure: Path | None, force: bool, as_json: bool) -> None:
    """Check a profile, and show what it comes to: sigma(r), drift, and the converters."""
    from hetc.cli.profile_summary import TARGETS, curves_to_dict, print_profile
    from hetc.hardware.profile import load_profile
    from hetc.reporting.device_curves import device_curves

    profile = load_profile(file)
    if figure is not None:
        _draw(profile, figure, force)
    if as_json:
        print_json(curves_to_dict(device_curves(profile, TARGETS)))
        return
    click.echo(f"profile     {as_text(profile.name)}: ok")
    print_profile(profile)


@profiles_command.command("fit")
@click.argument("measured", metavar="MEASURED.csv", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the profile and its noise model.  [default: the file's]")
@click.option(
    "--unit",
    type=click.Choice(["fraction", "microsiemens", "siemens"]),
    default="fraction",
    show_default=True,
    help="What the columns target and read count in: fractions of g_max, or a conductance.",
)
@click.option(
    "--g-max", type=float, metavar="US", help="Conductance in uS of a weight as large as its scale."
)
@click.option(
    "--g-min", type=float, default=0.0, show_default=True, help="Conductance of a device at 0; as --g-max."
)
@click.option(
    "--form",
    type=click.Choice(["differential-pair", "gaussian"]),
    default="differential-pair",
    show_default=True,
    help="Whether the targets are single devices, or signed weights.",
)
@click.option(
    "--degree", type=click.IntRange(0, 8), default=2, show_default=True, help="Of sigma's polynomial."
)
@click.option(
    "--drift-reference",
    type=float,
    metavar="S",
    help="Seconds from programming to the first readings, t0.  [default: their time]",
)
@click.option(
    "--like",
    shell_complete=profiles,
    default="pcm-512",
    show_default=True,
    help="Profile that says all but the noise.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Profile to write.  [default: NAME.toml]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def fit_profile(
    measured: Path,
    name: str | None,
    unit: Unit,
    g_max: float | None,
    g_min: float,
    form: NoiseForm,
    degree: int,
    drift_reference: float | None,
    like: str,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Fit sigma(r) and drift to measured conductances, say how well, and write a profile.

    MEASURED.csv has the columns target and read, and time in seconds where readings were taken more than
    once (docs/own-device.md).
    """
    from dataclasses import replace

    from hetc.cli.profile_summary import fit_to_dict, print_fit
    from hetc.hardware.device_fit import fit_device
    from hetc.hardware.measurements import read_measurements
    from hetc.hardware.profile import load_profile

    start = load_profile(like)
    table = read_measurements(measured, unit=unit, g_max=g_max, g_min=g_min)
    named = name or measured.stem
    fit = fit_device(
        table,
        named,
        form=form,
        degree=degree,
        drift_reference=drift_reference,
        source=f"fitted by hetc to {len(table.read)} readings of {measured.name}",
    )
    if not as_json:
        print_fit(fit)
    # Of the profile's settings, those that the new devices know nothing of are off.
    time = start.drift_time if fit.model.has_time(start.drift_time) else 0.0
    profile = replace(start, name=named, noise=fit.model, drift_time=time, flicker_noise=0.0)
    file = output or Path(f"{named}.toml")
    _write_commented(profile, file, force)
    if as_json:
        print_json({"file": file, "profile": profile.to_dict(), "fit": fit_to_dict(fit)})


@profiles_command.command("from-aihwkit")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="TOML file to write.  [default: stdout]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def convert_profile(file: Path, output: Path | None, force: bool, as_json: bool) -> None:
    """Convert an aihwkit RPUConfig, dumped as JSON, into a profile (docs/from-aihwkit.md)."""
    from hetc.base.output import whole_file
    from hetc.hardware.aihwkit_profile import from_aihwkit, read_aihwkit
    from hetc.hardware.profile_toml import to_toml

    converted = from_aihwkit(read_aihwkit(file), file.stem)
    for field in converted.unsupported:
        say(f"unsupported: {as_text(field)}")
    for section in converted.ignored:
        say(f"ignored: {as_text(section)} (training or simulator only)")
    notes = "".join(f"# not carried over: {field}\n" for field in converted.unsupported)
    text = f"# From an aihwkit configuration.\n{notes}" + to_toml(converted.profile)
    if output is not None:
        with whole_file(output, force=force) as staging:
            staging.write_text(text, "utf-8")
    if as_json:
        print_json({**asdict(converted), "profile": converted.profile.to_dict(), "file": output})
    elif output is None:
        click.echo(text, nl=False)


def _write_commented(profile: Profile, output: Path, force: bool) -> None:
    """Writes the profile and says what to type next."""
    from hetc.base.output import whole_file
    from hetc.hardware.profile_toml import commented_toml

    with whole_file(output, force=force) as staging:
        staging.write_text(commented_toml(profile), "utf-8")
    say(f"wrote {as_text(output)}")
    say(f"next: hetc profiles check {as_text(output)}")


def _draw(profile: Profile, figure: Path, force: bool) -> None:
    from hetc.base.errors import UsageError
    from hetc.base.extras import needs
    from hetc.base.output import whole_file

    kind = figure.suffix.removeprefix(".")
    if kind not in FIGURE_FORMATS:
        raise UsageError(f"--figure {figure} must end in .{', .'.join(FIGURE_FORMATS)}")
    with needs("report", "a figure of a profile"):
        from hetc.reporting.figure import PAGE, save_figure
        from hetc.reporting.profile_figure import profile_figure

    with whole_file(figure, force=force) as staging:
        save_figure(profile_figure(profile), {kind: staging}, PAGE)
    say(f"wrote {as_text(figure)}")
