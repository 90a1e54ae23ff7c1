"""What OpenSTL publishes for its recurrent models."""

from .published import Published


def release(
    stem: str, patch_size: int = 4, *, epochs: tuple[int, ...] = (200, 2000), remarks: str = "", options: str = ""
) -> Published:
    """The record of the files ``mmnist_STEM_one_epN.pth`` that OpenSTL's page of benchmarks links to."""
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
