"""The house: a module imports its own folder or lower floors only, and the wheel's base needs no torch."""

from __future__ import annotations

import ast
from pathlib import Path

from mcugrad.paths import PACKAGE

FLOORS = [
    {"errors", "paths", "baselines", "divergence", "records", "tuning"},
    {"boards", "ir"},
    {"data", "link", "emulator", "config", "options"},
    {"ops", "sources"},
    {"frontend", "optim", "interp"},
    {"passes"},
    {"plan"},
    {"codegen"},
    {"hostlib", "build", "flash", "stack"},
    {"hostmodel", "telemetry", "checkup"},
    {"report", "export"},
    {"pipeline"},
    {"train", "view", "custom", "doctor", "budget"},
    {"prepare", "twin", "tui"},
    {"run", "bench", "kernelbench", "study"},
    {"modes", "search", "validate", "dashboard", "recorded", "profile"},
    {"cli"},
    {"__main__"},
]
TORCH = {"frontend/from_torch.py", "frontend/pretrain.py", "search/short.py"} | {
    f"twin/{name}.py" for name in "backward draws dynamic engine fixed forward fused real sums update".split()
}


def floor(module: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if module in names)


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def files() -> list[tuple[str, Path]]:
    """(top module, file) of the package."""
    paths = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]
    return [(p.relative_to(PACKAGE).parts[0].removesuffix(".py"), p) for p in paths]


def test_every_module_has_a_floor() -> None:
    known = set().union(*FLOORS)
    assert {top for top, _ in files()} <= known


def test_imports_only_go_down() -> None:
    for top, path in files():
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "mcugrad" and len(parts) > 1 and parts[1] in set().union(*FLOORS) - {top}:
                assert floor(parts[1]) < floor(top), f"{path.relative_to(PACKAGE)} imports {name}"


def test_torch_stays_in_its_front_end() -> None:
    for _, path in files():
        if path.relative_to(PACKAGE).as_posix() not in TORCH:
            assert not any(n.split(".")[0] == "torch" for n in imports(path)), path


def test_the_gpl_engine_stays_in_its_process() -> None:
    for top, path in files():
        if top != "emulator":
            assert not any(n.split(".")[0] in ("unicorn", "capstone") for n in imports(path)), path


def test_files_stay_readable() -> None:
    """Near two hundred lines; the limit leaves room for a table."""
    long = {
        str(p.relative_to(PACKAGE)): n for _, p in files() if (n := len(p.read_text().splitlines())) > 320
    }
    assert not long
