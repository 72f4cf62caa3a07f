import importlib
import inspect
import re
from importlib import metadata
from pathlib import Path

import pytest
import socketio
from socketio import async_manager, async_server, base_manager, base_server
from tornado.iostream import IOStream
from tornado.web import RequestHandler

from gtower_realtime.engineio.server import EngineIOServer
from gtower_realtime.private_apis import CHECKED_VERSIONS, PRIVATE_APIS, PrivateApi

ROOT = Path(__file__).parent.parent

NOT_FOR_US = {"handle_request"}
"""What only somebody would call who puts the server under another framework."""


def owner_of(api: PrivateApi) -> type:
    module, _, name = api.owner.rpartition(".")
    owner: type = getattr(importlib.import_module(module), name)
    return owner


def is_set_by(owner: type, name: str) -> bool:
    """Say whether a class, or one it is derived from, sets the attribute on itself."""
    sources = [inspect.getsource(base) for base in owner.__mro__ if base is not object]
    return any(re.search(rf"\bself\.{name}\b[^=\n]*=[^=]", source) for source in sources)


@pytest.mark.parametrize("api", PRIVATE_APIS, ids=lambda api: f"{api.owner}.{api.name}")
def test_what_we_touch_is_where_it_was(api: PrivateApi) -> None:
    installed = metadata.version(api.distribution)
    where = f"{api.owner}.{api.name} of {api.distribution} {installed}"
    owner = owner_of(api)
    found = inspect.getattr_static(owner, api.name, None)
    checked = f"checked against {CHECKED_VERSIONS[api.distribution]}; used for {api.used_for}"
    if api.parameters is None:
        assert found is not None or is_set_by(owner, api.name), f"{where} is gone ({checked})"
        return
    assert inspect.isfunction(found), f"{where} is gone ({checked})"
    parameters = tuple(inspect.signature(found).parameters)[1:]
    assert parameters == api.parameters, f"{where} takes other arguments ({checked})"


def test_a_row_that_has_moved_is_named() -> None:
    api = PrivateApi("python-socketio", "socketio.AsyncServer", "_no_such_thing", "nothing")
    with pytest.raises(
        AssertionError, match=r"AsyncServer\._no_such_thing of python-socketio .* is gone"
    ):
        test_what_we_touch_is_where_it_was(api)
    api = PrivateApi("python-socketio", "socketio.AsyncServer", "emit", "nothing", ("x",))
    with pytest.raises(AssertionError, match="takes other arguments"):
        test_what_we_touch_is_where_it_was(api)


@pytest.mark.parametrize("module", [async_manager, async_server, base_manager, base_server])
def test_all_that_python_socketio_asks_of_its_engine_is_there(module: object) -> None:
    asked_for = set(re.findall(r"\bself(?:\.server)?\.eio\.(\w+)", inspect.getsource(module)))  # type: ignore[arg-type]
    missing = {name for name in asked_for - NOT_FOR_US if not hasattr(EngineIOServer, name)}
    assert missing == set(), f"python-socketio {metadata.version('python-socketio')} wants them"


def test_no_private_part_of_python_socketio_is_touched_without_a_row() -> None:
    listed = {api.name for api in PRIVATE_APIS}
    inherited = {
        name
        for owner in (socketio.AsyncServer, socketio.AsyncManager)
        for name in dir(owner)
        if name.startswith("_") and not name.startswith("__")
    }
    for path in (ROOT / "gtower_realtime" / "gateway").glob("*.py"):
        touched = set(re.findall(r"\b(_[a-z]\w*)", path.read_text(encoding="utf-8")))
        assert touched & inherited <= listed, path.name


def test_no_private_part_of_tornado_is_touched_without_a_row() -> None:
    listed = {api.name for api in PRIVATE_APIS}
    source = inspect.getsource(RequestHandler) + inspect.getsource(IOStream)
    theirs = set(re.findall(r"\b(?:self|def)[. ](_[a-z]\w*)", source))
    paths = [
        *(ROOT / "gtower_realtime" / "engineio").glob("*.py"),
        *(ROOT / "gtower_realtime" / "http1").glob("*.py"),
        *(ROOT / "handlers").glob("*.py"),
    ]
    for path in [*paths, ROOT / "gtower_realtime" / "bodies.py"]:
        text = path.read_text(encoding="utf-8")
        own = set(re.findall(r"(?:def |self\.)(_[a-z]\w*)(?=\(|\s*[:=])", text))
        touched = set(re.findall(r"\.(_[a-z]\w*)", text))
        assert touched & theirs <= listed | own, path.name
