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

env.ProcessFlags(env.get("BUILD_FLAGS"))


def checked(action):
    """Run, and turn a user's error into words and an exit code."""
    try:
        return action()
    except McugradError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code


def build():
    elf, image = fwbuild.firmware(env, env.subst("$BOARD"), env.subst("$BUILD_DIR"))
    env.Replace(PIOMAINPROG=elf)
    Default(image)
    AlwaysBuild(env.Alias("upload", [elf, image], env.VerboseAction(upload, "Uploading $SOURCE")))


def upload(target, source, env):
    protocol = env.subst("$UPLOAD_PROTOCOL")
    return checked(lambda: fwbuild.upload(env.subst("$BOARD"), source[0].abspath, protocol))


if status := checked(build):
    env.Exit(status)
