"""THE build description: sources, flags and linker script of the firmware, for scons and PlatformIO alike.

`firmware(env, ...)` takes any SCons environment and makes the same firmware.elf and firmware.bin in both.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

from SCons.Action import Action

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "host"))

from mcugrad import boards, flash  # noqa: E402
from mcugrad.boards import Board  # noqa: E402
from mcugrad.errors import McugradError, UserError  # noqa: E402
from mcugrad.link.messages import header_text  # noqa: E402

CPU = ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard"]
# -O3: the kernels' loops gain more from unrolling than the flash costs, but not from a copy for each value of a
# condition. Contraction would change the numbers.
CODE = ["-std=gnu11", "-O3", "-fno-unswitch-loops", "-g", "-ffp-contract=off", "-fno-math-errno"]
SECTIONS = ["-ffunction-sections", "-fdata-sections"]
WARN = ["-Wall", "-Wextra", "-Werror", "-Wdouble-promotion"]
LINK = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,--fatal-warnings", "-Wl,--build-id=none"]
CASES = ["host/mcugrad/ops", "host/tests/kernels"]  # what the kernels' vectors are made from
GENERATED = ["model.c", "params.c", "model.h", "params.h", "manifest.json"]


def generated(board_id: str) -> str:
    """Where the compiler leaves a board's C, relative to the root."""
    return f"build/{board_id}/gen"


FIRMWARE = [f"firmware/{name}.c" for name in ("main", "train", "state", "cycles", "link", "frame")]
SCRIPT_SOURCES = ["firmware/link.ld.in", "firmware/fwbuild.py", "host/mcugrad/boards.py"]
VECTORS = ["firmware/test/test_kernels/vectors.c"]


def sources(board: Board, own: list[str]) -> list[str]:
    """C files of one board's image, relative to the root, without the generated ones."""
    chip = [f"firmware/chip/{name}.c" for name in ("cortex_m7", "stm32_uart", "stm32_watchdog", board.chip)]
    return own + chip + sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "kernels").glob("*.c"))


def flags(board: Board, out: str, gen: str) -> list[str]:
    """Compiler flags; the prefix maps take paths that depend on the road or the machine out of the image."""
    maps = [f"-ffile-prefix-map={old}={new}" for old, new in ((ROOT, "."), (out, "out"), (gen, "gen"))]
    return [*CPU, f"-mfpu={board.fpu}", *CODE, *SECTIONS, *WARN, *maps]


def linker_script(board: Board, manifest: Path | None) -> str:
    """link.ld.in filled in with the board's memories, and where in them the model of a manifest lies."""
    model = json.loads(manifest.read_text()) if manifest else {}
    # What an image without a model keeps there is not known before it is linked: the largest memory.
    sizes = {part: model.get(f"{part}_bytes", sys.maxsize) for part in ("arena", "state")}
    homes = board.homes(sizes)
    homes["dma"] = board.region(board.place["dma"])
    ring = next(m for m in board.ram if m.name == board.place["dma"])
    lines = [f"    {m.name} (rwx) : ORIGIN = {m.origin:#x}, LENGTH = {m.size}" for m in board.regions]
    return Template((ROOT / "firmware/link.ld.in").read_text()).substitute(
        board=board.id,
        flash_origin=hex(board.flash.origin),
        flash_size=board.flash.size,
        regions="\n".join(lines),
        main=board.regions[0].name,
        stack=board.stack,
        dma_end=hex(ring.end),
        dma_name=ring.name,
        **{part: home.name for part, home in homes.items()},
    )


def relative(path: str) -> str:
    """As SCons prints it: from the root where it lies under it."""
    full = (ROOT / path).resolve()
    return full.relative_to(ROOT).as_posix() if full.is_relative_to(ROOT) else full.as_posix()


