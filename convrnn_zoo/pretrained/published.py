"""Weights that other projects publish for architectures of the zoo, and parameters that published code never uses."""

from dataclasses import dataclass

from torch import nn

__all__ = ["PUBLISHED", "Published", "count_unused_params", "mark_unused", "openstl_release"]


@dataclass(frozen=True)
class Published:
    """Location of weights that others publish for an architecture, and what has been verified about them.

    Every field states what was read or run. `unchecked` states what was not.
    """

    where: str
    """URL of the page or file."""
    form: str
    """Name and format of the file."""
    license: str
    """Licence of the weights, and its source."""
    convert: str
    """Source, file and options of ``convrnn-zoo convert``."""
    checked: str
    """Comparisons with the original that were made."""
    unchecked: str
    """Aspects that were not verified."""
    remarks: str = ""
    """Limitations of the weights."""

    @property
    def command(self) -> str:
        """Command that converts the file to a model of the zoo."""
        source_and_file, _, options = self.convert.partition(" --")
        return f"convrnn-zoo convert {source_and_file} -o converted" + (f" --{options}" if options else "")

    def describe(self) -> dict[str, str]:
        """Returns the fields that ``convrnn-zoo info`` prints."""
        fields = {
            "published elsewhere": self.where,
            "their form": self.form,
            "their licence": self.license,
            "to convert them": self.command,
            "checked": self.checked,
            "not checked": self.unchecked,
            "limitations": self.remarks,
        }
        return {name: text for name, text in fields.items() if text}

    def hint(self) -> str:
        """Returns one line for an error message."""
        return f"its weights are published at {self.where} ({self.license}): download the file, then `{self.command}`"


PUBLISHED: dict[str, Published] = {}
"""Published weights by architecture. :func:`~convrnn_zoo.pretrained.registry.register_model` fills it."""


def openstl_release(
    stem: str, patch_size: int = 4, *, epochs: tuple[int, ...] = (200, 2000), remarks: str = "", options: str = ""
) -> Published:
    """Returns the entry of the files ``mmnist_STEM_one_epN.pth`` that OpenSTL's benchmark page links to."""
    files = [f"mmnist_{stem}_one_ep{n}.pth" for n in epochs]
    return Published(
        where="https://github.com/chengtan9907/OpenSTL/releases/tag/mmnist-weights",
        form=f"{' and '.join(files)}, state dicts, trained on Moving MNIST for as many epochs as the name says",
        license="Apache-2.0, that of OpenSTL's repository",
        convert=f"openstl {files[0]} --set patch_size={patch_size}{options}",
        checked="the network: outputs of a small one with random weights, against those of the original",
        unchecked="the files themselves, which were not seen: their keys, their figures",
        remarks=remarks,
    )


def mark_unused(module: nn.Module) -> nn.Module:
    """Freezes and returns a module that published code builds but never uses, so that parameter counts agree.

    Its parameters need no gradients, so that neither optimizers nor distributed training wait for them.
    """
    return module.requires_grad_(False)


def count_unused_params(model: nn.Module) -> int:
    """Returns the number of parameters of a new model that are unused, which are those of its frozen modules.

    Example:
        >>> count_unused_params(nn.Sequential(nn.Linear(2, 2), mark_unused(nn.Linear(3, 1))))
        4
    """
    return sum(p.numel() for p in model.parameters() if not p.requires_grad)
