"""Pretrained parts: registry, verified cache, licences."""
