"""The commands and their options; what they need is imported when they run, so help is quick."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from landscape_fast.cli.studies import export, number_or, report, retry, status, study

Command = TypeVar("Command", bound=Callable[..., None])

app = typer.Typer(
    name="landscape-fast",
    help="Loss landscapes of trained networks: train, measure, classify, draw.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _reported(command: Command) -> Command:
    """Turn the caller's mistakes into one line and exit code 2; Ctrl-C into exit code 130."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            typer.echo("interrupted; what is finished is kept", err=True)
            raise typer.Exit(130) from None
        except (ValueError, TypeError, OSError, ImportError) as error:
            if "--traceback" in sys.argv:
                raise
            typer.echo(f"error: {_worded(error)}", err=True)
            raise typer.Exit(2) from None

    return run  # type: ignore[return-value]


def _worded(error: Exception) -> str:
    """An error of the operating system names its file first."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"landscape-fast {version('landscape_fast')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Loss landscapes of trained networks: train, measure, classify, draw."""


LoadColumn = Annotated[str, typer.Option(metavar="COLUMN", help="Load-like knob.")]
TemperatureColumn = Annotated[str, typer.Option(metavar="COLUMN", help="Temperature-like knob.")]
ThresholdOption = Annotated[Any, typer.Option(parser=number_or("data"), metavar="NUMBER|data")]

for _command in (study, status, retry, report, export):
    app.command()(_reported(_command))


@app.command()
@_reported
def classify(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="One row per cell.")],
    output: Annotated[
        Path | None, typer.Option(metavar="OUT.csv", help="The table with its phases.")
    ] = None,
    load: LoadColumn = "width",
    temperature: TemperatureColumn = "batch_size",
    sharpness: Annotated[
        str, typer.Option(metavar="COLUMN", help="Natural log of a sharpness.")
    ] = "log_hessian_trace",
    connectivity: Annotated[
        str, typer.Option(metavar="COLUMN", help="Percentage points; negative is a barrier.")
    ] = "mc_train_err",
    similarity: Annotated[
        str, typer.Option(metavar="COLUMN", help="CKA between models of a cell.")
    ] = "cka_softmax_mean",
    sharpness_threshold: ThresholdOption = 5.9,
    connectivity_threshold: ThresholdOption = -2.0,
    similarity_threshold: ThresholdOption = 0.70,
) -> None:
    """Name the phase of every cell of a table.

    A threshold is a number, or the word "data": then it is read off the table, or refused if the
    table shows no two groups.
    """
    from landscape_fast.cli.tables import classify_table

    classify_table(
        table,
        output,
        load=load,
        temperature=temperature,
        sharpness=sharpness,
        connectivity=connectivity,
        similarity=similarity,
        sharpness_threshold=sharpness_threshold,
        connectivity_threshold=connectivity_threshold,
        similarity_threshold=similarity_threshold,
    )


@app.command()
@_reported
def plot(
    source: Annotated[
        Path, typer.Argument(metavar="TABLE.csv|STUDYDIR", help="A table, or a study's folder.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Default: TABLE_figures or STUDYDIR/figures."),
    ] = None,
    load: LoadColumn = "width",
    temperature: TemperatureColumn = "batch_size",
    scales: Annotated[str, typer.Option(metavar="paper|data", help="Colour limits.")] = "paper",
    format: Annotated[
        list[str] | None, typer.Option(metavar="png|pdf|svg", help="May be repeated.")
    ] = None,
) -> None:
    """Draw the panels and, for a classified table, the phase map.

    For a study's folder, knobs, colours and formats are those of its study file.
    """
    from landscape_fast.cli.tables import plot_study, plot_table

    if source.is_dir():
        plot_study(source, output)
    else:
        plot_table(
            source,
            output,
            load=load,
            temperature=temperature,
            scales=scales,
            formats=format or ["png"],
        )


@app.command()
@_reported
def measure(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A saved state dict.")],
    model: Annotated[str, typer.Option(help="Built-in name or package.module:callable.")],
    data: Annotated[str, typer.Option(help="Built-in name or package.module:callable.")],
    width: Annotated[int | None, typer.Option(min=1, help="Of the model.")] = None,
    loss: Annotated[str, typer.Option(help="Built-in name or package.module:callable.")] = (
        "cross_entropy"
    ),
    model_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="quality, top_eigs, trace.")
    ] = "quality,top_eigs,trace",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Training samples for the Hessian. Default: all.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Eigenvalues.")] = 1,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write this file.")] = None,
) -> None:
    """Measure one trained model: loss, accuracy, top eigenvalues and trace of the Hessian."""
    from landscape_fast.cli.measure import run

    run(
        checkpoint,
        model=model,
        model_options=model_option or [],
        data=data,
        data_options=data_option or [],
        loss=loss,
        width=width,
        metrics=metrics.split(","),
        samples=samples,
        k=k,
        json_file=json,
    )
