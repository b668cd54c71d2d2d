"""Turns formulas into MathML while the site is built, so that the browser needs no script."""

import html
import re

from latex2mathml import converter

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content, **_):
    return _FORMULA.sub(_mathml, content)


def _mathml(match):
    tag, bracket, tex = match.groups()
    display = "block" if bracket == "[" else "inline"
    formula = converter.convert(html.unescape(tex), display=display)
    return f'<{tag} class="formula">{formula}</{tag}>'
