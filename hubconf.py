"""torch.hub: ``torch.hub.load(repo, name, pretrained=False, **kwargs)`` builds what ``convrnn_zoo.create_model`` does.

One entry point a registered name; ``torch.hub.list`` shows them and ``torch.hub.help`` tells what each takes.
"""

# torch.hub takes every public callable here for an entry point: what is not one goes by a private name.
from convrnn_zoo.models import create_model as _create_model
from convrnn_zoo.pretrained.registry import entry_points as _entry_points

dependencies = ["torch", "timm", "huggingface_hub", "safetensors"]


def _entry(name, registered):
    def load(pretrained=False, **kwargs):
        return _create_model(name, pretrained=pretrained, **kwargs)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = registered.__doc__
    return load


globals().update({_name: _entry(_name, _registered) for _name, _registered in _entry_points().items()})
