"""Lengths in a graph are valid for other lengths than those of the trace."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo.models.base.lengths import POOLS
from tests.helpers.registry import slow_unless

KINDS = ("convrnn", "convlstm", "convpeepholelstm", "convgru", "minconvgru", "minconvlstm", "minconvexplstm")
STEPS = 5
OTHERS = ([5, 2, 1], [1, 1, 1], [3, 4, 5], [5, 5, 5])
"""Lengths that differ from those of every trace."""


def build(kind, directions="_bi", layers=2, **kwargs):
    args = {"in_chans": 2, "hidden_channels": 4, **kwargs}
    return convrnn_zoo.create_model(f"{kind}1d{directions}_{layers}layer", **args).eval()


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
