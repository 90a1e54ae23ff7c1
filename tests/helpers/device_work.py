"""Work of every kind, to be done on a device: ``all_work()[name](device, dtype)`` returns a function."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import convrnn_zoo
from convrnn_zoo import verify
from convrnn_zoo.verify import LOSSES, fair_crps, quantile_crps
from tests.helpers.hub.examples import make, representatives
from tests.helpers.layers.oracles import CELLS, SEQUENCES, case_id, mapped, over_variants, space, tensors

Step = Callable[[], Any]
Work = Callable[[torch.device, torch.dtype], Step]


def _place(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    return module.to(device, dtype)


def _input(*shape: int, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Returns random numbers, the same on every device."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return x.to(device, dtype)


def _with_gradients(module: nn.Module, run: Callable[[], Any], *inputs: Tensor) -> Any:
    """Returns the outputs, and the gradients of the mean square of all of them."""
    outputs = run()
    leaves = [p for p in [*inputs, *module.parameters()] if p.requires_grad]
    loss = sum(y.float().square().mean() for y in tensors(outputs) if y.requires_grad)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)  # type: ignore[arg-type]
    return outputs, tuple(g for g in grads if g is not None)


def layer(cls: Any, options: dict, form: str, device: torch.device, dtype: torch.dtype) -> Step:
    """Two layers in both directions: with a given state, packed, masked or checkpointed."""
    torch.manual_seed(0)
    rnn: Any = _place(cls(2, 3, 3, num_layers=2, bidirectional=True, **options), device, dtype)
    x = _input(4, 3, 2, *space(rnn), device=device, dtype=dtype).requires_grad_()
    lengths = torch.tensor([4, 3, 1])
    mask = (torch.arange(4)[:, None] < lengths).to(device)
    hx = mapped(lambda s: torch.full_like(s, 0.5), rnn(x.detach())[1]) if form == "state" else None
    rnn.grad_checkpointing = form == "checkpointed"
    if form == "packed":  # whose batch sizes and order torch keeps on the host and on the device
        packed = pack_padded_sequence(x, torch.tensor([3, 4, 1]), enforce_sorted=False)

        def run_packed() -> Any:
            y, state = rnn(PackedSequence(x.flatten(0, 1)[: len(packed.data)], *packed[1:]))
            return y.data, state

        return partial(_with_gradients, rnn, run_packed, x)
    return partial(_with_gradients, rnn, lambda: rnn(x, hx, mask=mask if form == "masked" else None), x)


def cell(cls: Any, options: dict, device: torch.device, dtype: torch.dtype) -> Step:
    torch.manual_seed(0)
    module: Any = _place(cls(2, 3, 3, **options), device, dtype)
    x = _input(3, 2, *space(module), device=device, dtype=dtype).requires_grad_()
    state = module(x.detach())
    return partial(_with_gradients, module, lambda: module(x, mapped(Tensor.detach, state)), x)


def model(name: str, device: torch.device, dtype: torch.dtype) -> Step:
    """A small version of an architecture, with a training step's forward and backward pass."""
    network: Any = _place(make(name), device, dtype).eval()
    ndim = getattr(network, "ndim", 2)
    edge = {2: 60 if name.endswith("_hko7") else 32}.get(ndim, 8)  # the radar forecasters need multiples of 30
    size = (1,) if name == "audio_convrnn" else (edge,) * ndim
    steps = getattr(network, "input_frames", None) or 3
    x = _input(2, steps, network.in_chans, *size, device=device, dtype=dtype)
    return partial(_with_gradients, network, lambda: network(x))


def stream(device: torch.device, dtype: torch.dtype) -> Step:
    torch.manual_seed(0)
    network = convrnn_zoo.create_model("convlstm2d_2layer", in_chans=2, num_classes=3, hidden_channels=4)
    network = _place(network, device, dtype).eval()
    x = _input(2, 6, 2, 8, 8, device=device, dtype=dtype)

    @torch.no_grad()
    def run() -> Any:
        pieces = convrnn_zoo.Stream(network)
        return [pieces(x[:, :4]), pieces(x[:, 4]), pieces(x[:, 5:])], network(x)

    return run


def forecaster_stream(device: torch.device, dtype: torch.dtype) -> Step:
    torch.manual_seed(0)
    network = convrnn_zoo.create_model("convgru_forecaster", hidden_channels=[4, 4], kernel_size=3)
    network = _place(network, device, dtype).eval()
    x = _input(1, 3, 1, 8, 8, device=device, dtype=dtype)

    @torch.no_grad()
    def run() -> Any:
        pieces = convrnn_zoo.Stream(network)
        return [pieces(x[:, t], horizon=2) for t in range(3)]

    return run


def spotting(device: torch.device, dtype: torch.dtype) -> Step:
    torch.manual_seed(0)
    network: Any = convrnn_zoo.create_model("audio_convrnn", hidden_channels=4, stem_channels=4, num_classes=3).eval()
    network.front_end = convrnn_zoo.LogMel(rate=8000)
    network.pretrained_cfg["label_names"] = ["yes", "no", "up"]
    spotter = convrnn_zoo.Spotter(_place(network, device, dtype), 0.5, seconds=0.5, windows=5)
    wave = 0.3 * _input(16000, device=torch.device("cpu"), dtype=torch.float32)
    return lambda: torch.stack([p for _, p in spotter.read(wave, 8000)]).to(device)


