"""The source files of machines under development: whether they have changed, and which modules came from them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from txraft.cli.settings import UsageProblem

__all__ = ["SourceFiles", "source_of"]

FILES_MAX = 2_000
"""They are looked at twice a second."""


def source_of(module_name: str) -> Path | None:
    """The folder of the package that a loaded module belongs to, or its file; None for what comes with txraft or has no file.

    A package within a namespace (a folder without `__init__.py`) counts by its own folder.
    """
    parts = module_name.split(".")
    if parts[0] == "txraft":
        return None
    for length in range(1, len(parts) + 1):
        module = sys.modules.get(".".join(parts[:length]))
        file = getattr(module, "__file__", None)
        if file is not None:
            path = Path(file).resolve()
            return path.parent if path.name == "__init__.py" else path
    return None


class SourceFiles:
    """Python files: those given, and all in the folders given.

    Args:
        paths: of files and folders.

    Raises:
        UsageProblem: one of them is not there, or they are too many.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = [path.resolve() for path in paths]
        for path in self.paths:
            if not path.exists():
                raise UsageProblem(f"{path} is not there to be watched")
        if len(self.stamps()) > FILES_MAX:
            raise UsageProblem(f"more than {FILES_MAX} files to watch in {', '.join(map(str, self.paths))}: name a smaller folder")

    def stamps(self) -> dict[Path, tuple[int, int]]:
        """Time and size of each file, by which a change is seen."""
        found: dict[Path, tuple[int, int]] = {}
        for path in self._files():
            try:
                status = path.stat()
            except OSError:  # an editor is about to put another in its place
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def _files(self) -> Iterator[Path]:
        for path in self.paths:
            if not path.is_dir():
                yield path
                continue
            for folder, inner, files in os.walk(path):
                inner[:] = [name for name in inner if not name.startswith((".", "__pycache__")) and not _is_environment(Path(folder, name))]
                yield from (Path(folder, name) for name in files if name.endswith(".py"))

    def modules(self) -> dict[str, ModuleType]:
        """The loaded modules that came from these files."""
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        return {name: sys.modules[name] for name, file in files.items() if file is not None and self._has(Path(file).resolve())}

    def _has(self, file: Path) -> bool:
        return any(file == path or path in file.parents for path in self.paths)

    def forget(self) -> dict[str, ModuleType]:
        """Unload all modules of these files, so that the next import reads the files; what was unloaded."""
        modules = self.modules()
        for name in modules:
            del sys.modules[name]
        importlib.invalidate_caches()
        return modules

    def put_back(self, modules: dict[str, ModuleType]) -> None:
        """Load what `forget` has unloaded once more, in place of what was imported since."""
        self.forget()
        sys.modules.update(modules)
        for name, module in modules.items():
            package, _, own = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], own, module)


def _is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").exists()
