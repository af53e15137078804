"""``coxswain``: one entry point for every command."""

from __future__ import annotations

import importlib

import click

from controller import __version__

_COMMANDS = {
    "demo": "controller.commands.demo:demo_command",
    "worker": "controller.commands.worker:worker_command",
    "router": "controller.commands.router:router_command",
    "replay": "controller.commands.replay:replay_command",
    "plans": "controller.commands.plans:plans_command",
    "topics": "controller.commands.topics:topics_command",
    "solve": "controller.commands.solve:solve_command",
    "backtest": "controller.commands.backtest:backtest_command",
    "check": "controller.commands.check:check_command",
}


class _Lazy(click.Group):
    """A group that imports a command when it is asked for: `coxswain solve` needs no Faust, and no time for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="coxswain")
def main() -> None:
    """What should a fleet of mixed GPUs run right now, and who goes where?

    Coxswain reads how much is asked of each query type from Kafka, plans every horizon anew, and publishes plans that
    routers and provisioners follow.

    \b
    See it work, with nothing but this program:
        coxswain demo
    Plan one instance, offline:
        coxswain solve instance.json --time-limit 1
    Run it on Apache Kafka:
        coxswain topics create --partitions 8
        coxswain worker --config coxswain.yaml
        coxswain plans --follow

    Exit codes: 0 done, 1 a clear failure, 2 bad usage or bad input. Logs go to stderr.
    """
