"""Synthetic subjects with exact ground truth: for the demo clip, the landmark embedding and the tracker's tests.

Rendering needs the ``dev`` extra (embreex); nothing here is loaded by the pipeline itself.
"""
