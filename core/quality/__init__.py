"""Numbers and pictures per tilt, series and job."""
