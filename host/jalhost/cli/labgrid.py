"""``jalhost labgrid``: what labgrid is told of this installation."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from jalhost.cli.options import Debug, show_help_alone

app = typer.Typer(
    help="Boards of a labgrid farm.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)


@app.command()
def env(
    place: Annotated[str, typer.Argument(help="The place with the board.")],
    debug: Debug = False,
) -> None:
    """Print an environment for labgrid's pytest plugin: jalhost labgrid env PLACE > env.yaml."""
    import json

    # Not imported: it needs labgrid, which lives in an environment of its own.
    driver = Path(__file__).resolve().parents[1] / "hil" / "labgrid_driver.py"
    beside = Path(sys.executable).parent / "jalhost"
    program = str(beside) if beside.is_file() else shutil.which("jalhost") or "jalhost"
    # Strings in JSON are strings in YAML.
    print(f"""\
targets:
  main:
    resources:
      RemotePlace:
        name: {json.dumps(place)}
    drivers:
      JalhostDriver: {{}}
tools:
  jalhost: {json.dumps(program)}
imports:
  - {json.dumps(str(driver))}""")