def firmware(env: Any, board_id: str, out: str, gen: str | None = None) -> tuple[Any, Any]:
    """Declare one board's image; the nodes of firmware.elf and firmware.bin.

    `out` takes what is built. `gen`, else the variable MCUGRAD_GEN, names the folder of the model's C; where
    neither does and nobody has compiled a model yet, the default job is.
    """
    board = boards.load(board_id)
    out, gen = relative(out), relative(gen or os.environ.get("MCUGRAD_GEN") or generated(board_id))
    require(env, "arm-none-eabi-gcc", "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    configure(env, board, out, gen)
    made = model_sources(env, board, gen)
    return link(env, board, out, "firmware", FIRMWARE, made, model_manifest(gen))


def kernel_tests(env: Any, board_id: str, out: str) -> tuple[Any, Any]:
    """The same for the image that runs the kernels' vectors and says so in Unity's format."""
    board, out = boards.load(board_id), relative(out)
    require(env, "arm-none-eabi-gcc", "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    configure(env, board, out, "firmware/test/test_kernels")
    cases = f"{out}/vectors/cases.c"
    here = [node(p.relative_to(ROOT).as_posix()) for f in CASES for p in sorted((ROOT / f).glob("*.py"))]
    env.Command(node(cases), here, [[*host_module("tests.kernels.vectors"), "$TARGET.abspath"]])
    return link(env, board, out, "kernels", VECTORS, [cases])


def link(
    env: Any, board: Board, out: str, name: str, own: list[str], made: list[str], manifest: str | None = None
) -> tuple[Any, Any]:
    """`own`: C files of the checkout; `made`: generated ones. All of it into <name>.elf and .bin."""
    script = script_file(env, board, f"{out}/link.ld", manifest)
    text_file(env, f"{out}/inc/messages.h", header_text())
    objects = [compile_c(env, board, f"{out}/obj/{path[:-2]}.o", path) for path in sources(board, own)]
    objects += [compile_c(env, board, f"{out}/obj/gen/{Path(path).stem}.o", path) for path in made]
    linkflags = [*env["LINKFLAGS"], "-T", script[0].path]
    elf = env.Program(node(f"{out}/{name}.elf"), objects, LINKFLAGS=linkflags)
    env.Depends(elf, script)
    image = env.Command(node(f"{out}/{name}.bin"), elf, "$OBJCOPY -O binary $SOURCE $TARGET")
    return elf, image


def configure(env: Any, board: Board, out: str, gen: str) -> None:
    includes = ["firmware", "firmware/chip", "kernels", "boards", gen, f"{out}/inc"]
    env.Replace(CC="arm-none-eabi-gcc", LINK="$CC", OBJCOPY="arm-none-eabi-objcopy", PROGSUFFIX="")
    numbers = {"MG_BOARD": board.id, "MG_CPU_HZ": f"{board.cpu_hz}u", "MG_BAUD": f"{board.baud}u"}
    env.Append(CPPDEFINES=[*numbers.items()])
    env.Append(CCFLAGS=flags(board, out, gen), CPPPATH=[node(path) for path in includes])
    env.Append(LINKFLAGS=[*CPU, f"-mfpu={board.fpu}", *LINK])


def compile_c(env: Any, board: Board, target: str, source: str) -> Any:
    unit = env.Object(node(target), node(source))
    env.Depends(unit, node(f"boards/{board.id}.h"))  # included by a macro, which SCons does not see through
    return unit


def model_sources(env: Any, board: Board, gen: str) -> list[str]:
    folder = ROOT / gen
    found = sorted(folder.glob("*.c"))
    if found:
        return [relative(str(path)) for path in found]
    if gen != generated(board.id):
        raise UserError("there is no model.c", str(folder), "give GEN the folder of a compiled model")
    env.Command([node(f"{gen}/{name}") for name in GENERATED], [], [generator(board)])
    return [f"{gen}/{name}" for name in GENERATED if name.endswith(".c")]


def model_manifest(gen: str) -> str | None:
    """The manifest of a model that was or will be compiled; None for C without one."""
    to_come = not any((ROOT / gen).glob("*.c"))
    return f"{gen}/manifest.json" if to_come or (ROOT / gen / "manifest.json").exists() else None


def generator(board: Board) -> list[str]:
    return [*host_module("mcugrad"), "compile", "--board", board.id]


def host_module(name: str) -> list[str]:
    """The command that runs a module of host/."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "host"), os.environ.get("PYTHONPATH", "")])
    return [flash.python(), "-m", name]


def node(path: str) -> str:
    """A path from the root, whichever folder the calling script lies in."""
    return path if Path(path).is_absolute() else f"#{path}"


def script_file(env: Any, board: Board, path: str, manifest: str | None) -> Any:
    """The linker script, made when the manifest is there."""

    def write(target: Any, source: Any, env: Any) -> None:
        found = Path(source[0].abspath) if manifest else None
        Path(target[0].abspath).write_text(linker_script(board, found))

    made_of = [f"boards/{board.id}.json", *SCRIPT_SOURCES]
    facts = [node(name) for name in ([manifest, *made_of] if manifest else made_of)]
    return env.Command(node(path), facts, Action(write, "write $TARGET"))


def text_file(env: Any, path: str, text: str) -> Any:
    return env.Command(node(path), env.Value(text), Action(write_text, "write $TARGET"))


def write_text(target: Any, source: Any, env: Any) -> None:
    Path(target[0].abspath).write_text(source[0].get_text_contents())


def require(env: Any, program: str, fix: str) -> None:
    path = env["ENV"].get("PATH", "")
    if shutil.which(program, path=path) is None:
        raise UserError(f"{program} is not installed", "PATH", fix)


def upload(board_id: str, elf: str, protocol: str, port: str = "", link: str = "") -> None:
    """Put an image on the board, real or emulated; ask it at its port whether it runs that very image.

    `port` of a real board, else the only one on USB. `link`: a name that the emulated one's port gets.
    """
    board, image = boards.load(board_id), Path(elf)
    if protocol == "emulator":
        port = flash.start_emulator(board, image, image.parent, link)
        print(f"the emulated {board.name} runs it\n  port: {port}")
    else:
        flash.flash(board, image)
        port = port or "usb"
        print(f"the {board.name} is programmed")
    if image.name == "firmware.elf":
        verify(port, image)
        print(f"  next: python host/train_on_board.py --port {port}")


def verify(port: str, image: Path) -> None:
    """UserError where the board at the port does not answer with the hash of the image's model."""
    command = [*host_module("mcugrad.checkup"), port, str(image)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr, done.returncode)
    print(done.stdout, end="")


class Refused(McugradError):
    """What the check said, with its exit code."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words.strip())
        self.exit_code = code
