"""Report pages that one file holds: HTML blocks and inline SVG charts, shared by the stages."""

from avatar.reporting.charts import Series, bars, histogram2d, ranges, timeline
from avatar.reporting.page import figure, gallery, jpeg_address, page, paragraph, section, table, video

__all__ = [
    "Series",
    "bars",
    "figure",
    "gallery",
    "histogram2d",
    "jpeg_address",
    "page",
    "paragraph",
    "ranges",
    "section",
    "table",
    "timeline",
    "video",
]
