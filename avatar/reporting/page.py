"""HTML blocks of a report page: everything is inside the file, and a policy in it forbids any request."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

WIDEST = 1800
# Contrast of text on its ground is at least 4.5 in both schemes (WCAG 2.2, success criterion 1.4.3).
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #222; --faint: #5f6368; --line: #d5d8dc; --panel: #f5f6f8;
  --accent: #1a66c9; --second: #b2560d; --good: #1a7340; --warn: #8a5a00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181c; --ink: #e6e8eb; --faint: #a3a9b1; --line: #3a3f47;
  --panel: #20242a; --accent: #7db4ff; --second: #f0a35c; --good: #6fd08c; --warn: #f2c04d; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: var(--ink); background: var(--ground); }
h1 { font-size: 1.6rem; margin-bottom: .2rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
a { color: var(--accent); }
.scroll { overflow-x: auto; } .scroll + .scroll { margin-top: 1.2rem; }
table { border-collapse: collapse; } tr { border-bottom: 1px solid var(--line); }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
td, th { padding: .25rem .9rem .25rem 0; text-align: right; vertical-align: top; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .text td, .text th { text-align: left; font-weight: normal; }
thead th, thead th:first-child, .text thead th { font-weight: 600; }
img, video { max-width: 100%; border-radius: 4px; } figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; }
svg text { fill: var(--faint); } svg .ink { fill: var(--ink); }
@media (max-width: 40rem) { svg.wide { font-size: 18px; } svg.broad { font-size: 15px; } }
figcaption, .note { color: var(--faint); font-size: .9rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .8rem;
  margin-top: 1.2rem; }
.gallery figure { margin: 0; } .gallery img { width: 100%; display: block; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2.5rem; }
.verdict { border-left: .4rem solid var(--mark); background: var(--panel); padding: .6rem 1rem; border-radius: 4px; }
.verdict strong { font-size: 1.25rem; color: var(--mark); }
.good { --mark: var(--good); } .warn { --mark: var(--warn); } .bad { --mark: var(--bad); }
.finding { border-left: .4rem solid var(--mark); padding: .1rem 1rem; margin: 1rem 0; }
.finding h3 { margin: 0; } .finding p { margin: .2rem 0; } .mark { color: var(--mark); }
.verdict p { margin: .3rem 0 0; }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem 1.5rem; }
.films figure { margin: .5rem 0; } .films img, .films video { width: 100%; display: block; background: var(--panel); }
.beside figure { max-width: 45rem; } .beside video { width: 100%; display: block; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--panel); border-radius: 4px; padding: .6rem .9rem;
  border-top: .25rem solid var(--mark, var(--line)); }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; color: var(--ink); }
.tile span { color: var(--faint); font-size: .9rem; }
pre { background: var(--panel); border-radius: 4px; padding: .7rem .9rem; margin: .3rem 0 1rem;
  font: .9rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all; }
summary { cursor: pointer; color: var(--accent); }
"""
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def page(title: str, blocks: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Plain text of the window's title.
        blocks: HTML of the body, in order.
    """
    head = (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
    )
    return head + "\n".join(blocks) + "</main></body></html>\n"


def section(title: str, *blocks: str) -> str:
    """A titled part of the page; `title` is plain text, `blocks` are HTML."""
    return f"<section><h2>{html.escape(title)}</h2>" + "\n".join(blocks) + "</section>"


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text, of a class of the style sheet such as ``note``."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", text: bool = False) -> str:
    """A table of plain-text cells whose first column names the rows; `text` aligns every column to the left."""
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    columns = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope=row>{html.escape(first)}</th>" + "".join(f"<td>{html.escape(c)}</td>" for c in rest) + "</tr>"
        for first, *rest in rows
    )
    kind = " class=text" if text else ""
    return f"<div class=scroll><table{kind}>{above}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"


def figure(picture: UInt8[np.ndarray, "H W 3"], caption: str, *, alt: str = "") -> str:
    """A picture with its caption; `alt` says what is to be seen where the caption does not."""
    words = html.escape(alt or caption, quote=True)
    return (
        f'<figure><img src="{jpeg_address(picture)}" alt="{words}"><figcaption>{html.escape(caption)}</figcaption>'
        "</figure>"
    )


def gallery(pictures: Iterable[tuple[UInt8[np.ndarray, "H W 3"], str]]) -> str:
    """Small pictures side by side, each with its caption."""
    return "<div class=gallery>" + "".join(figure(picture, caption) for picture, caption in pictures) + "</div>"


def pictures(entries: Iterable[tuple[UInt8[np.ndarray, "H W 3"], str]]) -> str:
    """Larger pictures, two or three side by side where there is room, each with its caption."""
    return "<div class=films>" + "".join(figure(picture, caption) for picture, caption in entries) + "</div>"


def films(entries: Iterable[str]) -> str:
    """Videos, two or three side by side where there is room."""
    return "<div class=films>" + "".join(entries) + "</div>"


def video(data: bytes, caption: str, *, playing: bool = False, poster: UInt8[np.ndarray, "H W 3"] | None = None) -> str:
    """An MP4 inside the page, silent until the reader turns the sound on.

    Args:
        data: The file.
        caption: Plain text below it.
        playing: It plays from the start; its controls stop it. Otherwise the reader starts it.
        poster: A picture for where videos are not played.
    """
    address = "data:video/mp4;base64," + base64.b64encode(data).decode()
    words = html.escape(caption)
    how = "autoplay controls" if playing else "controls"
    still = f' poster="{jpeg_address(poster)}"' if poster is not None else ""
    return (
        f'<figure><video {how} muted loop playsinline preload=metadata src="{address}"{still} aria-label="{words}">'
        f"</video><figcaption>{words}</figcaption></figure>"
    )


def verdict(kind: str, title: str, *texts: str) -> str:
    """The page's result in a box; `kind` is ``good``, ``warn`` or ``bad``, the texts are plain."""
    body = "".join(f"<p>{html.escape(text)}</p>" for text in texts)
    return f'<div class="verdict {kind}" role=status><strong>{html.escape(title)}</strong>{body}</div>'


def finding(kind: str, title: str, text: str) -> str:
    """One thing to say of the result, in plain text; `kind` is ``good``, ``warn`` or ``bad``."""
    words = {"good": "Good", "warn": "Fair", "bad": "Weak"}[kind]
    return (
        f'<div class="finding {kind}"><h3><span class=mark>{words}:</span> {html.escape(title)}</h3>'
        f"<p>{html.escape(text)}</p></div>"
    )


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Key figures side by side: kind (``good``, ``warn``, ``bad`` or none), value and what it is."""
    return (
        "<div class=tiles>"
        + "".join(
            f'<div class="tile {kind}"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
            for kind, value, what in entries
        )
        + "</div>"
    )


def commands(entries: Iterable[tuple[str, str]]) -> str:
    """What to run next: what for, and the command."""
    return "".join(f"<p>{html.escape(what)}</p><pre>{html.escape(line)}</pre>" for what, line in entries)


def details(title: str, *blocks: str) -> str:
    """A part that the reader opens; `title` is plain text, `blocks` are HTML."""
    return f"<details><summary>{html.escape(title)}</summary>" + "\n".join(blocks) + "</details>"


def jpeg_address(picture: UInt8[np.ndarray, "H W 3"], *, widest: int = WIDEST, quality: int = 90) -> str:
    """An RGB picture as a data address, reduced to at most `widest` pixels."""
    factor = min(1.0, widest / picture.shape[1])
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
