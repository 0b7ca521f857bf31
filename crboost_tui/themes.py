"""The three themes, and what each meaning looks like in them.

``crboost-terminal`` uses nothing but the terminal's own colours by their names, so that it is legible on any ground
that a person chose: the text and the ground are the terminal's, and what lies on ``$panel`` (heads, the line of the
cursor) is shown in reverse.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

DARK, LIGHT, TERMINAL = "crboost-dark", "crboost-light", "crboost-terminal"
BY_SETTING = {"dark": DARK, "light": LIGHT, "terminal": TERMINAL}

# Names as in crboost_tui.terminal.hue. Every one of them is text: 4.5 times as light (or dark) as any ground under it.
MEANINGS: Mapping[str, Mapping[str, str]] = {
    DARK: {
        "run": "#6cb6ff", "done": "#6bc46d", "fail": "bold #ff938a", "stale": "#c39bf5", "need": "bold #f2cc60",
        "quiet": "#9aa7b4", "rehearsal": "bold #daaa3f",
    },
    LIGHT: {
        "run": "#0550ae", "done": "#116329", "fail": "bold #b3261e", "stale": "#6639ba", "need": "bold #7d4e00",
        "quiet": "#57606a", "rehearsal": "bold #7d4e00",
    },
    # Blue is made bold, which makes it lighter where the ground is dark; yellow is never text.
    TERMINAL: {
        "run": "bold blue", "done": "green", "fail": "bold red", "stale": "magenta", "need": "bold black on yellow",
        "quiet": "dim", "rehearsal": "bold black on yellow",
    },
}  # fmt: skip
_NO_COLOUR = {"quiet": "", "need": "bold", "rehearsal": "bold"}
"""What differs from the terminal's colours where there shall be none."""

THEMES = (
    Theme(
        name=DARK, primary="#6cb6ff", secondary="#9aa7b4", warning="#f2cc60", error="#ff938a",
        success="#6bc46d", accent="#6cb6ff", foreground="#cdd9e5", background="#1c2128", surface="#22272e",
        panel="#2d333b", dark=True, variables={"text-muted": "#9aa7b4"},
    ),
    Theme(
        name=LIGHT, primary="#0550ae", secondary="#57606a", warning="#7d4e00", error="#b3261e",
        success="#116329", accent="#0550ae", foreground="#24292f", background="#ffffff", surface="#f6f8fa",
        panel="#ebedef", dark=False, variables={"text-muted": "#57606a"},
    ),
    Theme(
        name=TERMINAL, ansi=True, primary="ansi_blue", secondary="ansi_default", warning="ansi_yellow",
        error="ansi_red", success="ansi_green", accent="ansi_blue", foreground="ansi_default",
        background="ansi_default",
        variables={
            "ansi-background": "ansi_default", "ansi-foreground": "ansi_default", "panel": "ansi_bright_black",
            "surface": "ansi_default", "text-muted": "ansi_default", "primary-muted": "ansi_default",
            "border": "ansi_blue", "border-blurred": "ansi_default", "scrollbar-background": "ansi_default",
            "scrollbar-background-hover": "ansi_default", "scrollbar-background-active": "ansi_default",
            "input-cursor-background": "ansi_default", "input-cursor-foreground": "ansi_default",
            "input-cursor-text-style": "reverse", "block-cursor-foreground": "ansi_default",
            "block-cursor-background": "ansi_bright_black",
        },
    ),
)  # fmt: skip


def style_of(theme: Theme, meaning: str, no_colour: bool = False) -> str:
    """The style of a meaning (run, done, fail, stale, need, quiet, rehearsal) in a theme, also in one of Textual's."""
    if no_colour and meaning in _NO_COLOUR:
        return _NO_COLOUR[meaning]
    name = TERMINAL if theme.ansi else DARK if theme.dark else LIGHT
    return MEANINGS[name][meaning]


class ReversedPanels(LineFilter):
    """What lies on the panel's colour, in reverse: there is no colour that stands out from every ground.

    What is reversed there already (the chosen one of several parts) stands out by not being so. Colours go (a green on
    the reverse of an unknown ground may be anything); the glyphs tell the states.
    """

    _PANEL, _SIGN = RichColor.from_ansi(8), RichColor.from_ansi(3)
    _PLAIN = RichColor.default()

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        found = []
        for segment in segments:
            text, style, control = segment
            if style is None or style.bgcolor not in (self._PANEL, self._SIGN):
                found.append(segment)
            elif style.bgcolor == self._PANEL:
                found.append(Segment(text, self._reversed(style), control))
            else:  # a sign is as long as its words, not as its column
                words = text.rstrip()
                found += [Segment(words, style, control)] if words else []
                if len(words) < len(text):
                    found.append(Segment(text[len(words) :], Style(color=self._PLAIN, bgcolor=self._PLAIN)))
        return found

    def _reversed(self, style: Style) -> Style:
        return style + Style(color=self._PLAIN, bgcolor=self._PLAIN, reverse=not style.reverse, dim=False)
