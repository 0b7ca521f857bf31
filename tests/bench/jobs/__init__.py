"""Job types that only benches know: ``tests.bench.slurm`` adds this folder to those of ``core.jobs``."""
