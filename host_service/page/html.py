"""HTML as a tree: what is put into it is text, whatever stands in it, and no markup."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from sparc.printable import printable

__all__ = ["el", "page_text"]

# Of the page itself. It asks for nothing: not even a mistake could make a browser fetch or run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def el(tag: str, *content: str | Element | None, **attributes: str) -> Element:
    """An element; `class_` is the attribute class, None no content. All text is made printable."""
    names = {name.rstrip("_"): printable(value) for name, value in attributes.items()}
    made = Element(tag, names)
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif part is not None:
            text = printable(part)
            if len(made):
                made[-1].tail = (made[-1].tail or "") + text
            else:
                made.text = (made.text or "") + text
    return made


def page_text(title: str, css: str, *body: Element | None) -> str:
    """A whole document. `css` is our own: it is not escaped."""
    style = Element("style")
    style.text = css
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        style,
    )
    whole = el("html", head, el("body", el("main", *body)), lang="en")
    return "<!DOCTYPE html>\n" + tostring(whole, encoding="unicode", method="html") + "\n"
