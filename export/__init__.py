"""The build machine: models into bundles. Shares `handler.engine` with what runs, and nothing else."""
