"""Report pages that one file holds: HTML blocks and inline SVG charts, shared by the stages."""

from avatar.reporting.charts import Series, bars, histogram2d, ranges, timeline
from avatar.reporting.page import (
    commands,
    details,
    figure,
    films,
    finding,
    gallery,
    jpeg_address,
    page,
    paragraph,
    pictures,
    section,
    table,
    tiles,
    verdict,
    video,
)

__all__ = [
    "Series",
    "bars",
    "commands",
    "details",
    "figure",
    "films",
    "finding",
    "gallery",
    "histogram2d",
    "jpeg_address",
    "page",
    "paragraph",
    "pictures",
    "ranges",
    "section",
    "table",
    "tiles",
    "timeline",
    "verdict",
    "video",
]
