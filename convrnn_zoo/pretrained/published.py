"""Weights that other projects publish for architectures of the zoo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Weights that others publish, and what has been verified about them.

    Pass it to :func:`~convrnn_zoo.pretrained.registry.register_model` if the weights become a registered name, and to
    the converter's :class:`~convrnn_zoo.interop.Source` if they become a layer or a network without one. The table
    of published networks and ``convrnn-zoo info`` are generated from it.

    Args:
        where: URL of the page or file.
        form: name and format of the file.
        license: licence of the weights, and its source.
        convert: source, file and options of ``convrnn-zoo convert``.
        checked, unchecked: parts that were compared with the original implementation, and parts that were not.
        remarks: limitations of the weights.
        paper: authors, year and URL of the paper, if no docstring of a registered name has them.
        difference: largest difference from the original's outputs, as a share of their standard deviation, and the
            weights with which it was measured; "" if nobody has measured it.
        score: score of the converted file on real data, with the data; "" if nobody has measured it.
        becomes: result of the conversion, if it is no registered name.
    """

    where: str
    form: str
    license: str
    convert: str
    checked: str
    unchecked: str
    remarks: str = ""
    paper: str = ""
    difference: str = ""
    score: str = ""
    becomes: str = ""

    @property
    def command(self) -> str:
        """Shell command that converts the file."""
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
            "difference from the original": self.difference,
            "score on real data": self.score,
            "limitations": self.remarks,
        }
        return {name: text for name, text in fields.items() if text}

    def hint(self) -> str:
        """Returns where to find the weights and how to convert them, as one line for an error message."""
        return f"its weights are published at {self.where} ({self.license}): download the file, then `{self.command}`"


PUBLISHED: dict[str, Published] = {}
"""Published weights by architecture. :func:`~convrnn_zoo.pretrained.registry.register_model` fills it."""


RANDOM_WEIGHTS = "below 1e-5, random weights"
"""Difference of networks that were compared with the original code without the published file."""


def openstl_release(
    stem: str, patch_size: int = 4, *, epochs: tuple[int, ...] = (200, 2000), remarks: str = "", options: str = ""
) -> Published:
    """Describes files of weights that OpenSTL's benchmark page links to.

    The files are called ``mmnist_STEM_one_epN.pth``; there is one for each N in `epochs`.
    """
    files = [f"mmnist_{stem}_one_ep{n}.pth" for n in epochs]
    return Published(
        where="https://github.com/chengtan9907/OpenSTL/releases/tag/mmnist-weights",
        form=f"{' and '.join(files)}, state dicts, trained on Moving MNIST for as many epochs as the name says",
        license="Apache-2.0, that of OpenSTL's repository",
        convert=f"openstl {files[0]} --set patch_size={patch_size}{options}",
        checked="the network: outputs of a small one with random weights, against those of the original",
        unchecked="the files themselves, which were not seen: their keys, their figures",
        remarks=remarks,
        difference=RANDOM_WEIGHTS,
    )
