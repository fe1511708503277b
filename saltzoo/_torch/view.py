"""A view of a model in evaluation mode, so that nothing switches the mode of a model that others use meanwhile."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import is_
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar, cast
from weakref import ref

from torch import nn

from .references import OWN, References, attributes_of, content_of

M = TypeVar("M", bound=nn.Module)

_MISSING = object()


def evaluation_view(model: M) -> M:
    """Return a copy of a model that shares its tensors and is in evaluation mode; the model is not touched.

    Every module has a twin of the same class and with the same attributes, but with a mode and tables of tensors of its
    own. Attributes, hooks and methods that refer to a module refer to its twin in the view, in lists, mappings, partial
    functions and objects too, and in functions that close over it; so modules that the model holds without registering
    them are evaluated too. A module that torch.compile wrapped stays compiled. A script module in training mode is
    copied with its tensors.

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
        >>> import torch
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
    """The modules that a model leads to, each with its twin."""

    def __init__(self, model: nn.Module) -> None:
        found = References(model)
        self.pairs: dict[nn.Module, nn.Module] = {module: object.__new__(type(module)) for module in found.modules}
        self._holders = found.holders
        self._copies: dict[int, Any] = {id(module): twin for module, twin in self.pairs.items()}
        self._copies |= {id(script): copy.deepcopy(script) if script.training else script for script in found.scripts}
        # What torch.compile wrapped comes before its wrapper.
        for module in sorted(self.pairs, key=lambda module: "_orig_mod" not in module._modules)[::-1]:
            self._fill(self.pairs[module], module)
        self.view = self._of(model)
        for root in found.roots:
            self._of(root).eval()

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
        for name, value in state.items():
            if name in OWN:
                state[name] = dict(value)
            elif id(value) in self._holders:
                state[name] = self._of(value)
        children = state["_modules"]
        for name, child in children.items():
            children[name] = self._of(child)
        if state.get("_compiled_call_impl") is not None and any(part.training for part in module.modules()):
            state["_compiled_call_impl"] = None  # compiled in place: it would call the module, not its twin
        if "_orig_mod" in children:  # a wrapper of torch.compile, which binds its forward when it is unpickled
            twin.__setstate__({name: state[name] for name in module.__getstate__()})
        else:
            vars(twin).update(state)

    def _of(self, value: Any) -> Any:
        """Return the twin of a module, a copy of what leads to modules that leads to their twins, or another value."""
        key = id(value)
        if key not in self._holders:
            return value
        if key not in self._copies:
            copied = self._copied_function(value) if type(value) is FunctionType else self._copied(value)
            self._copies[key] = copied
        return self._copies[key]

    def _copied(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, tuple):
            return tuple.__new__(kind, map(self._of, value))
        if kind is frozenset:
            return frozenset(map(self._of, value))
        if kind is partial:
            keywords = {name: self._of(item) for name, item in value.keywords.items()}
            return _dressed(partial(self._of(value.func), *map(self._of, value.args), **keywords), value)
        if kind is MethodType:
            return MethodType(value.__func__, self._of(value.__self__))
        if isinstance(value, ref):
            return kind(self._of(value()))
        return self._copied_object(value)

    def _copied_object(self, value: Any) -> Any:
        """Return a copy of a list, set, mapping or another object, which may refer to itself."""
        self._copies[id(value)] = twin = copy.copy(value)
        if twin is value:  # a class that has one object
            return value
        if isinstance(value, list | deque | set):
            items = list(map(self._of, value))
            twin.clear()
            twin.update(items) if isinstance(twin, set) else twin.extend(items)
        elif isinstance(value, dict):
            rows = [(self._of(name), self._of(item)) for name, item in list(value.items())]
            twin.clear()
            twin.update(rows)
        for name, item in attributes_of(value).items():
            object.__setattr__(twin, name, self._of(item))
        return twin

    def _copied_function(self, function: FunctionType) -> FunctionType:
        """Return a copy of a function that closes over twins of modules or has them as defaults."""
        cells = function.__closure__ or ()
        closure = tuple(CellType() if id(content_of(cell)) in self._holders else cell for cell in cells)
        new = FunctionType(function.__code__, function.__globals__, function.__name__, None, closure or None)
        self._copies[id(function)] = twin = _dressed(new, function)
        for cell, old in zip(closure, cells, strict=True):
            if cell is not old:
                cell.cell_contents = self._of(old.cell_contents)
        twin.__defaults__ = self._of(function.__defaults__)
        twin.__kwdefaults__ = self._of(function.__kwdefaults__)
        return twin


def tables_of(module: nn.Module) -> list[dict[str, Any]]:
    """Return the attributes of a module, and its tables of parameters, buffers and modules."""
    attributes = vars(module)
    return [attributes, attributes["_parameters"], attributes["_buffers"], attributes["_modules"]]


def _dressed(new: Any, old: Any) -> Any:
    vars(new).update(vars(old))
    return new
