"""What happens: data set, jobs, RELION project, cluster and engine. Imports neither crboost_tui nor textual."""

__version__ = "0.1.0"
