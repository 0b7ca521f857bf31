"""The project file: model, versions, wanted state, site configuration."""
