"""``coxswain backtest``: estimators and policies on recorded traffic, scored in money."""

from __future__ import annotations

import json
from pathlib import Path

import click

from controller.commands.options import with_exit_codes
from controller.errors import InputError
from controller.simulate.backtest import START_S
from controller.simulate.chart import bars
from controller.simulate.named_rules import named_rules, our_rule
from controller.simulate.report import Report, as_table, run_backtest
from controller.simulate.series import read_series
from replay.mapping import load_type_map

_EPILOG = """\b
Examples:
  coxswain backtest traces/servegen_day/*.csv.gz
  coxswain backtest traces/*.csv --window 600 --rho 10 --json
  coxswain backtest traces/week.csv --map types.yaml --output report/

Exit codes: 0 done; 2 the usage or a trace is wrong.
"""


@click.command("backtest", epilog=_EPILOG)
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--window",
    "window_s",
    type=click.FloatRange(min=1.0),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Length of a window, which is also how often rules decide.",
)
@click.option(
    "--rho",
    "rhos",
    type=click.FloatRange(min=1.01),
    multiple=True,
    default=(5.0, 10.0, 20.0),
    show_default=True,
    help="Penalty of an unmet request over the rent of the capacity for it; may be repeated.",
)
@click.option(
    "--start",
    "start_s",
    type=click.FloatRange(min=0.0),
    default=START_S,
    show_default=True,
    metavar="S",
    help="Rent that a start costs before it serves.",
)
@click.option(
    "--matched-unmet",
    type=click.FloatRange(min=0.0, max=0.5),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Compare what rules rent where they leave this share unmet; 0 for no such comparison.",
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(path_type=Path),
    metavar="MAP.yaml",
    help="Split each file into query types by this map.  [default: a file is one series]",
)
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--output",
    "output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write report.json, report.md and cost.svg here, too.",
)
@with_exit_codes
def backtest_command(
    traces: tuple[Path, ...],
    window_s: float,
    rhos: tuple[float, ...],
    start_s: float,
    matched_unmet: float,
    map_path: Path | None,
    is_json: bool,
    output: Path | None,
) -> None:
    """Play TRACE files through the rules in common use and through ours, and compare what they would have cost.

    One resource: a replica serves a tenth of a series' mean; rent, starts and penalties are divided by what a
    clairvoyant with divisible capacity would pay, so 1 is perfect. No rule sees a window before it is over.

    A .tar.xz is read as an archive of ServeGen's rates, in windows of 600 s.
    """
    type_map = None if map_path is None else load_type_map(map_path)
    series = read_series(traces, window_s, type_map)
    report = run_backtest(
        series,
        [*named_rules(), our_rule()],
        rhos,
        start_s,
        matched_unmet,
        on_progress=lambda name: click.echo(f"playing {name}", err=True),
    )
    if output is not None:
        _write(report, output)
    click.echo(json.dumps(report.to_json(), indent=2, ensure_ascii=False) if is_json else as_table(report))


def _write(report: Report, folder: Path) -> None:
    names = list(dict.fromkeys(summary.rule for summary in report.summaries))
    costs = {
        f"ρ = {rho:g}": [s.cost for name in names for s in report.summaries if (s.rule, s.rho) == (name, rho)]
        for rho in dict.fromkeys(summary.rho for summary in report.summaries)
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(
            json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (folder / "report.md").write_text(as_table(report) + "\n", encoding="utf-8")
        picture = bars("Cost, a clairvoyant's being 1 (bars begin there)", names, costs, floor=1.0)
        (folder / "cost.svg").write_text(picture, encoding="utf-8")
    except OSError as problem:
        raise InputError("--output", f"cannot be written: {problem.strerror}", str(folder)) from None
