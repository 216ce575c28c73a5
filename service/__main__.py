"""Runs the commands: `python -m service`."""

from service.commands.cli import main

main()
