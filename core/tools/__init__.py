"""A tool is a binary or a container: Command -> argv; option catalogues."""
