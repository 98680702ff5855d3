"""PlatformIO's road to the same image: its SCons environment goes to firmware/fwbuild.py."""

import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()

if sys.version_info < (3, 11):  # noqa: UP036 - PlatformIO may run on an older one than ours
    sys.stderr.write("mcugrad needs PlatformIO on Python 3.11 or newer: pip install platformio there\n")
    env.Exit(2)
sys.path.insert(0, str(Path(env.subst("$PROJECT_DIR")) / "firmware"))

import fwbuild  # noqa: E402

from mcugrad.errors import McugradError  # noqa: E402

FLASH = r"^(?:\.vectors|\.text|\.ARM\.exidx|\.data|\.mg_state)\s+([0-9]+).*"
RAM = r"^(?:\.stack|\.dma|\.noinit|\.bss|\.data|\.mg_state|\.arena)\s+([0-9]+).*"


def checked(action):
    """Run, and turn a user's error into words and an exit code."""
    try:
        return action()
    except McugradError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code


def build():
    env.ProcessFlags(env.get("BUILD_FLAGS"))
    made = fwbuild.kernel_tests if "test" in env.GetBuildType() else fwbuild.firmware
    elf, image = made(env, env.subst("$BOARD"), env.subst("$BUILD_DIR"))
    env.Replace(PROGNAME=Path(elf[0].name).stem, PROGSUFFIX=".elf")
    env.Replace(GDB="arm-none-eabi-gdb" if env.WhereIs("arm-none-eabi-gdb") else "gdb-multiarch")
    size = {"SIZETOOL": "arm-none-eabi-size", "SIZECHECKCMD": "$SIZETOOL -A -d $SOURCES"}
    env.Replace(PIOMAINPROG=elf, SIZEPROGREGEXP=FLASH, SIZEDATAREGEXP=RAM, **size)
    check = env.VerboseAction(env.CheckUploadSize, "Checking size $PIOMAINPROG")
    AlwaysBuild(env.Alias("checkprogsize", elf, check))
    sections = env.VerboseAction("$SIZETOOL -A -d $SOURCE", "Sections")
    env.AddPlatformTarget("size", elf, sections, "Program size")
    env.AddPlatformTarget("upload", [elf, image], env.VerboseAction(upload, "Uploading $SOURCE"), "Upload")
    Default(image)


def upload(target, source, env):
    board, protocol, port = (env.subst(f"${name}") for name in ("BOARD", "UPLOAD_PROTOCOL", "UPLOAD_PORT"))
    elf, link = source[0].abspath, f"{env.subst('$PROJECT_WORKSPACE_DIR')}/tty-{env.subst('$PIOENV')}"
    return checked(lambda: fwbuild.upload(board, elf, protocol, port, link))


if status := checked(build):
    env.Exit(status)
