"""Video in, take out: ingest, perception, tracking."""
