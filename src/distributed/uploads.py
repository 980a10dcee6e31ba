"""Uploaded modules: files that come to a process while it runs, and again when they have changed.

After :func:`install` the new code is what an import gives, and what was imported before agrees with a process that is
given the same files afterwards: modules of the file, and uploaded modules that import them, are thrown out and imported
anew, not executed over what is there, so that nothing of the old is left; whoever holds the old module under a name
holds the new one. What runs goes on with the code that it began with.

In a process of ours everything gives way to what is uploaded. In a program of the user's (one that makes a
``LocalCluster``, say) what the program has imported from elsewhere stays its own: a worker in that process executes the
new code in the very module, everybody else leaves it alone.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import time
from collections.abc import Iterable
from hashlib import blake2b
from importlib.machinery import PathFinder
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from distributed import importing
from distributed.private_files import write_upload

logger = logging.getLogger(__name__)

#: Files of these kinds are modules.
SUFFIXES = (".py", ".zip", ".egg", ".pyz")

#: Whether this process was started by us, to run a scheduler, a worker or a nanny.
own_process = False


class _Upload(NamedTuple):
    """A file: hash of its content, top-level names of its modules and of what they import; if it was to be loaded."""

    digest: bytes
    names: tuple[str, ...]
    needs: frozenset[str]
    load: bool


#: By path, in the order in which they first came.
_uploads: dict[str, _Upload] = {}
#: Which content the modules of a top-level name are made of.
_current: dict[str, bytes] = {}
#: Every directory in which uploads have lain.
_directories: set[str] = set()


def install(
    directory: str, filename: str, content: bytes, *, load: bool = True, update_own: bool = True
) -> bool:
    """Put a file into a directory; modules in it are what imports find from now on. Blocks; safe in any thread.

    Parameters
    ----------
    load : bool
        Import them now; what a module raises is raised, and everything is as it was before.
    update_own : bool
        Whether modules of the user's program of the same name are to have the new code, too. See the module's text.

    Returns
    -------
    bool
        Whether modules were replaced: functions that were unpickled before may be made of the old ones.
    """
    path = os.path.join(directory, os.path.basename(filename))
    if os.path.splitext(path)[1] not in SUFFIXES:
        _write(path, content)
        return False
    with importing.turn():
        upload = _described(path, content, load)
        before = _uploads.get(path)
        if before == upload and os.path.exists(path) and _are_current(upload):
            return False
        old_content = _read(path)
        _write(path, content)
        _directories.add(directory)
        _uploads[path] = upload
        _make_importable(path)
        if _are_current(upload):
            return True
        try:
            names = {*upload.names, *(before.names if before is not None else ())}
            _replace(names, upload, update_own)
        except BaseException:
            if before is None or old_content is None:
                del _uploads[path]
                os.unlink(path)
            else:
                _uploads[path] = before
                _write(path, old_content)
            importlib.invalidate_caches()
            raise
        return True


def names_in(filename: str, content: bytes) -> tuple[str, ...]:
    """Top-level names of the modules of a file; of none, if it is not of a kind that can be imported."""
    return _described(filename, content, False).names if os.path.splitext(filename)[1] in SUFFIXES else ()


def search_path() -> list[str]:
    """``sys.path`` without what uploads have added: for another process, which has its own."""
    return [entry for entry in sys.path if not any(_is_below(entry, directory) for directory in _directories)]


def remove(directory: str) -> None:
    """The directory is about to be removed: nothing is imported from there any more."""
    with importing.turn():
        for path in [path for path in _uploads if os.path.dirname(path) == directory]:
            for name in _uploads.pop(path).names:
                if not any(name in upload.names for upload in _uploads.values()):
                    _current.pop(name, None)
        sys.path[:] = [entry for entry in sys.path if not _is_below(entry, directory)]


def prefer(directory: str) -> None:
    """Have modules of a directory found first, also where some of the same names have been imported from elsewhere."""
    with importing.turn():
        if directory in sys.path:
            return
        sys.path.insert(0, directory)
        _directories.add(directory)
        importlib.invalidate_caches()
        names = {entry.partition(".")[0] for entry in os.listdir(directory)}
        _thrown_out(_affected({name for name in names if _is_uploaded(name)}))


def import_anew(path: str) -> list[ModuleType]:
    """Import a ``.py``, ``.zip`` or ``.egg`` file by its path, again if it was imported before."""
    path = os.path.abspath(path)
    if os.path.splitext(path)[1] not in SUFFIXES:
        raise ValueError(f"cannot import {path!r}: neither a .py file nor a .zip, .egg or .pyz archive")
    with importing.turn():
        upload = _described(path, _read(path) or b"", True)
        if not upload.names:
            logger.warning("nothing to import in %s", os.path.basename(path))
        entry = path if not path.endswith(".py") else os.path.dirname(path)
        sys.path.insert(0, entry)
        try:
            importlib.invalidate_caches()
            _fresh(set(upload.names), upload.names)
        finally:
            if path.endswith(".py"):  # archives stay on the path, their modules import each other later
                sys.path.remove(entry)
        return [sys.modules[name] for name in upload.names]


# ---------------------------------------------------------------- files


def _described(path: str, content: bytes, load: bool) -> _Upload:
    sources = {os.path.basename(path): content} if path.endswith(".py") else _in_archive(content)
    names = dict.fromkeys(name.partition("/")[0].removesuffix(".py") for name in sources)
    tops = tuple(name for name in names if name.isidentifier() and name != "__main__")
    needs = frozenset().union(*(_imported_by(source) for source in sources.values())) - set(tops)
    return _Upload(blake2b(content, digest_size=16).digest(), tops, needs, load)


def _in_archive(content: bytes) -> dict[str, bytes]:
    """Sources of the modules that can be imported from an archive, by their names in it."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        found = [
            name
            for name in names
            if name.endswith((".py", ".pyc"))
            and ("/" not in name or f"{name.partition('/')[0]}/__init__.py" in names)
        ]
        return {name.removesuffix("c"): archive.read(name) for name in found}


