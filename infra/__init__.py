"""What builds and runs the cloud side. Not part of the function."""
