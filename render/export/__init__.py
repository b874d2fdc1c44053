"""An avatar in the formats that other programs read."""
