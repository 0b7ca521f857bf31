"""The page of all keys: ``keys.md``, made from the actions of every screen."""

from __future__ import annotations

from crboost_tui.actions import all_actions, shown_key


def keys_page() -> str:
    """The text of ``keys.md``."""
    lines = [
        "# Keys",
        "",
        "Made by `make docs` from the actions of each screen; do not edit. In the app, `?` shows those that count here",
        "and now, `^p` finds every action by name, and the settings (`,`) change a key by pressing another one.",
        "By hand, in `~/.config/crboost/app.yaml`, an action has the same id on every screen:",
        "",
        "```yaml",
        "theme: dark            # light, terminal (its own 16 colours)",
        "pictures: auto         # half-blocks, sixel, kitty",
        "bell: true             # and a notice (OSC 9) when something fails, or a run ends",
        "keys:",
        "  retry: R",
        '  find: ["/", ctrl+f]',
        "```",
        "",
        "Keys that tmux, screen or a terminal take for themselves (`ctrl+a`, `ctrl+b`, `ctrl+c`) are refused,",
        "and where two actions of a screen would have one key, the app says so.",
    ]
    for screen, actions in all_actions().items():
        lines += ["", f"## {screen.capitalize()}", "", "| Id | Keys | |", "|---|---|---|"]
        for action in actions:
            keys = " ".join(f"`{shown_key(key)}`" for key in action.keys.split(","))
            lines.append(f"| `{action.id}` | {keys} | {(action.help or action.label).replace('|', '/')} |")
    return "\n".join(lines) + "\n"
