"""This checkout as a PlatformIO platform: PlatformIO's packages where it has them, else the programs on PATH.

MCUGRAD_TOOLS=system never downloads, =registry always asks PlatformIO; else its packages win, PATH is next.
"""

import os
import shutil
import socket
import sys
from pathlib import Path

from platformio.public import PlatformBase

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[2] / "host"))

import pio_local

from mcugrad import flash

TOOLCHAIN, OPENOCD = "toolchain-gccarmnoneeabi", "tool-openocd"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


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

    def configure_debug_session(self, debug_config):
        """Generated C is found; an emulated board is started by the session and is itself the GDB server."""
        gen = f"{flash.ROOT}/build/{debug_config.env_options['board']}/gen"
        commands = [f"set substitute-path gen {os.environ.get('MCUGRAD_GEN') or gen}"]
        debug_config.tool_settings = {**debug_config.tool_settings, "extra_cmds": commands}
        if debug_config.upload_protocol != "emulator":
            return
        workspace = debug_config.project_config.get("platformio", "workspace_dir")
        link = f"{workspace}/tty-{debug_config.env_name}"
        command = flash.emulator_command(debug_config.env_options["board"], debug_config.program_path, link)
        debug_config.tool_name, debug_config.load_cmds = "emulator", []
        debug_config.port = debug_config.env_options.get("debug_port") or f"127.0.0.1:{free_port()}"
        debug_config.server = {
            **{"executable": command[0], "arguments": [*command[1:], "--gdb", debug_config.port]},
            **{"cwd": str(flash.PACKAGE.parent), "ready_pattern": "GDB: target remote"},
        }

    def _on_system(self, package, program, mode):
        if mode == "registry" or (mode == "auto" and self.get_package(package)):
            return False
        return bool(shutil.which(program)) or mode == "system"
