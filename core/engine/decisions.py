"""Reading and writing what was decided for the whole project: a person's word wins over an automatic decision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from core.errors import InputError
from core.files import read_text, replace_text
from core.project.decisions import Decision
from core.project.layout import ProjectPaths
from core.project.model import ProjectFile

FORMAT = 1


def load_decisions(paths: ProjectPaths, project: ProjectFile) -> dict[str, Decision]:
    """Automatic decisions of ``decisions.json``, under those of ``crboost.yaml``. Open questions are among them."""
    found: dict[str, Decision] = {}
    if paths.decisions.exists():
        try:
            document = json.loads(read_text(paths.decisions))
            if document["format"] > FORMAT:
                raise InputError("was made by a newer version of crboost: use that version.", paths.decisions)
            for item in document["decisions"]:
                found[item["key"]] = Decision(**item)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError("is damaged: move it away, the engine decides anew.", paths.decisions) from error
    for key, value in project.decisions.items():
        found[key] = Decision(key, "decided", value, "Set in crboost.yaml.", "you")
    return found


def save_decisions(paths: ProjectPaths, decisions: Mapping[str, Decision]) -> None:
    """Write the automatic ones; those of a person stand in ``crboost.yaml``."""
    items = [asdict(decision) for decision in decisions.values() if decision.by == "automatic"]
    replace_text(
        paths.decisions, json.dumps({"format": FORMAT, "decisions": items}, indent=1, ensure_ascii=False), sync=True
    )


def decided(decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Those that are settled."""
    return {key: decision for key, decision in decisions.items() if decision.state == "decided"}
