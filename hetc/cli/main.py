"""`hetc`: the command group. Commands load on use, so that `hetc --help` answers at once."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from importlib import import_module

import click

from hetc.base.errors import HetcError, OutputError
from hetc.base.version import __version__
from hetc.cli.command import Group
from hetc.cli.output import as_lines

__all__ = ["main"]

READER_LEFT = 128 + signal.SIGPIPE

COMMANDS = {
    "bake": "Write the noise into the weights, for runtimes without the library.",
    "calibrate": "Record what enters the crossbars on calibration text.",
    "compare": "Say what differs between two plans, bundles or scores.",
    "compile": "Place the experts and write a bundle that runs.",
    "cost": "Calculate tokens per second, watts and joules per token.",
    "doctor": "Say what is installed and whether the library loads.",
    "evaluate": "Measure loss on text, or accuracy on lm-eval's tasks.",
    "explain": "Say why units are where they are.",
    "export": "Turn a Hugging Face language model into ONNX.",
    "inspect": "Show a model, plan or bundle.",
    "mitigate": "Rewrite a model so that noise and converters hurt it less.",
    "partition": "Cut a bundle into one model per partition and target.",
    "profiles": "List, show, check, start and fit hardware profiles.",
    "report": "Write one offline HTML page on a plan, its costs and results.",
    "run": "Generate text with a bundle, or with a plan on its checkpoint.",
    "score": "Measure what each unit's noise costs, on text.",
    "sweep": "Measure over fractions, scores, noises and seeds.",
    "tokens": "Turn text into token ids that other commands read.",
    "tune": "Find the smallest digital share that keeps a metric.",
    "verify": "Check that a bundle does what its plan says.",
}


class LazyGroup(Group):
    """A group whose commands live in `hetc.cli.NAME`, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"hetc.cli.{cmd_name}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def hetc() -> None:
    """Compile Mixture-of-Experts models for heterogeneous analog/digital hardware.

    \b
        hetc compile model.onnx --digital-frac 0.25
    """


def main() -> None:
    """Entry point: runs the command and turns errors into one message and the documented exit code.

    0 done, 1 internal error, 2 usage, 3 bad model, plan, profile or data, 4 verification failed, 5 runtime or
    library missing, 6 output can't be written; 130 interrupted, 141 the reader of the output has left, 143
    terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale may lack letters that a name has
    # As an exception it lets every command clean up after itself.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        hetc.main(prog_name="hetc", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(as_lines(said.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except SystemExit as end:
        sys.exit(READER_LEFT if end.code == 1 else end.code)  # click ends with 1 on a broken pipe, alone
    except HetcError as error:
        click.echo(f"error: {as_lines(error)}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        click.echo(f"error: {as_lines(f'{where}{error.strerror or error}')}", err=True)
        sys.exit(OutputError.exit_code)
    except Exception:
        logging.getLogger(__name__).exception("internal error; please report it with the lines below")
        sys.exit(1)


if __name__ == "__main__":
    main()
