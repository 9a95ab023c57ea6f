"""Record a command in a terminal as an animated SVG: `python docs/record.py docs/demo.svg --speed 6 -- autoresearch demo`.

Needs tmux. The command runs for real in a terminal of --columns by --rows; its screen is read as often as the film, sped up, shows
pictures. Each row of the screen is drawn once for each time that it stood still, so a film of minutes has some 100 kB. No script is
in it: SMIL shows and hides, which also works where a page takes the file as an image.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from rich.color import parse_rgb_hex
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN = 8.4, 18, 14, 14
BACKGROUND, FOREGROUND = "#15181c", "#d8dee6"
COLORS = ("#15181c", "#f47067", "#57ab5a", "#c69026", "#6cb6ff", "#dcbdfb", "#76e3ea", "#d8dee6")  # black, red, ... white
THEME = TerminalTheme(*(parse_rgb_hex(one[1:]) for one in (BACKGROUND, FOREGROUND)), [parse_rgb_hex(one[1:]) for one in COLORS])
PICTURES_A_SECOND, LAST_SECONDS = 4.0, 6.0  # of the film; how long the last screen stands
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"


def record(command: list[str], columns: int, rows: int, every_seconds: float) -> list[tuple[float, list[str]]]:
    """(seconds, rows with their escape sequences) of each screen that differs from the one before."""
    server = ["tmux", "-L", f"record{os.getpid()}", "-f", "/dev/null"]
    run = ["new-session", "-d", "-s", "film", "-x", str(columns), "-y", str(rows), *command]
    options = ["set-option", "-g", "remain-on-exit", "on", ";", "set-option", "-g", "status", "off"]
    subprocess.run([*server, *options, ";", *run], check=True)
    begin, screens = time.monotonic(), []
    try:
        while True:
            dead = subprocess.run([*server, "list-panes", "-F", "#{pane_dead}"], check=True, capture_output=True, text=True).stdout
            screen = subprocess.run([*server, "capture-pane", "-p", "-e"], check=True, capture_output=True, text=True).stdout
            lines = [line for line in screen.split("\n")[:rows] if not line.startswith("Pane is dead")]
            if not screens or lines != screens[-1][1]:
                screens.append((time.monotonic() - begin, lines))
            if dead.strip() == "1":
                return screens
            time.sleep(every_seconds)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([*server, "kill-server"], check=True, capture_output=True)


def film(screens: list[tuple[float, list[str]]], columns: int, rows: int, speed: float) -> str:
    """The screens as one SVG, played for ever."""
    length = screens[-1][0] / speed + LAST_SECONDS
    drawn = []
    for row in range(rows):
        spans: list[tuple[str, float]] = []  # what stands in the row, and since when
        for seconds, lines in screens:
            line = lines[row] if row < len(lines) else ""
            if not spans or spans[-1][0] != line:
                spans.append((line, seconds / speed))
        ends = [begin for _, begin in spans[1:]] + [length]
        drawn += [
            _row(line, row, begin / length, end / length, length) for (line, begin), end in zip(spans, ends, strict=True) if line
        ]
    size = f"0 0 {columns * CELL_WIDTH + 2 * MARGIN:g} {rows * CELL_HEIGHT + 2 * MARGIN:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="{FONT}" font-size="{FONT_SIZE}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _row(line: str, row: int, begin: float, end: float, length: float) -> str:
    y, pieces, column = MARGIN + row * CELL_HEIGHT + FONT_SIZE, [], 0
    text = Text.from_ansi(line)
    for piece in text.divide(sorted({edge for span in text.spans for edge in (span.start, span.end)} - {0, len(text)})):
        style = Style.combine([Style.null()] + [span.style for span in piece.spans if isinstance(span.style, Style)])
        if piece.plain.strip():
            color = style.color.get_truecolor(THEME).hex if style.color and not style.color.is_default else FOREGROUND
            more = ' font-weight="bold"' if style.bold else ""
            more += ' opacity="0.65"' if style.dim else ""
            x, wide = MARGIN + column * CELL_WIDTH, piece.cell_len * CELL_WIDTH
            words = escape(piece.plain).replace(" ", "\u00a0")
            pieces.append(f'<tspan x="{x:g}" textLength="{wide:g}" fill="{color}"{more}>{words}</tspan>')
        column += piece.cell_len
    times = f'values="hidden;visible;hidden" keyTimes="0;{begin:.5f};{min(end, 1):.5f}"'
    if begin == 0.0:
        times = f'values="visible;hidden" keyTimes="0;{min(end, 1):.5f}"'
    shown = f'<animate attributeName="visibility" calcMode="discrete" dur="{length:.2f}s" repeatCount="indefinite" {times}/>'
    return f'<text y="{y:g}" visibility="hidden">{"".join(pieces)}{shown}</text>' if pieces else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--speed", type=float, default=6.0, help="how much faster the film is than what it shows")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    screens = record(chosen.command, chosen.columns, chosen.rows, chosen.speed / PICTURES_A_SECOND)
    chosen.output.write_text(film(screens, chosen.columns, chosen.rows, chosen.speed), encoding="utf-8")
    print(f"{chosen.output}: {len(screens)} screens of {screens[-1][0]:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
