"""The process that looks at raw data for *New project*, and keeps what it found until a project is made of it.

Questions come as pickles on standard input; each is answered with ``(last, answer)`` on standard output. It ends with
its input, that is with the app.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import CrboostError
from core.project.layout import PROJECT_FILE
from crboost_tui import import_client as ask
from crboost_tui import import_data
from crboost_tui.data import config_dir
from crboost_tui.recent import remember

if TYPE_CHECKING:
    from core.dataset.scan import Inspection
    from crboost_tui.form import Form

PIECE = 50
"""Series that are sent at once: so many are unpacked in well under a millisecond."""


class Worker:
    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self._found: Inspection | None = None
        self._fresh = False
        """Whether no project was there when this question came to make one."""

    def serve(self, questions: Any) -> None:
        while True:
            try:
                question = pickle.load(questions)
            except EOFError:
                return
            self._fresh = False
            try:
                answer = self._answer(question)
            except (CrboostError, OSError) as error:
                made = self._fresh and os.path.lexists(question.root / PROJECT_FILE)
                answer = ask.Wrong(_sentence(error), made)
            except Exception as error:  # ours: said in one line, never as a traceback
                answer = ask.Wrong(f"An error of crboost itself, please report it: {type(error).__name__}: {error}")
            self._say(answer, last=True)

    def _say(self, answer: Any, last: bool = False) -> None:
        pickle.dump((last, answer), self._answers, protocol=pickle.HIGHEST_PROTOCOL)
        self._answers.flush()

    def _answer(self, question: ask.Question) -> Any:
        match question:
            case ask.Begin(root):
                return _begun(root)
            case ask.Look():
                return self._look(question)
            case ask.ShowTilts(series):
                found = {each.id: each for each in self._inspection().series}
                return import_data.tilt_picture(found[series])
            case ask.ShowForms(root, edits):
                return self._forms(root, edits)
            case ask.Make():
                return self._make(question)

    def _progress(self, done: int, total: int) -> None:
        step = max(1, total // 100)
        if done % step == 0 or done == total:
            self._say(ask.Progress(done, total))

    def _inspection(self) -> Inspection:
        if self._found is None:
            raise CrboostError("The data are not known any more: look at them again.")
        return self._found

    def _look(self, question: ask.Look) -> import_data.SeriesPicture:
        from core.dataset.registry import Registry, load_registry
        from core.dataset.scan import inspect
        from core.project.layout import ProjectPaths
        from core.project.wanted import exclusions, read_wanted

        known, excluded = Registry(), set[str]()
        if question.root is not None:
            excluded = exclusions(read_wanted(question.root))[0]
            if ProjectPaths(question.root).registry.exists():
                known = load_registry(ProjectPaths(question.root).registry)
        self._found = None
        self._found = inspect(question.movies, question.mdocs, known=known, progress=self._progress)
        lines = import_data.series_lines(self._found, excluded)
        for start in range(0, len(lines), PIECE):
            self._say(tuple(lines[start : start + PIECE]))
        return import_data.summary(self._found, lines)

    def _forms(self, root: Path | None, edits: Mapping[str, str | None]) -> ask.Forms:
        """One form for each acquisition group; where there are several, one of the microscope before them."""
        from core.project.file import load
        from core.project.model import ProjectFile
        from crboost_tui.forms import acquisition_form, instrument_form

        found = self._inspection()
        model = ProjectFile(name="new") if root is None else load(root).model
        groups = list(dict.fromkeys(series.group for series in found.series))
        forms = [acquisition_form(model, found, group, edits) for group in groups]
        gains = [_gain_words(form, group) for form, group in zip(forms, groups, strict=True)]
        if len(groups) > 1:
            forms.insert(0, instrument_form(model, found, edits))
            gains.insert(0, "")
        return ask.Forms(tuple(forms), tuple(gains))

    def _make(self, question: ask.Make) -> ask.Made:
        from crboost_tui.making import bring_data, edited, make_project

        found = self._inspection()
        if question.add:
            if question.edits:
                from core.project.file import load, save

                loaded = load(question.root)
                save(question.root, edited(loaded.model, question.edits), loaded.digest)
            bring_data(question.root, found, question.left_out, self._progress)
        else:
            self._fresh = not os.path.lexists(question.root / PROJECT_FILE)
            make_project(
                question.root,
                question.name,
                found,
                question.pipeline,
                edits=question.edits,
                left_out=question.left_out,
                progress=self._progress,
            )
        remember(question.root)
        return ask.Made(question.root)


def _begun(root: Path | None) -> ask.Begun:
    """The first of the site's project folders that can be written in, else the current folder."""
    from core.project.file import load
    from core.project.site import load_site

    problems: list[str] = []
    base, name = os.getcwd(), ""
    pipelines: tuple[import_data.PipelineChoice, ...] = ()
    try:
        roots = load_site(None, config_dir()).projects
        base = next((str(each) for each in roots if os.access(each, os.W_OK | os.X_OK)), base)
        pipelines = import_data.pipeline_choices(config_dir() / "pipelines")
        name = load(root).model.name if root is not None else ""
    except CrboostError as error:
        problems.append(_sentence(error))
    return ask.Begun(base, pipelines, name, " ".join(problems))


def _gain_words(form: Form, group: str) -> str:
    """``gain.mrc is MRC, 4096 x 4096 px``: what a form's gain reference is, "" for none or one that cannot be read."""
    from core.formats.movie import read_movie_header

    field = form.by_name.get(f"acquisition.{group}.gain_path")
    if field is None or not field.value:
        return ""
    try:
        header = read_movie_header(Path(field.value))
    except CrboostError:
        return ""
    bad = any(finding.level == "error" and "gain is" in finding.sentence for finding in field.findings)
    fits = "" if bad else ", which fits the movies"
    return f"{os.path.basename(field.value)} is {header.kind}, {header.width_px} x {header.height_px} px{fits}"


def _sentence(error: Exception) -> str:
    if isinstance(error, CrboostError):
        return str(error)
    name = getattr(error, "filename", None)
    reason = getattr(error, "strerror", None) or str(error)
    return f"{name}: cannot be read or written ({reason})." if name else f"{reason}."


def main() -> None:
    gc.set_threshold(100_000, 50, 100)  # as in crboost_tui.main: what is read stays
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the answers
    Worker(answers).serve(sys.stdin.buffer)


if __name__ == "__main__":
    main()
