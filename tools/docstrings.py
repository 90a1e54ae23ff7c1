"""Converts reStructuredText in docstrings to Markdown for the site. mkdocs.yml loads this file."""

import inspect
import re
from typing import Any

import griffe
from latex2mathml.converter import convert

import convrnn_zoo

_MATH = re.compile(r"^( *)\.\. math::\n((?:\1 +\S.*\n?|\n(?=\1 ))+)", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([\w.]+)`")
_HEADED = re.compile(r"^( *)(Shapes?) \((.+)\):\n", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
_TABLE = re.compile(r"^( *)=[= ]+\n((?:\1.*\n)+?)\1=[= ]+\n((?:\1.*\n)+?)\1=[= ]+(?:\n|$)", re.MULTILINE)


def markdown(text: str) -> str:
    """Converts the formulas, roles and tables of a docstring to Markdown.

    Example:
        >>> markdown("See :class:`~convrnn_zoo.layers.Conv2dGRU` and :class:`torch.nn.GRU`.")
        'See [`Conv2dGRU`][convrnn_zoo.Conv2dGRU] and `torch.nn.GRU`.'
    """
    text = _MATH.sub(_mathml, text)
    text = _TABLE.sub(_table, text)
    text = _EXAMPLE.sub(r"\1Examples:", text)  # mkdocstrings recognises only the plural
    text = _HEADED.sub(r"\1\2:\n\1    \3:\n\n", text)
    return _ROLE.sub(_link, text)


def _mathml(match: re.Match[str]) -> str:
    """Converts a formula to MathML, which browsers render natively."""
    lines = " ".join(match[2].split())
    return match[1] + convert(rf"\begin{{align*}}{lines}\end{{align*}}", display="block") + "\n\n"


def _link(match: re.Match[str]) -> str:
    """Links public names of this package. Other names become code."""
    name = match[1].rpartition(".")[2]
    ours = match[1].startswith("convrnn_zoo.") or "." not in match[1]
    return f"[`{name}`][convrnn_zoo.{name}]" if ours and name in convrnn_zoo.__all__ else f"`{match[1]}`"


def _table(match: re.Match[str]) -> str:
    """Converts a simple table, whose cells are separated by at least two spaces."""
    head, *rows = (re.split(r" {2,}", line.strip()) for line in (match[2] + match[3]).splitlines())
    lines = (" | ".join(cells) for cells in (head, ["---"] * len(head), *rows))
    return "".join(f"{match[1]}| {line} |\n" for line in lines) + "\n"


class Docstrings(griffe.Extension):
    """Griffe extension that converts docstrings and resolves generated constructor signatures."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrites the docstring in place."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_class_members(self, *, node: Any, cls: griffe.Class, **kwargs: Any) -> None:
        """Uses the complete signature where a constructor passes on ``*args`` and ``**kwargs``.

        Classes that only set the dimension keep the first paragraph of their docstring: the rest is that of their base.
        """
        base = inspect.cleandoc(node.obj.__mro__[1].__doc__ or "")
        if cls.docstring and base and inspect.cleandoc(node.obj.__doc__ or "").endswith(f"\n\n{base}"):
            cls.docstring.value = cls.docstring.value.partition("\n\n")[0]
        signature = vars(node.obj).get("__signature__")
        if signature is not None:
            parameters = griffe.Parameters(*map(_parameter, signature.parameters.values()))
            cls.set_member("__init__", griffe.Function("__init__", parameters=parameters))


def _parameter(p: inspect.Parameter) -> griffe.Parameter:
    kind = griffe.ParameterKind[p.kind.name.lower()]
    annotation = re.sub(r"(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(p.annotation))
    return griffe.Parameter(
        p.name, annotation=annotation, kind=kind, default=None if p.default is p.empty else repr(p.default)
    )
