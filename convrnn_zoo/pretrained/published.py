"""Weights that their owners publish elsewhere: what is known of them, beside the architecture that they are for."""

from dataclasses import dataclass

from torch import nn

__all__ = ["PUBLISHED", "Published", "unread", "unread_parameters"]


@dataclass(frozen=True)
class Published:
    """Where others publish weights for an architecture, and what of that was seen.

    Nothing stands here that was not read or run: what was not is told in `unchecked`, in words.

    Example:
        >>> record = Published("https://example.org/w", "w.ckpt, a Lightning checkpoint", "MIT", "irene w.ckpt", "", "")
        >>> record.command
        'convrnn-zoo convert irene w.ckpt -o converted'
    """

    where: str
    """The address of the page or file."""
    form: str
    """The file's name and kind."""
    license: str
    """Of these weights, and who says so."""
    convert: str
    """Source, file and options of ``convrnn-zoo convert``, for the file that a user brings."""
    checked: str
    """What was compared with the original."""
    unchecked: str
    """What was not seen."""
    remarks: str = ""
    """What to beware of before the weights are used."""

    @property
    def command(self) -> str:
        """The line that makes a model of the zoo of the file."""
        source_and_file, _, options = self.convert.partition(" --")
        return f"convrnn-zoo convert {source_and_file} -o converted" + (f" --{options}" if options else "")

    def facts(self) -> dict[str, str]:
        """The record as ``convrnn-zoo info`` tells it."""
        facts = {
            "published elsewhere": self.where,
            "their form": self.form,
            "their licence": self.license,
            "to convert them": self.command,
            "checked": self.checked,
            "not checked": self.unchecked,
            "beware": self.remarks,
        }
        return {name: words for name, words in facts.items() if words}

    def hint(self) -> str:
        """The record in one line, for an error."""
        return f"its weights are published at {self.where} ({self.license}): fetch the file, then `{self.command}`"


PUBLISHED: dict[str, Published] = {}
"""By the name of the architecture; :func:`~convrnn_zoo.pretrained.registry.register` fills it."""


def unread(module: nn.Module) -> nn.Module:
    """Marks a module that published code builds and never reads: kept, so that the sizes are the published ones.

    Its parameters are frozen, so that no optimizer, and no training in several processes, waits for their gradients.
    """
    return module.requires_grad_(False)


def unread_parameters(model: nn.Module) -> int:
    """How many parameters of a freshly built model nothing reads: those of its :func:`unread` modules.

    Example:
        >>> unread_parameters(nn.Sequential(nn.Linear(2, 2), unread(nn.Linear(3, 1))))
        4
    """
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)