def _imported_by(source: bytes) -> set[str]:
    """Top-level names that a module imports, wherever in it."""
    import ast  # who uploads nothing does without it

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()  # whoever imports it will see
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, content: bytes) -> None:
    """All of it or nothing. Its time is another than that of what was there: Python knows compiled files by it."""
    try:
        earliest = int(os.stat(path).st_mtime) + 1.0
    except OSError:
        earliest = 0.0
    beside = f"{path}.{os.getpid()}-{time.monotonic_ns()}"
    try:
        write_upload(beside, content)
        if earliest > os.stat(beside).st_mtime:
            os.utime(beside, (earliest, earliest))
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def _make_importable(path: str) -> None:
    entry = os.path.dirname(path) if path.endswith(".py") else path
    others = [other for other in sys.path if other != entry]
    place = 0  # before other uploads in any case: there may be an older copy
    if not own_process:
        ours = (i for i, other in enumerate(others) if any(_is_below(other, one) for one in _directories))
        place = next(ours, len(others))
    sys.path[:] = [*others[:place], entry, *others[place:]]
    importlib.invalidate_caches()


# ---------------------------------------------------------------- modules


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + os.sep)


def _is_uploaded(name: str) -> bool:
    """Whether the module that is imported under a name comes from an upload; true for one that is not imported."""
    module = sys.modules.get(name)
    if module is None or own_process:
        return True
    origin = getattr(module, "__file__", None) or ""
    return any(_is_below(origin, directory) for directory in _directories)


def _are_current(upload: _Upload) -> bool:
    return all(
        _current.get(name) == upload.digest and (name in sys.modules or not upload.load)
        for name in upload.names
    )


def _affected(names: Iterable[str]) -> set[str]:
    """These top-level names, and those of uploads that import them, directly or not."""
    found = set(names)
    growing = True
    while growing:
        size = len(found)
        for upload in _uploads.values():
            if not found.isdisjoint(upload.needs):
                found.update(upload.names)
        growing = len(found) > size
    return found


def _replace(names: set[str], upload: _Upload, update_own: bool) -> None:
    own = {name for name in names if not _is_uploaded(name)}
    affected = {name for name in _affected(names) if _is_uploaded(name)} - own
    load = [name for name in upload.names if upload.load and name not in own]
    others = [
        name
        for other in _uploads.values()
        if other.load and other is not upload
        for name in other.names
        if name in affected and name in sys.modules
    ]
    if update_own and upload.load:
        for name in own:
            _execute_in_place(name, next(path for path, one in _uploads.items() if one is upload))
    _fresh(affected, load, others)
    for name in upload.names:
        if update_own or name not in own:
            _current[name] = upload.digest


def _fresh(affected: set[str], load: Iterable[str], others: Iterable[str] = ()) -> None:
    """Import ``load`` and ``others`` anew, with all that is affected; what one of ``others`` raises is logged."""
    old = _thrown_out(affected)
    try:
        for name in load:
            importing.require(name)
    except BaseException:
        _thrown_out(affected)
        sys.modules.update(old)
        raise
    for name in others:
        try:
            importing.require(name)
        except Exception as error:
            logger.warning("the uploaded module %s cannot be imported any more: %r", name, error)
    _hand_over(old)


def _thrown_out(tops: set[str]) -> dict[str, ModuleType]:
    names = [name for name in sys.modules if _top(name) in tops]
    importing.forget(names)
    return {name: sys.modules.pop(name) for name in names}


def _hand_over(old: dict[str, ModuleType]) -> None:
    """Other modules that hold an old module (``import helper``) hold the new one."""
    new = {id(module): sys.modules[name] for name, module in old.items() if name in sys.modules}
    if not new:
        return
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if isinstance(value, ModuleType) and id(value) in new:
                vars(module)[name] = new[id(value)]


def _execute_in_place(top: str, path: str) -> None:
    """Run the new code in the modules of a program: those that were imported last first, for others use them."""
    base = os.path.dirname(path) if path.endswith(".py") else path
    for name in reversed([name for name in sys.modules if _top(name) == top]):
        spec = PathFinder.find_spec(name, [os.path.join(base, *name.split(".")[:-1])])
        loader: Any = None if spec is None else spec.loader
        code = loader.get_code(name) if hasattr(loader, "get_code") else None
        if code is not None:
            _execute(code, sys.modules[name])


def _execute(code: CodeType, module: ModuleType) -> None:
    before = dict(vars(module))
    try:
        exec(code, vars(module))
    except BaseException:
        vars(module).clear()
        vars(module).update(before)
        raise
    if ("*",) in code.co_consts:  # from x import *: its names are unknown
        return
    for name in before.keys() - set(code.co_names):
        if not name.startswith("__") and not isinstance(before[name], ModuleType):
            vars(module).pop(name, None)
