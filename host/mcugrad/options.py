"""The options that several commands take; what each means is said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str | None, typer.Option("--model", "-m", help="Model by name, or a .safetensors file.")]
Scheme = Annotated[str | None, typer.Option(help="What is trained: full, head, bias, last-K, 49kb...")]
Channels = Annotated[str | None, typer.Option(help="Which channels a share means: l2 (norm) or fisher.")]
Data = Annotated[str | None, typer.Option(help="Dataset by name, or a folder with one sub-folder per class.")]
BoardId = Annotated[str | None, typer.Option("--board", "-b", help="Board by its id.")]
Port = Annotated[
    str | None, typer.Option("--port", "-p", help="/dev/ttyACM0, COM5, usb, usb:SERIAL; default: emulated.")
]
Epochs = Annotated[int | None, typer.Option(help="Times that every image is seen.")]
Rate = Annotated[float | None, typer.Option(help="Highest learning rate.")]
UpdateMode = Annotated[str | None, typer.Option("--update", help="How weights are kept: 8.8, int8 or fp32.")]
Samples = Annotated[int | None, typer.Option(help="Training images of one epoch; 0: all.")]
HeldOut = Annotated[int | None, typer.Option(help="Images to measure accuracy on; 0: all.")]
Html = Annotated[Path | None, typer.Option(help="Write the report as a self-contained page.")]
Seed = Annotated[int | None, typer.Option(help="Decides split, draw and order.")]
Out = Annotated[str | None, typer.Option(help="Folder that gets a folder for this run.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Job file; default: ./mcugrad.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
Tui = Annotated[bool, typer.Option("--tui", help="Fill the terminal: curves, sample, memory, time, link.")]
Resume = Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")]
