"""Lengths in a graph: computed by masks, equal to packing, and valid for other lengths than those of the trace."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import convrnn_zoo
from convrnn_zoo.models.base.lengths import POOLS, pack, step_mask, unpack
from tests.helpers.registry import slow_unless

KINDS = ("convrnn", "convlstm", "convpeepholelstm", "convgru", "minconvgru", "minconvlstm", "minconvexplstm")
STEPS = 5
OTHERS = ([5, 2, 1], [1, 1, 1], [3, 4, 5], [5, 5, 5])
"""Lengths that differ from those of every trace."""


def build(kind, directions="_bi", layers=2, **kwargs):
    args = {"in_chans": 2, "hidden_channels": 4, **kwargs}
    return convrnn_zoo.create_model(f"{kind}1d{directions}_{layers}layer", **args).eval()


def random_state(rnn, batch):
    parts = tuple(torch.randn(rnn.num_layers * rnn.num_directions, batch, 4, 6) for _ in rnn.states)
    return parts if len(parts) > 1 else parts[0]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_masked_is_packed(data):
    torch.manual_seed(data.draw(st.integers(0, 9), label="seed"))
    directions, layers = data.draw(st.sampled_from(["", "_bi"])), data.draw(st.integers(1, 3))
    model = build(data.draw(st.sampled_from(KINDS)), directions, layers)
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, STEPS), min_size=1, max_size=4), label="lengths"))
    x = torch.randn(len(lengths), STEPS, 2, 6, requires_grad=True)
    hx = random_state(model.rnn, len(x)) if data.draw(st.booleans(), label="with a state") else None
    depth = data.draw(st.integers(1, layers), label="depth")

    packed, state = model.rnn.forward_layers(pack(x, lengths), hx, depth)
    outputs = [unpack(y, STEPS)[0] for y in packed]
    masked = model.rnn.forward_layers(x, hx, depth, mask=step_mask(x, lengths))
    torch.testing.assert_close(masked, (outputs, state), atol=1e-5, rtol=1e-5)
    upstream = torch.randn_like(outputs[-1])
    grads = [torch.autograd.grad(y[-1], x, upstream)[0] for y in (masked[0], outputs)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("directions", ["", "_bi"])
@pytest.mark.parametrize("kind", slow_unless("convgru".__eq__, KINDS))
def test_an_exported_program_takes_other_lengths(kind, directions):
    model = build(kind, directions, num_classes=3, global_pool="last")
    example = (torch.randn(3, STEPS, 2, 6), None, torch.tensor([4, 5, 3]))
    program = torch.export.export(model, example).module()
    x = torch.randn(3, STEPS, 2, 6)
    for lengths in map(torch.tensor, OTHERS):
        torch.testing.assert_close(program(x, None, lengths), model(x, lengths=lengths), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pool", slow_unless("last".__eq__, ["", *POOLS]))
def test_one_graph_serves_all_lengths(pool):
    torch.compiler.reset()
    model, graphs = build("convlstm", num_classes=3, global_pool=pool), []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=count, fullgraph=True)
    x = torch.randn(3, STEPS, 2, 6)
    for lengths in map(torch.tensor, OTHERS):
        torch.testing.assert_close(compiled(x, lengths=lengths), model(x, lengths=lengths), atol=1e-5, rtol=1e-5)
    assert len(graphs) == 1


@pytest.mark.slow
def test_a_program_of_any_batch():
    model = build("convgru", num_classes=3)
    batch = torch.export.Dim("batch", max=64)
    example = (torch.randn(3, STEPS, 2, 6), None, torch.tensor([4, 5, 3]))
    program = torch.export.export(model, example, dynamic_shapes=({0: batch}, None, {0: batch})).module()
    x, lengths = torch.randn(7, STEPS, 2, 6), torch.tensor([1, 2, 3, 4, 5, 5, 1])
    torch.testing.assert_close(program(x, None, lengths), model(x, lengths=lengths), atol=1e-5, rtol=1e-5)


def test_the_average_pool_of_half_precision_is_finite_with_lengths():
    torch.manual_seed(0)
    x = (40 + torch.randn(2, 2000, 3, 4)).half()
    half, exact = (POOLS["avg"](y, torch.tensor([2000, 1500]), 1) for y in (x, x.double()))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half, exact.half(), rtol=2e-3, atol=0)
    x = torch.full((1, 65_600, 1, 1), 0.5, dtype=torch.float16)
    assert POOLS["avg"](x, torch.tensor([65_600]), 1).item() == 0.5