def lengths(device: torch.device, dtype: torch.dtype) -> Step:
    """Sequences of unequal length, whose lengths are on the host, and pools over them."""
    torch.manual_seed(0)
    networks = [
        convrnn_zoo.create_model("convgru1d_bi_2layer", in_chans=2, num_classes=3, hidden_channels=4, global_pool=pool)
        for pool in ("avg", "max", "last")
    ]
    every = nn.ModuleList(_place(network, device, dtype) for network in networks).train()
    x = _input(3, 5, 2, 6, device=device, dtype=dtype)
    counts = torch.tensor([5, 2, 4])
    return partial(_with_gradients, every, lambda: [network(x, lengths=counts) for network in every])


def losses(device: torch.device, dtype: torch.dtype) -> Step:
    amount = _input(2, 3, 1, 16, 16, device=device, dtype=dtype).abs()
    output = _input(2, 3, 1, 16, 16, device=device, dtype=dtype, seed=1).sigmoid().requires_grad_()
    logits = _input(2, 3, 11, 16, 16, device=device, dtype=dtype, seed=2).requires_grad_()
    members = _input(4, 2, 3, 1, 16, 16, device=device, dtype=dtype, seed=3).requires_grad_()

    def run() -> Any:
        truth = amount.clamp(max=1)
        read = {"exceedance": (logits, truth[:, :, 0], truth[:, :, 0]), "crps": (members, truth, truth)}
        values = [loss.of(*read.get(name, (output, truth, amount))) for name, loss in LOSSES.items()]
        return torch.stack(
            [*(v.to(dtype) for v in values), fair_crps(members, truth).mean(), quantile_crps(members, truth).mean()]
        )

    holder = nn.Module()
    return partial(_with_gradients, holder, run, output, logits, members)


def metrics(device: torch.device, dtype: torch.dtype) -> Step:
    truth = _input(2, 3, 1, 16, 16, device=device, dtype=dtype)
    truth[0, 0, 0, 0, 0] = torch.nan
    members = _input(4, 2, 3, 1, 16, 16, device=device, dtype=dtype, seed=1)

    def run() -> Any:
        by_frame = verify.frame_scores(members[0], truth, (-1.0, 1.0), ("bias",))
        occurrences, probable = verify.Occurrences(0.5, 3), verify.ProbabilityScores((0.5,), 3)
        occurrences.add(members[0], truth)
        probable.add(members, truth)
        ensemble = verify.ensemble_scores(members[:, 0, :, 0], truth[0, :, 0])
        by_time = [*occurrences.scores().values(), *probable.scores("").values(), *ensemble.values()]
        return *by_frame.values(), torch.tensor(by_time, device=device)

    return run


def _pretrained(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    return convrnn_zoo.create_model(name, pretrained=True, device=device, dtype=dtype).eval()


def loading(device: torch.device, dtype: torch.dtype) -> Step:
    """Shipped weights, loaded to the device and not moved there."""
    return lambda: list(_pretrained("convgru_forecaster.moving_mnist", device, dtype).state_dict().values())


def forecast(device: torch.device, dtype: torch.dtype) -> Step:
    network = _pretrained("convgru_forecaster.rain", device, dtype)
    rain = 5 * _input(5, 30, 40, device=device, dtype=torch.float32).abs()
    return lambda: network.forecast(rain, 3)


def classification(device: torch.device, dtype: torch.dtype) -> Step:
    network = _pretrained("convlstm1d_bi_1layer.japanese_vowels", device, dtype)
    x = [_input(n, 12, device=torch.device("cpu"), dtype=torch.float32, seed=n) for n in (9, 20)]
    return lambda: torch.tensor([list(p.probabilities.values()) for p in network.classify(x)], device=device)


def nowcast(kind: str, device: torch.device, dtype: torch.dtype) -> Step:
    network = _pretrained("convgru_advection.nowcast", device, dtype)
    rain = F.avg_pool2d(20 * _input(1, 4, 64, 64, device=device, dtype=torch.float32).relu(), 9, 1, 4)[0]
    if kind == "probabilities":
        return lambda: network.probabilities(rain, [0.5, 5.0], horizon=2)
    if kind == "members":  # the same seed gives the same members on any device
        return lambda: network.forecast(rain, 2, members=2, seed=3)
    return lambda: network.forecast(rain, 2)


SAMPLES_MOTION = ("convgru_advection", "motionrnn_predrnn", "trajgru_hko7")
"""Networks that sample along a motion, which the representatives need not include."""
FORMS = ("state", "packed", "masked", "checkpointed")


def all_work() -> dict[str, Work]:
    """Returns the work of every kind by its name."""
    layers = {
        f"layer {cls.__name__} {case_id(options)} {form}": partial(layer, cls, options, form)
        for cls, options in over_variants(SEQUENCES)
        for form in FORMS
    }
    cells = {
        f"cell {cls.__name__} {case_id(options)}": partial(cell, cls, options) for cls, options in over_variants(CELLS)
    }
    models = {f"model {name}": partial(model, name) for name in sorted({*representatives(), *SAMPLES_MOTION})}
    return {
        **layers,
        **cells,
        **models,
        "stream": stream,
        "stream of a forecaster": forecaster_stream,
        "spotting": spotting,
        "lengths": lengths,
        "losses": losses,
        "metrics": metrics,
        "loading": loading,
        "forecast": forecast,
        "classification": classification,
        **{f"nowcast {kind}": partial(nowcast, kind) for kind in ("amounts", "probabilities", "members")},
    }
