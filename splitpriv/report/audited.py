"""An audit for people: what was attacked and how, in numbers and in words."""

from __future__ import annotations

from rich.markup import escape

from splitpriv.measure.flags import flags_of
from splitpriv.report import terminal, words
from splitpriv.store import Row, Store


def print_audit(row: Row, store: Store) -> None:
    """The numbers of an audit's row, what they mean, why to doubt them, and where the pictures are."""
    row = terminal.judged([row], store)[0]
    out = terminal.console()
    colour = terminal.VERDICTS[row["verdict"]]
    sent, key = f"{row['cost/release_bytes']:,.0f} bytes released", escape(row["key"])
    head = f"[{colour}]{row['verdict']}[/] [bold]{escape(row['chain'])}[/]  {escape(words.access(row))}"
    out.print(f"\n{head} · {sent} · key {key}", soft_wrap=True)
    out.print(terminal.images_table(row, terminal.images_of(row)))
    for line in words.rebuilt(row):
        out.print(escape(line), soft_wrap=True)
    for flag in flags_of(row):
        out.print(f"[{terminal.VERDICTS['void' if flag.voids else 'doubtful']}]! {escape(flag.text)}[/]"
                  f"{' (void)' if flag.voids else ''}", soft_wrap=True)  # fmt: skip
        out.print(f"[dim]  {escape(flag.way)}[/]", soft_wrap=True)
    for name in terminal.images_of(row):
        out.print(f"[dim]pictures: {escape(str(store.root / row[f'picture/{name}']))}[/]", soft_wrap=True)
        if path := row.get(f"sent/{name}"):
            out.print(f"[dim]of recorded releases: {escape(str(store.root / path))}[/]", soft_wrap=True)
