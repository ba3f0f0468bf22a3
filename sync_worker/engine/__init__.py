"""The one algorithm: read, map, merge, write, commit. ``core.Engine`` runs it; handlers say what may happen."""
