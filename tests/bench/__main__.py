"""``python -m tests.bench [FIGURE ...]``: one JSON line for each figure, then one with the machine's circumstances."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from tests.bench import (
    app,
    command_line,
    doctor,
    engine,
    form,
    handover,
    kills,
    monitor,
    pty_log,
    slurm_flow,
    slurm_handover,
    slurm_quiet,
    wrapper,
)
from tests.bench.figures import NotMeasured

Bench = Callable[[Path], dict[str, float]]
"""Measures in a folder of its own; figure -> value."""

BENCHES: dict[tuple[str, ...], Bench] = {
    ("help_s",): command_line.help_text,
    ("first_frame_s",): app.first_frame,
    ("loop_block_max_ms",): app.loop_block,
    ("plan_2000x60x8_s",): command_line.plan,
    ("status_2000x60x8_s",): command_line.status,
    ("inspect_1000_mdocs_s", "inspect_scaling_ratio"): command_line.inspect,
    ("engine_idle_cpu_percent", "engine_memory_mb"): engine.idle,
    ("engine_memory_growth_mb",): engine.growth,
    ("engine_step_16000_tasks_ms",): engine.step_of_many_tasks,
    ("handover_local_median_s",): handover.median_of_fifty_series,
    ("kills_survived",): kills.survived,
    ("slurm_flow_over_ideal", "slurm_flow_over_barrier"): slurm_flow.flow,
    ("slurm_handover_ours_median_s", "slurm_handover_polling_median_s"): slurm_handover.handover,
    ("slurm_handover_over_schemer", "schemer_handover_median_s"): slurm_handover.beside_schemer,
    ("slurm_rpcs_per_minute_quiet",): slurm_quiet.quiet,
    ("slurm_kills_survived",): kills.survived_on_slurm,
    ("form_open_60_fields_ms",): form.opening,
    ("pty_log_bytes_per_s",): pty_log.following,
    ("event_to_screen_median_s",): monitor.event_to_screen,
    ("pty_idle_bytes_per_s", "pty_200_series_bytes_per_s", "pty_arrow_key_bytes"): monitor.bytes_sent,
    ("matrix_2000x12_memory_mb",): monitor.memory,
    ("wrapper_per_command_ms",): wrapper.per_command,
    ("doctor_worst_s",): doctor.worst,
}
UNITS = {"s": "s", "ms": "ms", "mb": "MB", "percent": "% of one core", "ratio": "times", "survived": "of 200 kills"}
UNITS |= {"ideal": "times", "barrier": "times", "schemer": "times", "quiet": "per minute", "bytes": "bytes"}


def circumstances() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "load": [round(value, 2) for value in os.getloadavg()],
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("crboost", "pydantic", "textual", "watchfiles")},
    }


def main() -> int:
    wanted = set(sys.argv[1:])
    unknown = wanted - {name for names in BENCHES for name in names}
    if unknown:
        print(f"There is no figure {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    for names, bench in BENCHES.items():
        if wanted and not wanted.intersection(names):
            continue
        with tempfile.TemporaryDirectory(prefix="crboost-bench-", ignore_cleanup_errors=True) as folder:
            try:
                values = bench(Path(folder))
            except NotMeasured as reason:
                print(json.dumps({"left_out": names, "why": str(reason)}), flush=True)
                continue
        for name in names:
            if not wanted or name in wanted:
                unit = "bytes/s" if name.endswith("_bytes_per_s") else UNITS[name.rsplit("_", 1)[1]]
                print(json.dumps({"figure": name, "value": round(values[name], 4), "unit": unit}), flush=True)
    print(json.dumps({"circumstances": circumstances()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
