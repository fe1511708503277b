"""A view of a model in evaluation mode, so that nothing switches the mode of a model that others use meanwhile."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import is_
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar, cast

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)

_OWN = ("_parameters", "_buffers", "_modules")
"""Tables of a module that its twin copies, so that tensors can be swapped in the view alone."""

_PLAIN = frozenset(
    (bool, int, float, str, bytes, type(None), torch.Tensor, nn.Parameter, torch.Size, torch.dtype, type)
)
_TABLES = frozenset((dict, OrderedDict))
_MISSING = object()


def evaluation_view(model: M) -> M:
    """Return a copy of a model that shares its tensors and is in evaluation mode; the model is not touched.

    Every module has a twin of the same class and with the same attributes, but with a mode and tables of tensors of its
    own. Attributes, hooks and methods that refer to a module of the model refer to its twin in the view, in lists and
    mappings, partial functions and simple objects too, and in functions that close over it. A module that
    torch.compile wrapped stays compiled. A script module in training mode is copied with its tensors.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
        >>> view = evaluation_view(model)
        >>> view[1].training, model[1].training, view[0].weight is model[0].weight
        (False, True, True)
    """
    return cast(M, _Twins(model).view)


@contextmanager
def evaluating(model: M) -> Iterator[M]:
    """Yield an `evaluation_view` of a model, whose own attributes the model gets at the end.

    These are values that a module or a hook sets while the view runs, such as a count of calls.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> _ = model.register_forward_hook(lambda module, args, output: setattr(module, "seen", len(output)))
        >>> with evaluating(model) as view:
        ...     _ = view(torch.zeros(3, 1))
        >>> model.seen, model.training
        (3, True)
    """
    twins = _Twins(model)
    before = [[dict(table) for table in tables_of(twin)] for twin in twins.pairs.values()]
    try:
        yield cast(M, twins.view)
    finally:
        twins.carry_over(before)


class _Twins:
    """The modules of a model, each with its twin."""

    def __init__(self, model: nn.Module) -> None:
        modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
        self.pairs: dict[nn.Module, nn.Module] = {module: object.__new__(type(module)) for module in modules}
        self._objects: dict[int, Any] = {}
        for carrier in _carriers(modules):
            self._objects[id(carrier)] = twin = copy.copy(carrier)
            own = {name: copy.copy(item) for name, item in vars(carrier).items() if isinstance(item, list | dict | set)}
            vars(twin).update({name: self._mapped(item, nested=True) for name, item in (vars(carrier) | own).items()})
        for module, twin in reversed(self.pairs.items()):  # what torch.compile wrapped comes before its wrapper
            self._fill(twin, module)
        self.view = self._of(model)
        self.view.eval()

    def carry_over(self, before: list[list[dict[str, Any]]]) -> None:
        """Give the modules what their twins have and had not before, except for modes."""
        originals = {id(twin): module for module, twin in self.pairs.items()}
        for (module, twin), old_tables in zip(self.pairs.items(), before, strict=True):
            for old, new, own in zip(old_tables, tables_of(twin), tables_of(module), strict=True):
                if len(new) == len(old) and all(map(is_, new.values(), old.values())):
                    continue  # as nearly always
                for name, value in new.items():
                    if value is not old.get(name, _MISSING) and name != "training":
                        own[name] = originals.get(id(value), value)

    def _fill(self, twin: nn.Module, module: nn.Module) -> None:
        state = dict(vars(module))  # a copy, since other threads may add attributes
        for name, value in list(state.items()):
            kind = type(value)
            if name in _OWN:
                state[name] = dict(value)
            elif kind not in _PLAIN and (
                value or kind not in _TABLES
            ):  # most tables are empty, and many attributes plain
                state[name] = self._mapped(value)
        children = state["_modules"]
        for name, child in children.items():
            if child is not None:
                children[name] = self._of(child)
        if state.get("_compiled_call_impl") is not None and any(part.training for part in module.modules()):
            state["_compiled_call_impl"] = None  # compiled in place: it would call the module, not its twin
        if "_orig_mod" in children:  # a wrapper of torch.compile, which binds its forward when it is unpickled
            twin.__setstate__({name: state[name] for name in module.__getstate__()})
        else:
            vars(twin).update(state)

    def _of(self, module: nn.Module) -> nn.Module:
        """Return the twin of a module of the model, or another module itself."""
        if isinstance(module, torch.jit.ScriptModule) and module.training:
            return copy.deepcopy(module)
        return self.pairs.get(module, module)

    def _mapped(self, value: Any, *, nested: bool = False) -> Any:
        """Return a value with twins in place of modules, or the value itself if it refers to none of the model."""
        kind = type(value)
        if kind in _PLAIN or isinstance(value, type):
            return value
        if isinstance(value, nn.Module):
            return self.pairs.get(value, value)
        if kind in (list, set, frozenset) or isinstance(value, tuple):
            if _PLAIN.issuperset(map(type, value)):
                return value
            old = list(value)
            items = [self._mapped(item, nested=nested) for item in old]
            named = isinstance(value, tuple) and kind is not tuple  # a named tuple takes its items one by one
            return value if _same(items, old) else kind(*items) if named else kind(items)
        if kind in _TABLES:
            old = list(value.items())
            items = [self._mapped(row, nested=nested) for row in old]
            return value if _same(items, old) else kind(items)
        if kind is partial:
            parts = (value.func, value.args, value.keywords)
            func, args, keywords = self._mapped(parts, nested=nested)
            return value if _same((func, args, keywords), parts) else _dressed(partial(func, *args, **keywords), value)
        if kind is MethodType:
            owner = self._mapped(value.__self__, nested=nested)
            return value if owner is value.__self__ else MethodType(value.__func__, owner)
        if kind is FunctionType:
            return self._mapped_function(value)
        return self._objects.get(id(value), value) if nested else self._mapped_object(value)

    def _mapped_function(self, function: FunctionType) -> FunctionType:
        """Return a function with twins in place of the modules that it closes over or has as defaults."""
        if id(function) in self._objects:
            return self._objects[id(function)]
        self._objects[id(function)] = function  # while it is looked at, for functions that refer to themselves
        cells = function.__closure__ or ()
        old = [_content(cell) for cell in cells]
        contents = [self._mapped(value, nested=True) for value in old]
        defaults = self._mapped(function.__defaults__, nested=True)
        keywords = self._mapped(function.__kwdefaults__, nested=True)
        if _same((*contents, defaults, keywords), (*old, function.__defaults__, function.__kwdefaults__)):
            return function
        closure = tuple(
            cell if new is value else CellType(new) for cell, value, new in zip(cells, old, contents, strict=True)
        )
        new = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, closure or None)
        new.__kwdefaults__ = keywords
        self._objects[id(function)] = twin = _dressed(new, function)
        return twin

    def _mapped_object(self, value: Any) -> Any:
        """Return a copy of an object whose attributes refer to modules of the model, or the object itself."""
        if id(value) in self._objects or type(value).__module__.startswith("torch."):
            return self._objects.get(id(value), value)
        try:
            attributes = dict(vars(value))
        except TypeError:  # it has no attributes
            return value
        new = {name: self._mapped(item, nested=True) for name, item in attributes.items()}
        if _same(new.values(), attributes.values()):
            return value
        self._objects[id(value)] = twin = copy.copy(value)
        vars(twin).update(new)
        return twin


def _carriers(modules: Iterable[nn.Module]) -> list[Any]:
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


def tables_of(module: nn.Module) -> list[dict[str, Any]]:
    """Return the attributes of a module, and its tables of parameters, buffers and modules."""
    attributes = vars(module)
    return [attributes, attributes["_parameters"], attributes["_buffers"], attributes["_modules"]]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _same(new: Iterable[Any], old: Iterable[Any]) -> bool:
    return all(map(is_, new, old))


def _dressed(new: Any, old: Any) -> Any:
    vars(new).update(vars(old))
    return new
