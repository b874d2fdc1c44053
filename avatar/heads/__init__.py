"""The parametric head: linear blend skinning, the open head, ARKit names."""
