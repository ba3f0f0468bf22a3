"""Fuzzing by coverage: atheris drives the same test of hostile answers that the suite plays with chosen examples."""
