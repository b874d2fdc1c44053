"""Developer command that builds the shipped open head and its landmark embedding."""
