"""What the attributes of modules refer to: other modules, registered or not, and objects that lead to modules."""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any
from weakref import ref

import torch
from torch import nn

OWN = ("_parameters", "_buffers", "_modules")
"""Tables of a module that its twin copies, so that tensors can be swapped in the view alone."""

CONTAINERS = (list, set, frozenset, tuple, deque)

_PLAIN = frozenset(
    (bool, int, float, str, bytes, type(None), torch.Tensor, nn.Parameter, torch.Size, torch.dtype, type)
)
_TABLES = frozenset((dict, OrderedDict))
_OPEN = frozenset(("types", "argparse", "collections"))
"""Parts of the standard library whose objects hold what a user puts into them, such as SimpleNamespace."""


class References:
    """The modules that a model leads to, and the objects on the way to them.

    Attributes:
        modules: all modules except script modules, those of the model first.
        scripts: script modules.
        roots: the model, and modules that are registered in none of those found before, as in a plain list.
        holders: id of every object that leads to a module, of every module, and of the objects that hooks fill.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> model.others = [nn.ReLU()]
        >>> found = References(model)
        >>> list(found.modules), id(model.others) in found.holders
        ([Linear(in_features=1, out_features=1, bias=True), ReLU()], True)
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: dict[nn.Module, None] = {}
        self.scripts: dict[nn.Module, None] = {}
        self.roots: list[nn.Module] = []
        self._seen: dict[int, Any] = {}  # keeps the objects, so that no id is used again
        self._parents: dict[int, list[int]] = {}
        self._add(model)
        self.holders = self._leading_to([*self.modules, *self.scripts, *_carriers(list(self.modules))])

    def _add(self, model: nn.Module) -> None:
        """Follow a model, and all that it refers to."""
        todo: list[Any] = [model]
        while todo:
            value = todo.pop()
            if isinstance(value, nn.Module):
                todo += self._add_modules(value)
                continue
            for part in parts_of(value):
                self._parents.setdefault(id(part), []).append(id(value))
                if id(part) not in self._seen and not isinstance(value, ref):
                    self._seen[id(part)] = part
                    todo.append(part)

    def _add_modules(self, root: nn.Module) -> list[Any]:
        """Add a module and those registered in it, and return what their attributes refer to."""
        if root in self.modules or root in self.scripts:
            return []
        self.roots.append(root)
        found = []
        for module in root.modules():
            if isinstance(module, torch.jit.ScriptModule):
                self.scripts[module] = None
            elif module not in self.modules:
                self.modules[module] = None
                state = dict(vars(module))  # a copy, since other threads may add attributes
                found += [value for name, value in state.items() if name not in OWN and not is_plain(value)]
        new = {id(value): value for value in found if id(value) not in self._seen}
        self._seen |= new
        return list(new.values())

    def _leading_to(self, targets: Iterable[Any]) -> set[int]:
        """Return the ids of targets and of all objects from which a path of references leads to one."""
        todo = [id(target) for target in targets]
        for target in targets:
            if not isinstance(target, nn.Module):  # filled in a call: its tables are copied too
                todo += [id(item) for item in attributes_of(target).values() if isinstance(item, list | dict | set)]
        leading = set(todo)
        while todo:
            new = [parent for parent in self._parents.get(todo.pop(), ()) if parent not in leading]
            leading.update(new)
            todo += new
        return leading


def parts_of(value: Any) -> Iterable[Any]:
    """Return what a container, a function or an object refers to, except for plain values."""
    kind = type(value)
    parts: Iterable[Any] = ()
    if isinstance(value, CONTAINERS):
        parts = list(value)
    elif isinstance(value, dict):
        parts = [part for row in list(value.items()) for part in row]
    elif kind is partial:
        parts = (value.func, value.args, value.keywords)
    elif kind is MethodType:
        parts = (value.__self__,)
    elif isinstance(value, ref):
        parts = (value(),)
    elif kind is FunctionType:
        cells = [content_of(cell) for cell in value.__closure__ or ()]
        parts = (*cells, value.__defaults__, value.__kwdefaults__)
    return [part for part in (*parts, *attributes_of(value).values()) if not is_plain(part)]


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, in slots too; none of a function, or of an object of torch or Python."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if isinstance(value, type) or library == "torch" or (library in sys.stdlib_module_names and library not in _OPEN):
        return {}
    state = object.__getstate__(value)
    tables = state if isinstance(state, tuple) else (state,)
    return {name: item for table in tables if isinstance(table, dict) for name, item in table.items()}


def is_plain(value: Any) -> bool:
    """Return whether a value refers to nothing: a number, a text, a tensor, or a container of such values alone."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind in _TABLES:
        return not value
    return kind in CONTAINERS and _PLAIN.issuperset(map(type, list(value)))


def content_of(cell: CellType) -> Any:
    """Return what a closure's cell holds, None for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _carriers(modules: list[nn.Module]) -> list[Any]:
    """Return the objects of a model whose methods are its hooks: they carry maps from one module to another in a call.

    timm collects the maps of some networks so. Two calls at a time must not put them in one object.
    """
    hooks = [
        hook for module in modules for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    methods = [hook.func if isinstance(hook, partial) else hook for hook in hooks]
    owners = {id(method.__self__): method.__self__ for method in methods if isinstance(method, MethodType)}
    held = {id(value) for module in modules for value in vars(module).values()} if owners else set()
    return [owner for key, owner in owners.items() if key in held and not isinstance(owner, nn.Module | type)]
