"""The image: both build roads, its sizes, what is refused, and how it gets to a board."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcugrad import boards, build, flash
from mcugrad.errors import InternalError, NoBoardError, OutOfMemoryError, UserError
from mcugrad.paths import ROOT

STANDIN = Path(__file__).parent / "firmware/standin"
BOARD = boards.load("nucleo_f746zg")
MARKS, STATE, ARENA = 2 * 4, 48, 4096


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build(BOARD.id, STANDIN, tmp_path_factory.mktemp("scons"))


def pio(folder: Path, *words: str, tools: str = "system") -> subprocess.CompletedProcess[str]:
    """`pio run`, offline."""
    return pio_verb(folder, "run", *words, tools=tools)


def pio_verb(folder: Path, verb: str, *words: str, tools: str = "system") -> subprocess.CompletedProcess[str]:
    """PlatformIO as on a machine that never ran it, with its registry out of reach."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLATFORMIO_")}
    env |= {
        "PLATFORMIO_CORE_DIR": str(folder / "core"),
        "PLATFORMIO_WORKSPACE_DIR": str(folder / "workspace"),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "MCUGRAD_TOOLS": tools,
        "MCUGRAD_GEN": str(STANDIN),
        "MCUGRAD_PYTHON": sys.executable,
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "platformio", *verb.split(), "-d", str(ROOT), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def toolchain_package(folder: Path, log: Path) -> None:
    """What a download from the registry leaves; its compiler is the system's, and tells when it is used."""
    package = folder / "core/packages/toolchain-gccarmnoneeabi"
    (package / "bin").mkdir(parents=True)
    entry = {"name": package.name, "version": "1.120301.0"}
    spec = {"owner": "platformio", "id": 1, "name": package.name, "requirements": None, "uri": None}
    (package / "package.json").write_text(json.dumps({**entry, "system": "*"}))
    (package / ".piopm").write_text(json.dumps({"type": "tool", **entry, "spec": spec}))
    for name in ("arm-none-eabi-gcc", "arm-none-eabi-objcopy", "arm-none-eabi-size"):
        program = package / "bin" / name
        program.write_text(f'#!/bin/sh\necho {name} >>{log}\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)


def built(folder: Path, env: str, name: str) -> bytes:
    return (folder / "workspace/build" / env / name).read_bytes()


@pytest.mark.parametrize("board", boards.known())
def test_both_roads_give_the_same_bytes(board: str, tmp_path: Path) -> None:
    done = pio(tmp_path, "-e", board)
    assert done.returncode == 0, done.stdout + done.stderr
    out = build.build(board, STANDIN, tmp_path / "scons").parent
    for name in ("firmware.bin", "firmware.elf"):
        assert built(tmp_path, board, name) == (out / name).read_bytes(), name


def test_the_registrys_toolchain_wins(elf: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    toolchain_package(tmp_path, log)
    done = pio(tmp_path, "-e", BOARD.id, tools="auto")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "arm-none-eabi-gcc" in log.read_text()
    assert built(tmp_path, BOARD.id, "firmware.elf") == elf.read_bytes()


def test_another_checkout_gives_the_same_bytes(elf: Path, tmp_path: Path) -> None:
    clone = tmp_path / "elsewhere"
    for name in ("boards", "firmware", "kernels", "host/mcugrad"):
        shutil.copytree(
            ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "_platforms*")
        )
    shutil.copy(ROOT / "SConstruct", clone)
    shutil.copytree(STANDIN, clone / "build/nucleo_f746zg/gen")
    subprocess.run([sys.executable, "-m", "SCons", "-Q", "-s"], cwd=clone, check=True, capture_output=True)
    assert (clone / "build/nucleo_f746zg/firmware.elf").read_bytes() == elf.read_bytes()


def test_image_holds_no_path_of_this_machine(elf: Path) -> None:
    assert str(ROOT).encode() not in elf.read_bytes()
    assert str(elf.parent).encode() not in elf.read_bytes()


def test_size_by_region(elf: Path) -> None:
    size = build.size(elf, BOARD)
    assert (size.arena, size.stack) == (ARENA, BOARD.stack)
    assert size.total == size.static + ARENA + BOARD.stack
    assert 0 <= (elf.parent / "firmware.bin").stat().st_size - size.flash < 8  # mg_state is aligned
    # What the firmware itself costs: 2 KB ring, 1 KB frame, counters, and code.
    assert size.static - MARKS - STATE < 3300
    assert size.flash < 7000


def test_static_bytes_do_not_depend_on_the_model(elf: Path, tmp_path: Path) -> None:
    other = shutil.copytree(STANDIN, tmp_path / "gen")
    header = (other / "model.h").read_text()
    (other / "model.h").write_text(
        header.replace("MG_NODES 4", "MG_NODES 102").replace("saturated;", "saturated, more;")
    )
    bigger = build.size(build.build(BOARD.id, other, tmp_path / "out"), BOARD)
    assert bigger.static - build.size(elf, BOARD).static == 2 * 98 + 4


def test_a_model_that_does_not_fit_says_by_how_much(tmp_path: Path) -> None:
    gen = shutil.copytree(STANDIN, tmp_path / "gen")
    header = (gen / "model.h").read_text()
    (gen / "model.h").write_text(header.replace("MG_ARENA_BYTES 4096", "MG_ARENA_BYTES 400000"))
    with pytest.raises(OutOfMemoryError, match=r"needs \d+ bytes more RAM than there is") as error:
        build.build(BOARD.id, gen, tmp_path / "out")
    assert error.value.exit_code == 6


def test_no_model_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no model\.c"):
        build.build(BOARD.id, tmp_path / "nothing", tmp_path / "out")


def test_code_that_does_not_compile_is_shown(tmp_path: Path) -> None:
    gen = shutil.copytree(STANDIN, tmp_path / "gen")
    (gen / "model.c").write_text("int broken\n")
    with pytest.raises(InternalError, match=r"model\.c"):
        build.build(BOARD.id, gen, tmp_path / "out")


def test_finds_double_precision(tmp_path: Path) -> None:
    source, image = tmp_path / "d.c", tmp_path / "d.elf"
    source.write_text("double twice(double x) { return x + x; }")
    flags = ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16", "-O2", "-c"]
    subprocess.run(["arm-none-eabi-gcc", *flags, str(source), "-o", str(image)], check=True)
    with pytest.raises(InternalError, match=r"vadd\.f64"):
        build.check_single_precision(image, BOARD)
    build.check_single_precision(image, boards.load("nucleo_h743zi"))


def test_openocd_command_comes_from_the_board_file() -> None:
    words = flash.openocd_command(BOARD, Path("x.elf"))
    assert words[:3] == ["openocd", "-f", "interface/stlink.cfg"]
    assert "target/stm32f7x.cfg" in words
    assert words[-1] == "program {x.elf} verify reset exit"


@pytest.mark.skipif(shutil.which("openocd") is None, reason="openocd is not installed")
def test_upload_without_a_probe(elf: Path, tmp_path: Path) -> None:
    with pytest.raises(NoBoardError, match="no debug probe or board found"):
        flash.flash(BOARD, elf)
    done = pio(tmp_path, "-e", "nucleo_f746zg", "-t", "upload")
    assert done.returncode == 1
    assert "no debug probe or board found" in done.stderr
    assert "Traceback" not in done.stderr


def test_upload_without_openocd(elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="openocd is not installed"):
        flash.flash(BOARD, elf)


def test_upload_to_the_emulated_board(tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    done = pio(tmp_path, "-e", "emu_nucleo_f746zg", "-t", "upload")
    folder = tmp_path / "workspace/build/emu_nucleo_f746zg"
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        port = re.search(r"port: (\S+)", done.stdout)
        assert port
        assert welcome(port[1])["board"] == "nucleo_f746zg"
        assert "with the hash that was flashed" in done.stdout
    finally:
        flash.stop_emulator(folder)


def welcome(port: str) -> dict[str, object]:
    import serial

    from mcugrad.link.frame import Decoder, encode
    from mcugrad.link.messages import Message, pack, unpack

    with serial.serial_for_url(port, 921600, timeout=0.1) as line:
        type_, payload = pack(Message("hello", {}))
        decoder = Decoder()
        for seq in range(50):
            line.write(encode(type_, seq, payload))
            for frame in decoder.feed(line.read(256)):
                message = unpack(frame.type, frame.payload)
                assert message is not None
                return dict(message.fields)
    raise AssertionError("no answer")
