"""Nothing has drifted: losses, instructions of each node and memory are those that the repository keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from hil_tests import figures, rig
from hil_tests.rig import Bench, Image
from mcugrad.errors import UserError

STEPS = {"digits-tiny": 20, "mcunet-5fps": 3}


@pytest.fixture(params=[("digits-tiny", "10kb"), ("mcunet-5fps", "49kb")], ids="-".join)
def job(
    request: pytest.FixtureRequest, bench: Bench, pytestconfig: pytest.Config
) -> Iterator[tuple[Image, Bench]]:
    """The image of a job, and a board that runs it."""
    if pytestconfig.getoption("baselines") == "off":
        pytest.skip("give --baselines compare")
    try:
        image = rig.image(bench.board, *request.param)
    except UserError as error:
        pytest.skip(" ".join(str(error).split()))
    if bench.cable is None and request.param != (rig.MODEL, rig.SCHEME):
        pytest.skip("the board has the default model's image")
    own = rig.emulate(image, bench.log.parent, f"{image.name}-{bench.log.stem}") if bench.cable else bench
    yield image, own
    if own is not bench:
        own.close()


def test_nothing_has_drifted(
    job: tuple[Image, Bench], pytestconfig: pytest.Config, kept: dict[str, dict]
) -> None:
    image, bench = job
    session = bench.connect(image)
    session.reset()
    found = figures.measure(image, session, STEPS[image.compiled.manifest["model"]])
    session.close()
    kept[f"{image.board} {image.name}"] = found
    path = figures.baseline(image, bench.cable is not None)
    if pytestconfig.getoption("baselines") == "update":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(figures.text(found))
    elif not path.exists():
        pytest.fail(f"no baseline {path}: give --baselines update", pytrace=False)
    elif lines := figures.differences(found, json.loads(path.read_text())):
        meant = "if this is meant: pytest hil_tests --baselines update, and commit hil_tests/baselines"
        pytest.fail("\n  ".join([f"{image.board} {image.name} has drifted:", *lines, meant]), pytrace=False)
