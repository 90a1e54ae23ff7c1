"""Models of the core family as classifiers of aeon: https://www.aeon-toolkit.org"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from ..._extras import need
from ...models import create_model

BaseClassifier: Any = need("aeon.classification.base", "data").BaseClassifier


class ConvRNNClassifier(BaseClassifier):
    """A recurrent classifier of time series with the interface of aeon. The series may differ in length.

    Each channel is standardised with the mean and the standard deviation of the training series. A 1-d model of the
    zoo then reads the series, and pools its features over the time steps that exist. Training minimises the cross
    entropy with AdamW and a one-cycle schedule.

    Args:
        model: a 1-d name of the core family, such as ``"convgru1d_bi_2layer"``.
        hidden_channels: channels of the state.
        epochs, batch_size, learning_rate: of the training.
        random_state: seed of the weights and of the order of the series; None for a random one.
        device: device of the model.

    Shapes:
        a list of arrays ``(channels, length)``, or an array ``(cases, channels, length)``.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = [rng.normal(i % 2, 0.3, size=(2, n)) for i, n in enumerate(range(5, 17))]
        >>> y = np.array(["low", "high"] * 6)
        >>> classifier = ConvRNNClassifier("convgru1d_1layer", epochs=30, random_state=0).fit(X, y)
        >>> classifier.predict(X[:2]).tolist()
        ['low', 'high']
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": ["np-list", "numpy3D"], "capability:multivariate": True, "capability:unequal_length": True,
        "algorithm_type": "deeplearning", "non_deterministic": True,
    }  # fmt: skip

    def __init__(
        self, model: str = "convgru1d_bi_2layer", hidden_channels: int = 32, epochs: int = 60, batch_size: int = 16,
        learning_rate: float = 0.01, random_state: int | None = None, device: str = "cpu",
    ) -> None:  # fmt: skip
        self.model, self.hidden_channels, self.epochs, self.batch_size = model, hidden_channels, epochs, batch_size
        self.learning_rate, self.random_state, self.device = learning_rate, random_state, device
        super().__init__()

    def _fit(self, X: Any, y: Any) -> "ConvRNNClassifier":  # noqa: N803
        series = [torch.as_tensor(x, dtype=torch.float32) for x in X]
        steps = torch.cat(series, 1)
        self._mean, self._std = steps.mean(1, keepdim=True), steps.std(1, correction=0, keepdim=True).clamp(min=1e-6)
        labels = torch.tensor([self._class_dictionary[label] for label in y])
        seed = torch.Generator().seed() % 2**63 if self.random_state is None else int(self.random_state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network_ = create_model(
                self.model, in_chans=len(steps), num_classes=len(self.classes_), hidden_channels=self.hidden_channels
            ).to(self.device)  # fmt: skip
            if (ndim := getattr(self.network_, "ndim", None)) != 1:
                raise ValueError(f"model must be 1-d, such as 'convgru1d_bi_2layer'; {self.model!r} has ndim={ndim}")
            optimizer = torch.optim.AdamW(self.network_.parameters(), lr=self.learning_rate)
            batches = -(-len(series) // self.batch_size)
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, self.learning_rate, total_steps=max(self.epochs * batches, 1)
            )
            for _ in range(self.epochs):
                for index in torch.randperm(len(series)).split(self.batch_size):
                    x, lengths = self._batch([series[i] for i in index])
                    loss = cross_entropy(self.network_(x, lengths=lengths), labels[index].to(self.device))
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(self.network_.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
        self.network_.eval()
        return self

    def _batch(self, series: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Returns standardised series ``(N, T, C, 1)``, padded to the longest, and their lengths."""
        x = pad_sequence([((s - self._mean) / self._std).T for s in series], batch_first=True)
        return x[..., None].to(self.device), [s.shape[1] for s in series]

    @torch.no_grad()
    def _predict_proba(self, X: Any) -> Any:  # noqa: N803
        series = [torch.as_tensor(x, dtype=torch.float32) for x in X]
        logits = []
        for i in range(0, len(series), self.batch_size):
            x, lengths = self._batch(series[i : i + self.batch_size])
            logits.append(self.network_(x, lengths=lengths))
        return torch.cat(logits).double().softmax(1).cpu().numpy()

    def _predict(self, X: Any) -> Any:  # noqa: N803
        return self.classes_[self._predict_proba(X).argmax(1)]

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return {"model": "convgru1d_1layer", "hidden_channels": 4, "epochs": 2, "random_state": 0}
