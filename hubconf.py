"""torch.hub: ``torch.hub.load(repo, name, pretrained=False, **kwargs)`` calls ``convrnn_zoo.create_model``.

Every registered name is an entry point; ``torch.hub.list`` lists them and ``torch.hub.help`` prints their arguments.
``torch.hub.load(repo, "from_pretrained", "owner/name")`` loads a model from the Hugging Face Hub or a directory.
"""

# torch.hub treats every public callable of this file as an entry point, so the others have private names.
from convrnn_zoo.models import create_model as _create_model
from convrnn_zoo.models import from_pretrained as from_pretrained
from convrnn_zoo.pretrained.registry import entry_points as _entry_points

dependencies = ["torch", "timm", "huggingface_hub", "safetensors"]


def _entry(name, registered):
    def load(pretrained=False, **kwargs):
        return _create_model(name, pretrained=pretrained, **kwargs)

    load.__name__ = load.__qualname__ = name
    load.__doc__ = registered.__doc__
    return load


globals().update({_name: _entry(_name, _registered) for _name, _registered in _entry_points().items()})
