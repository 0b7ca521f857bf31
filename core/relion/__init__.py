"""The RELION project protocol: pipeline file, lock, job.star, markers, nodes."""
