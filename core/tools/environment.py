"""What a container must not inherit, what gets through its clean environment, and what it is given: tables with a
reason for each row. They are applied on the node (``core.tools.wrapper``), because the values are only known there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mpi = Literal["none", "inside", "outside"]
"""Of one command: without MPI; ranks that the image's own ``mpirun`` starts; one rank that the site's launcher started.
"""

_ALL: tuple[Mpi, ...] = ("none", "inside", "outside")

CACHE = "{cache}"
"""Stands for ``.crboost/cache`` of the project in a value of :data:`GIVEN`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Variables (``*`` at the end: all that begin so), why, and for which commands."""

    names: tuple[str, ...]
    reason: str
    mpi: tuple[Mpi, ...] = _ALL


@dataclass(frozen=True, slots=True)
class Given:
    """A variable that these tools (none named: every one) are given. ``inside``: in containers only."""

    name: str
    value: str
    reason: str
    tools: tuple[str, ...] = ()
    inside: bool = True
    mpi: tuple[Mpi, ...] = _ALL


HIDDEN = (
    Rule(
        ("APPTAINER_*", "SINGULARITY_*"),
        "Each is an option of the runtime (binds, home, overlay, GPU): a mount that is missing on the node ends the "
        "call, and results depend on who runs it. Also left by an engine that itself runs in a container.",
    ),
    Rule(
        ("APPTAINERENV_*", "SINGULARITYENV_*"),
        "Variables that the user's profile smuggles past the clean environment (library and Python paths).",
    ),
    Rule(("LD_PRELOAD", "LD_LIBRARY_PATH"), "The host's libraries do not fit the runtime's helpers or the image."),
    Rule(("XDG_RUNTIME_DIR",), "Belongs to the login node; it does not exist on the compute node."),
    Rule(("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"), "A Python of the host inside the image."),
    Rule(
        ("PMI_*", "PMIX_*", "OMPI_*", "PRTE_*"),
        "An MPI inside the image would take itself for a rank of the job's launcher and wait for the others.",
        ("none", "inside"),
    ),
    Rule(
        ("SLURM_*",),
        "The image's mpirun would ask the site's Slurm, which is not in the image, to start its ranks.",
        ("inside",),
    ),
)
"""Removed before the runtime starts, but for :data:`KEPT`."""

KEPT = tuple(f"{runtime}_{name}DIR" for runtime in ("APPTAINER", "SINGULARITY") for name in ("TMP", "CACHE", "CONFIG"))
"""Where the runtime itself may write on this site."""

PASSED = (
    Rule(
        ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "NVIDIA_VISIBLE_DEVICES"),
        "Which NVIDIA GPUs the job was given.",
    ),
    Rule(("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), "Which AMD GPUs the job was given."),
    Rule(("OMP_NUM_THREADS",), "How many threads the job was given."),
    Rule(
        ("SLURM_CPUS_PER_TASK", "SLURM_JOB_ID", "SLURM_JOB_NODELIST"),
        "What the tool logs and sizes itself by.",
        ("none",),
    ),
    Rule(
        ("SLURM_*", "PMI_*", "PMIX_*", "OMPI_*", "PRTE_*"),
        "How a rank finds the others that the site's launcher started.",
        ("outside",),
    ),
    Rule(("LC_ALL",), "Numbers with a decimal point, whatever the user's language."),
    Rule(("TZ",), "Times in logs as on the host."),
    Rule(("CRBOOST_JOB_ID",), "So that a local task's processes can be found and ended."),
)
"""Set inside the image to the value that they have on the node."""

SCRATCH = (
    Rule(("TMPDIR",), "The job's own scratch; where it is not on this node, what the login node's profile said."),
    Rule(
        ("SLURM_TMPDIR", "LOCAL_SCRATCH", "SCRATCH", "SCRATCHDIR", "RELION_SCRATCH_DIR"),
        "Names under which sites announce a scratch folder.",
    ),
    Rule(("PMIX_SERVER_TMPDIR",), "Where ranks find the sockets of Slurm's PMIx plugin.", ("outside",)),
)
"""Folders: passed and bound where they exist on the node, not passed where they do not."""

GIVEN = (
    Given("PYTHONNOUSERSITE", "1", "Packages in the user's home would take the place of the image's."),
    Given(
        "XDG_CACHE_HOME",
        CACHE,
        "The home folder is not there; what tools cache goes into the project, so that the next task finds it.",
    ),
    Given(
        "CUDA_CACHE_PATH",
        f"{CACHE}/cuda",
        "Kernels for a GPU that is newer than the program take minutes to compile: once, not in every task.",
    ),
    Given("CUDA_CACHE_MAXSIZE", "4294967295", "All kernels of TensorFlow do not fit into the default size."),
    Given("CUPY_CACHE_DIR", f"{CACHE}/cupy", "CuPy ends where it cannot write below the home folder.", ("pytom",)),
    Given(
        "MPLCONFIGDIR",
        f"{CACHE}/matplotlib",
        "Matplotlib builds its list of fonts anew in every task where it cannot write below the home folder.",
        ("pytom", "cryocare", "relion"),
    ),
    Given(
        "TF_FORCE_GPU_ALLOW_GROWTH",
        "true",
        "TensorFlow takes all memory of the GPU at once, also what another process of the job needs.",
        ("cryocare",),
        inside=False,
    ),
    Given(
        "TF_GPU_ALLOCATOR",
        "cuda_malloc_async",
        "Prediction of large tomograms ends out of memory with TensorFlow's own allocator, which fragments it.",
        ("cryocare",),
        inside=False,
    ),
    Given(
        "HDF5_USE_FILE_LOCKING",
        "FALSE",
        "Weights are saved as HDF5, which refuses to write on network file systems without locks.",
        ("cryocare",),
        inside=False,
    ),
    Given(
        "OMPI_MCA_btl_vader_single_copy_mechanism",
        "none",
        "Ranks in containers of their own may not read each other's memory; Open MPI 4 hangs where it tries.",
        mpi=("outside",),
    ),
    Given("OMPI_MCA_smsc", "^cma", "The same for Open MPI 5.", mpi=("outside",)),
)
"""Below the site's own (``tools.X.env`` in conf.yaml), and those below the command's."""


def given(tool: str, mpi: Mpi, cache: str, *, inside: bool) -> dict[str, str]:
    """The variables of :data:`GIVEN` for a command of ``tool``."""
    return {
        row.name: row.value.replace(CACHE, cache)
        for row in GIVEN
        if (not row.tools or tool in row.tools) and mpi in row.mpi and (inside or not row.inside)
    }
