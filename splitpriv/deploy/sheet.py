"""A card as a page: HTML that needs nothing else, the same printed by a browser, or Markdown beside a picture."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from splitpriv import plain
from splitpriv.deploy.card import Card, Faces, Section
from splitpriv.store import write_atomic
from splitpriv.types import UserError

ENDINGS = (".html", ".pdf", ".md")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
SECONDS = 120  # for a browser to print a page
COLOURS = {"sound": "#1a7f37", "doubtful": "#9a6700", "void": "#b42318"}
STYLE = """
@page{size:A4;margin:11mm}
*{box-sizing:border-box}
body{font:13px/1.42 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:#1c1c1c;background:#fff;
max-width:1000px;margin:0 auto;padding:20px}
header{border-bottom:2px solid #1c1c1c;padding-bottom:6px;margin-bottom:10px}
h1{font-size:21px;margin:0;overflow-wrap:anywhere}
.verdict{float:right;color:#fff;border-radius:4px;padding:3px 12px;font-weight:600;margin-left:12px}
.sub{color:#555;margin:2px 0 0;overflow-wrap:anywhere}
main{columns:2;column-gap:24px}
section{break-inside:avoid;margin:0 0 10px}
h2{font-size:13px;margin:0 0 2px;color:#0b4f80}
p{margin:0 0 4px;overflow-wrap:anywhere}
ul{margin:0;padding-left:16px}li{overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:0 0 4px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:1px 4px;border-bottom:1px solid #ddd;font-weight:400}
th{color:#555;vertical-align:bottom}th:first-child,td:first-child{text-align:left;padding-left:0}
figure{margin:0 0 10px;break-inside:avoid}
figure img{width:100%;height:auto;image-rendering:pixelated;display:block}
figcaption{color:#555}
footer{border-top:1px solid #ddd;color:#555;font-size:11px;padding-top:5px}
@media(max-width:640px){main{columns:1}body{padding:12px}}
@media print{body{font-size:10px;line-height:1.32;padding:0;max-width:none}h1{font-size:17px}h2{font-size:10.5px}
.verdict,thead{print-color-adjust:exact;-webkit-print-color-adjust:exact}footer{font-size:8px}main{column-gap:14px}
section,figure{margin-bottom:6px}p{margin-bottom:2px}}
"""
FOOT = ("Terms after ISO/IEC 27559 (threat modelling, adversarial testing, average and maximum risk, mitigation, "
        "residual risk) and NIST AI 100-2 (goal, knowledge and capability of an adversary). Made from one row of "
        "results; it certifies nothing.")  # fmt: skip


def write(card: Card, out: Path) -> list[Path]:
    """Write a card by the ending of `out`, and return what was written; raise UserError for another ending, and for a
    PDF where there is no browser to print it."""
    require(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".md":
        strip = out.with_suffix(".png")
        text = markdown(card, strip.name if card.faces else "")
        if card.faces:
            write_atomic(strip, _png(_sheet(card.faces)))
        write_atomic(out, text)
        return [out, strip] if card.faces else [out]
    if out.suffix == ".html":
        write_atomic(out, html(card))
    else:
        _print(html(card), out)
    return [out]


def require(out: Path) -> None:
    """Raise UserError where a card cannot be written as `out`."""
    if out.suffix not in ENDINGS:
        raise UserError(f"card --out {out}: a card is .html, .pdf or .md; change its ending")
    if out.suffix == ".pdf" and browser() is None:
        raise UserError(f"card --out {out}: a PDF is printed by Chromium or Chrome, and none is on PATH; install one, "
                        "or write .html and print that")  # fmt: skip


def browser() -> str | None:
    """A browser of Chromium's family, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _print(page: str, out: Path) -> None:
    """Let a browser print a page to a PDF."""
    with tempfile.TemporaryDirectory() as scratch:
        source, printed = Path(scratch) / "card.html", Path(scratch) / "card.pdf"
        source.write_text(page, encoding="utf-8")
        words = [str(browser()), "--headless", "--disable-gpu", "--no-pdf-header-footer",
                 f"--user-data-dir={scratch}/home",
                 *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
                 f"--print-to-pdf={printed}", source.as_uri()]  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, capture_output=True, timeout=SECONDS, check=False)
        if not printed.is_file():
            raise UserError(f"card --out {out}: {words[0]} printed nothing; write .html and print that")
        write_atomic(out, printed.read_bytes())


# ---- HTML ----------------------------------------------------------------------------------------------------------


def html(card: Card) -> str:
    """One page without a network and without scripts."""
    colour = COLOURS.get(card.verdict, "#555")
    first, *rest = map(_section, card.sections)
    figures = "".join(map(_figure, card.faces))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'\">"
        f"<title>{_safe(card.title)}</title><style>{STYLE}</style></head><body>"
        f'<header><span class="verdict" style="background:{colour}">{_safe(card.verdict)}</span>'
        f'<h1>{_safe(card.title)}</h1><p class="sub">{_safe(card.subtitle)}</p></header>'
        f"<main>{first}{figures}{''.join(rest)}</main><footer>{_safe(FOOT)}</footer></body></html>\n"
    )


def _section(section: Section) -> str:
    head, *rows = section.table or [[]]
    cells = "".join("<tr>" + "".join(f"<td>{_safe(c)}</td>" for c in row) + "</tr>" for row in rows)
    table = (
        f"<table><thead><tr>{''.join(f'<th>{_safe(c)}</th>' for c in head)}</tr></thead>{cells}</table>" if head else ""
    )
    many = len(section.lines) > 3
    lines = "".join(f"<li>{_safe(line)}</li>" if many else f"<p>{_safe(line)}</p>" for line in section.lines)
    return f"<section><h2>{_safe(section.title)}</h2>{table}{f'<ul>{lines}</ul>' if many else lines}</section>"


def _figure(faces: Faces) -> str:
    picture = base64.b64encode(_png(_strip(faces))).decode()
    said = ", ".join(faces.said)
    return (f'<figure><h2>{_safe(faces.title)}</h2><img alt="victims above their reconstructions" '
            f'src="data:image/png;base64,{picture}"><figcaption>Victims above, below what was rebuilt of them; MSE '
            f"{_safe(said)}.</figcaption></figure>")  # fmt: skip


def _safe(text: str) -> str:
    return escape(plain.inert(text))


# ---- pictures ------------------------------------------------------------------------------------------------------


def _strip(faces: Faces) -> np.ndarray:
    """Two rows of tiles with a line of paper between them."""
    line = max(1, faces.x.shape[1] // 16)
    rows = [np.concatenate([_framed(tile, line) for tile in tiles], 1) for tiles in (faces.x, faces.images)]
    return np.concatenate(rows, 0)


def _framed(tile: np.ndarray, line: int) -> np.ndarray:
    return np.pad(tile, ((0, line), (0, line), (0, 0)), constant_values=255)


def _sheet(faces: list[Faces]) -> np.ndarray:
    """All strips below one another."""
    strips = [_strip(f) for f in faces]
    wide = max(s.shape[1] for s in strips)
    return np.concatenate([np.pad(s, ((0, 8), (0, wide - s.shape[1]), (0, 0)), constant_values=255) for s in strips], 0)


def _png(picture: np.ndarray) -> bytes:
    held, factor = io.BytesIO(), max(1, 480 // picture.shape[1])
    image = Image.fromarray(picture)
    image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(
        held, "PNG", optimize=True
    )
    return held.getvalue()


# ---- Markdown ------------------------------------------------------------------------------------------------------


def markdown(card: Card, picture: str) -> str:
    """The same in Markdown; `picture` is the file beside it that holds the faces, if there is one."""
    text = [f"# {_mark(card.title)}", "", f"**{card.verdict}** · {_mark(card.subtitle)}"]
    for section in card.sections:
        text += ["", f"## {section.title}", ""]
        if section.table:
            head, *rows = section.table
            text += [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
        many = len(section.lines) > 1
        text += [("- " if many else "") + _mark(line) for line in section.lines]
        if section is card.sections[0] and picture:
            text += ["", f"![victims above their reconstructions]({picture})", ""]
            text += [f"{faces.title}, victims above, below what was rebuilt of them; MSE {', '.join(faces.said)}.  "
                     for faces in card.faces]  # fmt: skip
    return "\n".join([*text, "", f"*{FOOT}*", ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_mark(c) for c in cells)} |"


def _mark(text: str) -> str:
    """Text that Markdown leaves as it is."""
    safe = plain.inert(text)
    for sign in "\\`*_[]<>|#":
        safe = safe.replace(sign, f"\\{sign}")
    return safe
