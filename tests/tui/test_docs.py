"""Pages that are made from the code say what the code says, and the README names commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

from crboost_tui.actions import all_actions
from crboost_tui.cli import GROUPS
from docs.make import job_types_page, with_tables

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_of_job_types_is_current() -> None:
    assert (REPOSITORY / "docs" / "job-types.md").read_text(encoding="utf-8") == job_types_page(), "run: make docs"


def test_the_page_on_the_app_has_the_keys_of_every_screen() -> None:
    page = (REPOSITORY / "docs" / "the-app.md").read_text(encoding="utf-8")
    assert page == with_tables(page), "run: make docs"
    told = set(re.findall(r"^\| .* \| (`\S+`) \| .* \| (.+) \|$", page, re.M))
    pages_of_their_own = {"help", "palette"}
    for place, actions in all_actions().items():
        for action in actions:
            untold = action.help and (f"`{action.id}`", action.help.replace("|", "\\|")) not in told
            assert place in pages_of_their_own or not untold, f"{place}: {action.label}: {action.help}"


def test_the_pictures_that_pages_show_are_there_and_fetch_nothing() -> None:
    pictures = set((REPOSITORY / "docs" / "pictures").glob("*.svg"))
    shown = {
        (page.parent / name).resolve()
        for page in (REPOSITORY / "README.md", REPOSITORY / "docs" / "the-app.md")
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown
    assert shown <= pictures, "run: make screenshots"
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert not re.search(r"url\([^#]|<image|href=", text), picture.name


def test_the_readme_names_commands_targets_and_files_that_exist() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = {name for group in GROUPS.values() for name in group}
    for name in re.findall(r"^(?:\.venv/bin/)?crboost ([a-z]+)", text, re.M) + re.findall(r"`crboost ([a-z]+)", text):
        assert name in commands, name
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([a-z.]+)", text, re.M):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.M), target
    for path in re.findall(r"\]\(([^):]+)\)", text):
        assert (REPOSITORY / path).exists(), path


def test_every_command_has_a_module_and_every_module_a_command() -> None:
    modules = {path.stem for path in (REPOSITORY / "crboost_tui" / "cli").glob("[a-z]*.py")}
    assert modules == {name for group in GROUPS.values() for name in group}


def test_every_test_that_the_page_on_slurm_names_is_there() -> None:
    named = set(re.findall(r"`(?:unit: )?(test_\w+)`", (REPOSITORY / "docs" / "slurm.md").read_text(encoding="utf-8")))
    there = {
        name
        for path in (REPOSITORY / "tests").rglob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 20
    assert named <= there
