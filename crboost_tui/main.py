"""The ``crboost`` command. Starts fast: a command's own module is imported only when that command is used."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 good, 1 the work failed, 2 wrong use or input."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    stranger = _foreign_core()
    if stranger is not None:
        print(f"crboost: {stranger}", file=sys.stderr)
        return 2
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    from core.errors import CrboostError
    from crboost_tui.cli import parse

    # A command makes many small objects that live as long as it does: looking through them all, again and again as
    # they grow, took a quarter of the time of plan and inspect.
    gc.set_threshold(100_000, 50, 100)
    try:
        run, options = parse(arguments)
        code = run(options)
        sys.stdout.flush()
        return code
    except CrboostError as error:
        print(f"crboost: {error}", file=sys.stderr)
        return error.exit_code
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except OSError as error:
        # A file of the user's that cannot be reached, met where nobody expected it: no error of ours.
        print(f"crboost: {_file_sentence(error) or _crash_sentence(error, arguments)}", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"crboost: {_crash_sentence(error, arguments)}", file=sys.stderr)
        return 2


def _foreign_core() -> str | None:
    """A sentence where ``import core`` would find another module than the one beside this package."""
    spec = importlib.util.find_spec("core")
    ours = Path(__file__).resolve().parent.parent / "core" / "__init__.py"
    if spec is None or spec.origin is None:
        return f"its own package core is missing beside {ours.parent.parent}: install crboost again."
    found = Path(spec.origin).resolve()
    if found == ours:
        return None
    return (
        f"Python would load {found} in place of crboost's own {ours.parent}. "
        "Take that folder out of PYTHONPATH and try again."
    )


def _file_sentence(error: OSError) -> str:
    """The file and the reason in one sentence, "" where the error names no file."""
    if not isinstance(error.filename, str | bytes):
        return ""
    advice = ": ask its owner for permission" if isinstance(error, PermissionError) else ""
    return f"{os.fsdecode(error.filename)}: cannot be read or written ({error.strerror or error}){advice}."


def _crash_sentence(error: Exception, arguments: Sequence[str]) -> str:
    """Keep the traceback of an error that is ours in a file, and say where it is."""
    import traceback

    summary = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    from crboost_tui.state import state_folder

    folder = state_folder()
    path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        details = "".join(traceback.format_exception(error))
        path.write_text(f"crboost {' '.join(arguments)}\n\n{details}", encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"an error of crboost itself, please report it: {summary}"
    return f"an error of crboost itself ({summary}). Please report it with {path}."


if __name__ == "__main__":
    sys.exit(main())
