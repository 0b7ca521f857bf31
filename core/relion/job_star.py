"""``job.star``: a job's options as RELION's windows show them (facts/relion-pipeline.md 4.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.files import read_text
from core.formats import star
from core.project.problems import nearest

EXTERNAL = "relion.external"

_EXTERNAL_OPTIONS = {
    "do_queue": "No",
    "fn_exe": "",
    "in_3dref": "",
    "in_coords": "",
    "in_mask": "",
    "in_mic": "",
    "in_mov": "",
    "in_part": "",
    "min_dedicated": "1",
    "nr_threads": "1",
    "other_args": "",
    "qsub": "sbatch",
    "qsubscript": "",
    "queuename": "openmpi",
    **{f"param{number}_{part}": "" for number in range(1, 11) for part in ("label", "value")},
}


def job_label(label: str) -> str:
    """The label that goes into ``job.star``: sublabels of external jobs stay in the pipeline only."""
    return EXTERNAL if label.startswith(EXTERNAL) else label


def external_options(values: Mapping[str, str]) -> dict[str, str]:
    """All options of an external job. RELION pastes ``fn_exe`` and the parameters into a shell line as they are:
    quote them for a shell before. Raises :class:`InputError` for an unknown option."""
    return _over(_EXTERNAL_OPTIONS, values, EXTERNAL)


def native_options(
    data: Path, label: str, values: Mapping[str, str], running: Mapping[str, str] | None = None
) -> dict[str, str]:
    """All options of one of RELION's own job types: ``values`` over RELION's defaults, which are in
    ``data/catalogues/<label with _>.json``. ``running``: values of those options that not every type has (``nr_mpi``,
    ``nr_threads``). Raises :class:`InputError` for an unknown option."""
    path = data / "catalogues" / f"{label.replace('.', '_')}.json"
    try:
        catalogue: Any = json.loads(read_text(path))
        defaults = {str(name): str(value) for name, value in catalogue["options"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("is no catalogue of RELION options; crboost is not installed whole.", path) from error
    known = {name: value for name, value in (running or {}).items() if name in defaults}
    return _over(defaults, {**known, **values}, label)


def job_star(label: str, options: Mapping[str, str], *, is_tomo: bool, is_continue: bool = False) -> str:
    """The text of ``job.star``, options in the order of their bytes, as RELION writes them."""
    job: dict[str, star.StarValue] = {
        "rlnJobTypeLabel": job_label(label),
        "rlnJobIsContinue": int(is_continue),
        "rlnJobIsTomo": int(is_tomo),
    }
    rows = [(name, options[name]) for name in sorted(options, key=lambda name: name.encode())]
    table = star.loop_block("joboptions_values", ("rlnJobOptionVariable", "rlnJobOptionValue"), rows)
    return star.new_file([star.list_block("job", job), table]).render()


def _over(defaults: Mapping[str, str], values: Mapping[str, str], label: str) -> dict[str, str]:
    for name in values:
        if name not in defaults and not name.startswith("qsub_extra"):
            raise InputError(f"{label} has no option {name!r}.{nearest(name, defaults)}")
    return {**defaults, **values}
