"""Turns what NeuroCAAS was configured with into blueprints and profiles: JSON in, YAML and findings out."""
