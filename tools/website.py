"""What mkdocs.yml loads: docstrings as Markdown, and tables that fit a phone."""

import inspect
import itertools
import re
from typing import Any

import griffe
from latex2mathml.converter import convert

import convrnn_zoo

_MATH = re.compile(r"^( *)\.\. math::\n((?:\1 +\S.*\n?|\n(?=\1 ))+)", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([\w.]+)`")


def markdown(text: str) -> str:
    """Converts the formulas and roles of a docstring to Markdown.

    Example:
        >>> markdown("See :class:`~convrnn_zoo.layers.Conv2dGRU` and :class:`torch.nn.GRU`.")
        'See [`Conv2dGRU`][convrnn_zoo.Conv2dGRU] and `torch.nn.GRU`.'
    """
    text = _MATH.sub(_mathml, text)
    text = re.sub("(?m)^( *)Example:$", r"\1Examples:", text)  # mkdocstrings recognises only the plural
    text = re.sub(r"(?m)^( *)(Shapes?) \((.+)\):\n", r"\1\2:\n\1    \3:\n\n", text)
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


# ---- pages --------------------------------------------------------------------------------------------------------
def on_post_page(output: str, **_: Any) -> str:
    """Marks wide tables, and lets names wrap at underscores, dots and brackets, after the page was indexed."""
    output = re.sub("<table>(.*?)</table>", _mark, output, flags=re.DOTALL)
    breaks = re.compile(r"(?<=[^\W_][_.])(?=\w)|(?<=\w)(?=\[)|(?<=]_)")
    names = r"(<t[dh][^>]*>(?:<a [^>]*>)?<code>)([^<]+)"
    return re.sub(names, lambda name: name[1] + breaks.sub("<wbr>", name[2]), output)


def _mark(table: re.Match[str]) -> str:
    """Adds the title of its column to each cell of a table with more than three columns, which style.css stacks."""
    titles = [re.sub("<[^>]+>", "", th).replace('"', "&quot;") for th in re.findall("<th[^>]*>(.*?)</th>", table[1])]
    if len(titles) < 4:
        return table[0]
    titled = (f'<td data-title="{title}"' for title in itertools.cycle(titles))
    return f"<table data-wide>{re.sub('<td(?=[ >])', lambda _: next(titled), table[1])}</table>"
