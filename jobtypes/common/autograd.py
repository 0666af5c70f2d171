"""Operations with a backward pass of their own, called with the types of their forward pass."""

from __future__ import annotations

from typing import Any, ParamSpec, Protocol, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result_co = TypeVar("_Result_co", covariant=True)


class _Function(Protocol[_Arguments, _Result_co]):
    """A `torch.autograd.Function`: torch gives types for neither of the two."""

    @staticmethod
    def forward(ctx: Any, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result_co:
        """Work out the result; `ctx` takes what the backward pass needs."""

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`, which gets its `ctx` from torch."""


def apply(function: type[_Function[_Arguments, _Result_co]], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result_co:
    """Call a `torch.autograd.Function` with the arguments of its forward pass but for the context: what that pass returns."""
    result: _Result_co = function.apply(*args, **kwargs)
    return result
