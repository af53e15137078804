"""``python -m replay`` is ``coxswain replay``."""

from replay.cli import replay_command

if __name__ == "__main__":
    replay_command(prog_name="python -m replay")
