"""``python -m controller`` is ``coxswain``."""

from controller.cli import main

if __name__ == "__main__":
    main(prog_name="coxswain")
