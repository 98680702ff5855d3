"""The packages tool-scons and tool-cppcheck, made of the installed programs where none can be fetched."""

import json
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.package.manager.tool import ToolPackageManager
from platformio.package.meta import PackageSpec

LAUNCHER = '''"""Runs the SCons beside this file."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "scons-local"))
from SCons.Script import main

main()
'''


def ensure_scons():
    """Make tool-scons, if it is missing and the very SCons that PlatformIO wants is installed."""
    wanted = get_core_dependencies()["tool-scons"]
    manager = ToolPackageManager()
    spec = PackageSpec(owner="platformio", name="tool-scons", requirements=wanted)
    version = package_version()
    fits = version is not None and wanted.lstrip("~^=").startswith(version.rsplit(".", 1)[0])
    if not fits or manager.get_package(spec):
        return
    make_package(Path(manager.package_dir) / "tool-scons", f"{version}+pypi")
    manager.memcache_reset()


def package_version():
    """SCons 4.11.1 is 4.41101.0 to PlatformIO; None without SCons."""
    try:
        major, minor, patch = metadata.version("scons").split(".")[:3]
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return f"{major}.4{int(minor):02d}{int(patch):02d}.0"


def make_package(folder, version):
    """A copy, not a pointer into a virtual environment: it stays good for the user's other projects."""
    source = Path(util.find_spec("SCons").origin).parent
    shutil.rmtree(folder, ignore_errors=True)
    ignore = shutil.ignore_patterns("docbook", "__pycache__")
    shutil.copytree(source, folder / "scons-local" / "SCons", ignore=ignore)
    (folder / "scons.py").write_text(LAUNCHER)
    describe(folder, version)


def describe(folder, version):
    """What PlatformIO wants to find in a package's folder."""
    entry = {"name": folder.name, "version": version}
    (folder / "package.json").write_text(json.dumps({**entry, "system": "*"}))
    spec = {"owner": "platformio", "id": None, "name": folder.name, "requirements": None, "uri": None}
    (folder / ".piopm").write_text(json.dumps({"type": "tool", **entry, "spec": spec}))


def ensure_cppcheck():
    """Make tool-cppcheck of the program on PATH or beside this Python, if there is one and the package is missing."""
    beside = Path(sys.executable).with_name("cppcheck")
    program = str(beside) if beside.exists() else shutil.which("cppcheck")
    wanted = get_core_dependencies()["tool-cppcheck"]
    manager = ToolPackageManager()
    spec = PackageSpec(owner="platformio", name="tool-cppcheck", requirements=wanted)
    if not program or manager.get_package(spec):
        return
    folder = Path(manager.package_dir) / "tool-cppcheck"
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "cppcheck"
    launcher.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
    launcher.chmod(0o755)
    describe(folder, wanted.lstrip("~^=") + "+path")
    manager.memcache_reset()
