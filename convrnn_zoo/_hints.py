"""Names in messages, suggestions for misspelt ones, and warnings that name the line of the caller."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence

PACKAGES = ("convrnn_zoo", "torch", "timm")
"""Packages whose lines are not named by warnings: this one, and those that call it."""


def suggest(name: object, options: Iterable[str], max_listed: int = 20) -> str:
    """Returns the end of an error message about a name that is not among `options`.

    It suggests up to three similar options, or else lists the first `max_listed`.
    """
    options = [str(option) for option in options]
    if near := _nearest(name, options):
        return f"did you mean {' or '.join(near)}?"
    listed = ", ".join(options[:max_listed])
    more = f", … ({len(options)} in all)" if len(options) > max_listed else ""
    return f"expected one of {listed}{more}" if options else "none is available"


def check_names(names: Iterable[object], options: Iterable[object], message: str) -> None:
    """Raises ValueError for a name that is not among `options`; `message` has ``{}`` in place of the name."""
    known = list(map(str, options))
    for name in names:
        if name not in known:
            raise ValueError(f"{message.format(name)}; {suggest(name, known)}")


def similar(name: object, options: Iterable[str]) -> str:
    """Returns ``"; did you mean X?"`` for the end of a message that lists the options; empty if none is similar."""
    options = [str(option) for option in options]
    return f"; {suggest(name, options)}" if _nearest(name, options) else ""


def _nearest(name: object, options: Sequence[str]) -> list[str]:
    """Returns up to three options that are similar to `name`, the most similar first; one that differs in case only."""
    if not isinstance(name, str):
        return []
    similarity = {o: difflib.SequenceMatcher(None, name.lower(), o.lower()).ratio() for o in options}
    best = max(similarity.values(), default=0.0)
    near = [o for o in sorted(similarity, key=lambda o: -similarity[o]) if similarity[o] > best - 0.1]
    return near[: 1 if best == 1 else 3] if best >= 0.6 else []


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issues a warning for the innermost line outside of :data:`PACKAGES`."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in PACKAGES:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def some(names: Iterable[str]) -> str:
    """Returns the first few names for a message, without the end of long names and without control characters.

    Example:
        >>> some(["a", "b\\x1b"]), some("abcdefgh")
        ('a, b\\\\x1b', 'a, b, c, d, e, f and 2 more')
    """
    names = list(names)
    shown = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in name[:80]) for name in names[:6])
    return ", ".join(shown) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
