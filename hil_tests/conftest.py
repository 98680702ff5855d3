"""The boards under test: `pytest hil_tests --port /dev/ttyACM0 --board <id>`; else their emulated twins.

pytest-embedded's `serial` service holds the port and its log; `session` talks our frames over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil_tests import rig
from hil_tests.figures import Figures
from hil_tests.rig import Bench, Image
from mcugrad import boards, flash, paths
from mcugrad.errors import McugradError
from mcugrad.link.session import Session

REPORTS = paths.BUILD / "hil"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    # pyproject.toml keeps it from the other tests; here it brings --port, --count, --root-logdir.
    pluginmanager.import_plugin("pytest_embedded.plugin")
    group = parser.getgroup("mcugrad")
    group.addoption("--board", default="nucleo_f746zg", help="a board id of boards/; several: a|b")
    group.addoption("--baselines", choices=("off", "compare", "update"), default="off")
    group.addoption("--long", action="store_true", help="500 steps through each fault instead of 50")
    group.addoption("--figures", type=Path, help="file that gets what the boards took, as JSON")
    group.addoption(
        "--upload", action="store_true", help="put the images on real boards through their probes"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest-embedded sets its fixtures up for every test of a run; only those here need them."""
    for item in items:
        if isinstance(item, pytest.Function) and Path(__file__).parent not in item.path.parents:
            made = item._fixtureinfo.name2fixturedefs
            item.fixturenames[:] = [n for n in item.fixturenames if not is_embedded(n, made.get(n))]


def is_embedded(name: str, definitions: Any) -> bool:
    """Whether a fixture is the plugin's, or what only its `app_path` asks for."""
    home = definitions[-1].func.__module__ if definitions else ""
    return home == "pytest_embedded.plugin" or name == "record_xml_attribute"


def of_each(config: pytest.Config, option: str) -> list[str | None]:
    """The option's value for each of --count boards."""
    count, given = config.getoption("count"), config.getoption(option)
    values = given.split("|") if given else [None]
    if len(values) not in (1, count):
        raise pytest.UsageError(f"--{option} has {len(values)} values, --count is {count}")
    if option == "port" and given and len(values) < count:
        raise pytest.UsageError(f"--count {count} needs as many ports: --port '/dev/ttyACM0|/dev/ttyACM1'")
    return values * (count // len(values))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of one board runs on each."""
    if "number" in metafunc.fixturenames:
        count = metafunc.config.getoption("count")
        metafunc.parametrize("number", range(count), ids=[f"board{i}" for i in range(count)], scope="session")


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Iterator[dict[str, Figures]]:
    """What was measured, by board and job; written at the end to --figures."""
    found: dict[str, Figures] = {}
    yield found
    if path := pytestconfig.getoption("figures"):
        path.write_text(json.dumps(found))


@pytest.fixture(scope="session")
def images(pytestconfig: pytest.Config) -> list[Image]:
    """The default model, compiled and built for each board; a real board must have been flashed with it."""
    return [rig.image(board or "") for board in of_each(pytestconfig, "board")]


@pytest.fixture(scope="session")
def benches(pytestconfig: pytest.Config, images: list[Image]) -> Iterator[list[Bench]]:
    """All boards; those without a port are emulated for as long as the tests run."""
    benches = []
    for number, (image, port) in enumerate(zip(images, of_each(pytestconfig, "port"), strict=True)):
        folder = REPORTS / image.board
        log = folder / f"board{number}.log"
        log.unlink(missing_ok=True)
        benches.append(
            Bench(image.board, port, log) if port else rig.emulate(image, folder, f"board{number}")
        )
    upload = pytestconfig.getoption("upload")
    refuse([why for pair in zip(benches, images, strict=True) if (why := missing(*pair, upload))])
    yield benches
    for bench in benches:
        bench.close()


def missing(bench: Bench, image: Image, upload: bool) -> McugradError | None:
    """Why a board cannot be tested: absent, busy, forbidden, silent, or another firmware."""
    try:
        if upload and not bench.cable:
            flash.flash(boards.load(bench.board), image.elf)
        bench.connect(image).close()
    except McugradError as error:
        return error
    return None


def refuse(reasons: list[McugradError]) -> None:
    """End the whole run with one line a reason, instead of one for every test."""
    if reasons:
        lines = [" ".join(str(reason).split()) for reason in reasons]
        pytest.exit("\n".join(["no test has run:", *lines]), returncode=reasons[0].exit_code)


@pytest.fixture
def bench(benches: list[Bench], number: int) -> Iterator[Bench]:
    """The board under test; its line is sound again afterwards."""
    yield benches[number]
    if cable := benches[number].cable:
        cable.quiet()


@pytest.fixture
def image(images: list[Image], number: int) -> Image:
    return images[number]


@pytest.fixture
def embedded_services() -> str:
    return "serial"


@pytest.fixture
def app_path() -> str:
    """pytest-embedded's own puts it into the JUnit file by an experimental function, which warns."""
    return str(paths.ROOT)


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Any:
    """Open ports for pytest-embedded's `serial`; one line says why there is none."""
    if "serial" not in request.fixturenames:
        return None
    opened = [bench.open() for bench in request.getfixturevalue("benches")]
    return opened[0] if len(opened) == 1 else tuple(opened)


@pytest.fixture
def sessions(benches: list[Bench], images: list[Image], serial: Any) -> Iterator[list[Session]]:
    """All boards, fresh from reset, spoken to in frames; pytest-embedded's own reader stays out of it."""
    services = serial if isinstance(serial, list | tuple) else [serial]
    opened = []
    for bench, image, service in zip(benches, images, services, strict=True):
        service.stop_redirect_thread()
        opened.append(bench.connect(image, port=service.proc))
        opened[-1].reset()
    yield opened
    for session in opened:
        session.close()


@pytest.fixture
def session(sessions: list[Session], number: int) -> Session:
    """The board under test, fresh from reset."""
    return sessions[number]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failure shows the last frames and where the rest is."""
    report = yield
    if report.failed:
        for bench in getattr(item, "funcargs", {}).get("benches") or []:
            if bench.log.exists():
                report.sections.append((f"last frames, all in {bench.log}", tail(bench.log)))
    return report


def tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text().splitlines()[-lines:])
