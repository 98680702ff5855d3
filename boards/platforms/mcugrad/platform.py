"""This checkout as a PlatformIO platform: PlatformIO's packages where it has them, else the programs on PATH.

MCUGRAD_TOOLS=system never downloads, =registry always asks PlatformIO; else its packages win, PATH is next.
"""

import os
import shutil
import sys
from pathlib import Path

from platformio.public import PlatformBase

sys.path.insert(0, str(Path(__file__).parent))

import pio_local

TOOLCHAIN, OPENOCD = "toolchain-gccarmnoneeabi", "tool-openocd"


class McugradPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        pio_local.ensure_scons()  # before Core looks for tool-scons
        pio_local.ensure_cppcheck()
        super().configure_default_packages(options, targets)  # an upload makes every uploader required
        mode = os.environ.get("MCUGRAD_TOOLS") or options.get("custom_tools") or "auto"
        emulated = options.get("upload_protocol") == "emulator"
        # Optional, never deleted: Core tells an embedded platform by its packages of type uploader.
        if self._on_system(TOOLCHAIN, "arm-none-eabi-gcc", mode):
            self.packages[TOOLCHAIN]["optional"] = True
        if emulated or self._on_system(OPENOCD, "openocd", mode):
            self.packages[OPENOCD]["optional"] = True

    def get_boards(self, id_=None):
        found = super().get_boards(id_)
        for board in [found] if id_ else found.values():
            self._add_debug_tools(board.manifest)
        return found

    def _add_debug_tools(self, manifest):
        """The probe on the board through openocd, PlatformIO's or the one on PATH."""
        probe = manifest["mcugrad"]["openocd"]
        words = ["-f", probe["interface"], "-c", f"transport select {probe['transport']}", "-f", probe["target"]]
        server = {"executable": "openocd", "arguments": ["-c", "gdb_port pipe; tcl_port disabled", *words]}
        package = self.get_package(OPENOCD)
        if package:
            scripts = ["-s", "$PACKAGE_DIR/openocd/scripts"]
            server = {"package": OPENOCD, "executable": "bin/openocd", "arguments": [*scripts, *server["arguments"]]}
        manifest["debug"]["tools"] = {"stlink": {"server": server, "onboard": True, "default": True}}

    def _on_system(self, package, program, mode):
        if mode == "registry" or (mode == "auto" and self.get_package(package)):
            return False
        return bool(shutil.which(program)) or mode == "system"
