"""``coxswain replay``: the replayer, let in by the settings of ``kafka`` as every other command is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from controller.commands.options import config_option, read_settings, with_exit_codes
from replay.cli import replay_command as standalone


@with_exit_codes
def _replay(config: Path | None, bootstrap: str, **options: Any) -> None:
    context = click.get_current_context()
    is_told = context.get_parameter_source("bootstrap") is not ParameterSource.DEFAULT
    kafka = read_settings(config, bootstrap if is_told else None).kafka
    context.obj = kafka.security_options()
    context.invoke(standalone, bootstrap=kafka.bootstrap_servers, **options)


replay_command = config_option(
    click.Command(
        standalone.name,
        callback=_replay,
        params=list(standalone.params),
        help=standalone.help,
        context_settings=standalone.context_settings,
    )
)
