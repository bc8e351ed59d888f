"""Names are followed through vars() alone: no hook runs, and nothing is reached through an import."""

from __future__ import annotations

import functools
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambdamap import _codec
from lambdamap.shipping import lookup
from lambdamap.worker import allow, project

SHOP = """
    import functools
    import os
    from collections import OrderedDict as Ordered

    import numpy as np
    import pandas as pd
    from os.path import join

    looked_up = []


    def __getattr__(name):
        looked_up.append(name)
        import antigravity


    class Hooks(type):
        def __getattribute__(cls, name):
            looked_up.append(name)
            return super().__getattribute__(name)


    class Plain:
        @staticmethod
        def static(x):
            return x

        @classmethod
        def made(cls, x):
            return cls, x

        def method(self):
            return self

        def __call__(self, x):
            return x

        class Inner:
            def deep(self):
                return self


    class Child(Plain):
        pass


    class Hooked(metaclass=Hooks):
        def method(self):
            return self


    def double(x):
        return 2 * x


    @functools.lru_cache
    def cached(x):
        return x


    def decorate(function):
        @functools.wraps(function)
        def around(*args):
            return function(*args)

        return around


    @decorate
    def decorated(x):
        return x


    class Wrapper:
        def __init__(self, function):
            functools.update_wrapper(self, function)

        def __call__(self, *args):
            return self.__wrapped__(*args)


    @Wrapper
    def wrapped(x):
        return x


    def make():
        def inner(x):
            return x

        return inner


    closure = make()
    alias = double
    other = join
    sine = np.sin
    partial = functools.partial(double, 2)
    instance = Plain()
    bound = instance.method
    number = 5
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop  # type: ignore[import-not-found]

    shop.looked_up.clear()
    yield shop
    del sys.modules["shop"]


# Allowed by shop:*, by its own name alone, or by none.
OWN = [
    *("double", "cached", "decorated", "wrapped", "alias", "make"),
    *("Plain", "Plain.static", "Plain.made", "Plain.method", "Plain.Inner", "Plain.Inner.deep"),
    *("Child", "Hooked", "Hooked.method"),
]
SPELLED = ["closure", "other", "sine", "partial", "instance", "bound", "Ordered"]
NEVER = [
    *("os.system", "pd.read_pickle", "np.load", "functools.partial", "instance.method"),
    *("number", "looked_up", "looked_up.append", "missing", "Child.made", "__builtins__.eval"),
    *("Plain.__init__", "double.__globals__", "os", "", "double.", ".double", "Plain..made"),
]


@pytest.mark.parametrize("pattern", ["shop:*", "spelled", None])
def test_what_may_be_called(
    shop: Any, monkeypatch: pytest.MonkeyPatch, pattern: str | None
) -> None:
    for name in (*OWN, *SPELLED, *NEVER):
        if pattern is None:
            monkeypatch.delenv("LAMBDAMAP_ALLOW", raising=False)
        else:
            text = f"shop:{name}" if pattern == "spelled" else pattern
            monkeypatch.setenv("LAMBDAMAP_ALLOW", text)
        allowed = name in OWN or (pattern == "spelled" and name in SPELLED)
        # With a pattern alone that spells an alias out, its home need not be allowed.
        if allowed:
            assert callable(allow.Permissions().function("shop", name)), name
        else:
            with pytest.raises(allow.Refused):
                allow.Permissions().function("shop", name)
        if name in OWN or name in SPELLED:
            assert callable(allow.Permissions(trusted=True).function("shop", name))
    assert shop.looked_up == []
    assert "antigravity" not in sys.modules


def test_an_alias_may_be_called_where_its_home_may(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(allow.Refused, match="defined as posixpath:join, which LAMBDAMAP_ALLOW"):
        monkeypatch.setenv("LAMBDAMAP_ALLOW", "shop:*")
        allow.Permissions().function("shop", "other")
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "shop:* posixpath:join")
    assert allow.Permissions().function("shop", "other")("a", "b") == "a/b"
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "shop:othe?")  # a wildcard spells nothing out
    with pytest.raises(allow.Refused, match="list shop:other itself"):
        allow.Permissions().function("shop", "other")


def test_methods_are_bound(shop: Any) -> None:
    names = allow.Permissions(trusted=True)
    assert names.function("shop", "Plain.static")(3) == 3
    assert names.function("shop", "Plain.made")(3) == (shop.Plain, 3)


def test_classes_of_data_need_no_permission_once_loaded(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "nothing:*")
    assert allow.Permissions().type("shop", "Plain.Inner") is shop.Plain.Inner
    assert lookup.DATA.type("shop", "Plain.Inner") is shop.Plain.Inner
    for name in ("double", "instance", "number"):
        with pytest.raises(allow.Refused):
            allow.Permissions().type("shop", name)
        with pytest.raises(_codec.DecodeFailure):
            lookup.DATA.type("shop", name)
    with pytest.raises(allow.Refused, match="whose module the worker has not loaded and may not"):
        allow.Permissions().type("antigravity", "Plain")
    assert "antigravity" not in sys.modules
    assert shop.looked_up == []


@pytest.mark.parametrize(
    "value", [int, str, dict, list, bytes, np.float64, np.int8, np.datetime64, np.bool_]
)
def test_a_reply_may_bring_what_makes_values(value: type) -> None:
    module, name = lookup.name_of(value) or ("", "")
    assert lookup.DATA.callable(module, name) is value


def test_what_only_makes_values_needs_no_permission_as_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "shop:*")
    assert allow.Permissions().callable("builtins", "list") is list
    for ask in (allow.Permissions().function, allow.Permissions().callable):
        with pytest.raises(allow.Refused):
            ask("builtins", "eval")
    with pytest.raises(allow.Refused):
        allow.Permissions().function("builtins", "list")


@pytest.mark.parametrize(
    "name",
    [
        *("builtins:eval", "builtins:open", "builtins:type", "builtins:object", "numpy:load"),
        *("builtins:memoryview", "builtins:map", "builtins:print", "builtins:__import__"),
        *("numpy:object_", "os:system", "posix:system", "functools:partial", "types:FunctionType"),
        *("numpy:ndarray", "lambdamap:my_map", "subprocess:Popen", "not_there:f", "shop:double"),
    ],
)
def test_a_reply_may_not_bring_anything_else(shop: Any, name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(_codec.DecodeFailure, match=f"{name} could run code"):
        lookup.DATA.callable(*name.split(":"))
    assert set(sys.modules) == before


def test_names_of_things(shop: Any) -> None:
    assert lookup.name_of(shop.double) == ("shop", "double")
    assert lookup.name_of(shop.Plain.made) == ("shop", "Plain.made")
    assert lookup.name_of(np.linalg.norm) == ("numpy.linalg", "norm")
    assert lookup.name_of(shop.cached) == ("shop", "cached")
    for nameless in (shop.closure, shop.bound, shop.partial, shop.instance, shop.Child.made, 5):
        assert lookup.name_of(nameless) is None
    assert lookup.name_of(lookup.find) is None  # lambdamap's own
    assert lookup.reference_to(shop.Plain.Inner) == ("shop", "Plain.Inner")
    assert lookup.reference_to(type("Gone", (), {})) is None


# --- whose a module is ------------------------------------------------------------------------------


Install = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with installed distributions and the project's own modules."""
    files = {
        "own.py": "",
        "own_package/__init__.py": "",
        "own_package/sub.py": "",
        "installed/__init__.py": "",
        "installed/sub/__init__.py": "",
        "installed/dropped_in.py": "",
        "single.py": "",
        "space/theirs/__init__.py": "",
        "space/mine/__init__.py": "",
        "installed-1.0.dist-info/RECORD": "installed/__init__.py,,\ninstalled/sub/__init__.py,,\n",
        "single-2.0.dist-info/RECORD": "../../bin/single,,\nsingle.py,sha256=x,0\n",
        "space_theirs-1.dist-info/RECORD": "space/theirs/__init__.py,,\n",
        "near-1.dist-info/RECORD": "owner.py,,\nnot/own.py,,\nown_package_2/__init__.py,,\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("loaded", [False, True])
def test_whose_a_module_is(folder: Path, loaded: bool) -> None:
    owners = {
        "own": None,
        "own_package": None,
        "own_package.sub": None,
        "installed": "the installed distribution installed",
        "installed.sub": "the installed distribution installed",
        "installed.dropped_in": "the installed distribution installed",
        "single": "the installed distribution single",
        "space.theirs": "the installed distribution space_theirs",
        "space.mine": None,
        "json": "the standard library",
        "os.path": "the standard library",
        "numpy.linalg": "the installed distribution numpy",
        "pip": "the installed distribution pip",
    }
    tops = ("own", "own_package", "installed", "single", "space")
    try:
        for module, owner in owners.items():
            if loaded and module.partition(".")[0] in tops:
                __import__(module)
            before = set(sys.modules)
            assert project.owner_of(module) == owner, module
            assert set(sys.modules) == before
    finally:
        for module in [m for m in sys.modules if m.partition(".")[0] in tops]:
            del sys.modules[module]
    assert project.owner_of("not_there_at_all") is None
    assert project.owner_of("own_package.not_there") is None


def test_a_distribution_without_a_record_makes_its_neighbours_doubtful(folder: Path) -> None:
    (folder / "bare-1.0.dist-info").mkdir()
    assert "bare" in (project.owner_of("own") or "")


def test_what_is_in_no_file_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
    assert project.owner_of("made_up") is not None


def test_nothing_is_allowed_where_metadata_is_stripped(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMBDAMAP_ALLOW", raising=False)
    assert allow.Permissions().function("shop", "double")(4) == 8
    monkeypatch.setattr(project, "is_stripped", lambda: True)
    with pytest.raises(allow.Refused, match=r'set LAMBDAMAP_ALLOW="shop:\* shop.\*:\*"'):
        allow.Permissions().function("shop", "double")
    assert allow.described().startswith("nothing by name")


def test_what_is_allowed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMBDAMAP_BY_VALUE", raising=False)
    for patterns, text in (
        (None, "by name the functions of the deployed project (LAMBDAMAP_ALLOW is not set)"),
        ("", "nothing by name"),
        ("a:*, b:f", "by name what LAMBDAMAP_ALLOW matches (a:* b:f)"),
    ):
        if patterns is None:
            monkeypatch.delenv("LAMBDAMAP_ALLOW", raising=False)
        else:
            monkeypatch.setenv("LAMBDAMAP_ALLOW", patterns)
        assert allow.described() == f"{text}; nothing by value"
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    assert allow.described().endswith("; any code by value")
    assert allow.described(trusted=True) == "everything by name; any code by value"


def test_an_installed_project_is_told_what_to_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMBDAMAP_ALLOW", raising=False)
    text = (
        r'distribution installed.*set LAMBDAMAP_ALLOW="installed:\* installed.\*:\*" on the worker'
    )
    with pytest.raises(allow.Refused, match=text):
        allow.Permissions().function("installed.sub", "f")
    assert "installed" not in sys.modules


def test_functools_is_importable_for_partials_alone() -> None:
    """A partial in a frame is a kind of its own; the callable functools:partial is not a way to one."""
    with pytest.raises(_codec.DecodeFailure):
        lookup.DATA.callable("functools", functools.partial.__name__)
