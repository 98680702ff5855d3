"""The pickle reader gives plain data back and refuses everything else, without running or allocating it."""

from __future__ import annotations

import builtins
import contextlib
import os
import pickle
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcugrad.errors import UserError
from mcugrad.frontend.pickles import read_plain

PLAIN = {
    "conv": {"stride": 2, "scale": 0.5, "act": None, "depthwise": True, "kernel": (3, 3)},
    "blocks": [{"weight": np.arange(24, dtype=np.int8).reshape(2, 3, 4)}, [], (), -70000],
    "w_scales": np.array([1e-9, 1.5], np.float32),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_data_comes_back(protocol: int) -> None:
    found = read_plain(pickle.dumps(PLAIN, protocol), "f")
    assert found["conv"] == PLAIN["conv"]
    assert found["blocks"][1:] == [[], (), -70000]
    np.testing.assert_array_equal(found["blocks"][0]["weight"], PLAIN["blocks"][0]["weight"])  # type: ignore[index]
    assert found["w_scales"].dtype == np.float32


class Call:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Call(os.system, "touch /tmp/owned"), "system"),
        (Call(builtins.eval, "1"), "eval"),
        (Call(np.load, "/etc/passwd"), "load"),
        (Call(getattr, {}, "keys"), "getattr"),
        ({"a": [Call(builtins.exec, "1")]}, "exec"),
    ],
)
def test_a_call_is_refused_by_name(value: Any, named: str, protocol: int) -> None:
    with pytest.raises(UserError) as error:
        read_plain(pickle.dumps(value, protocol), "evil.pkl")
    assert error.value.where == "evil.pkl"
    if protocol:
        assert named in error.value.what


def _unicode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
HOSTILE = {
    "empty": b"",
    "no stop": b"\x80\x02}",
    "stack underflow": b"\x80\x02R.",
    "unknown memo": b"\x80\x02h\x05.",
    "a bare global": b"\x80\x02cnumpy\nndarray\n.",
    "a bare mark": b"\x80\x02(.",
    "persistent id": b"\x80\x02" + _unicode("x") + b"Q.",
    "instance": b"\x80\x02(ios\nsystem\n.",
    "new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "state for a dict": b"\x80\x02}}b.",
    "state for a global": b"\x80\x02cnumpy\nndarray\n}b.",
    "a call with other arguments": b"\x80\x02c_codecs\nencode\n"
    + _unicode("a")
    + _unicode("utf7")
    + b"\x86R.",
    "object dtype": b"\x80\x02cnumpy\ndtype\n" + _unicode("O8") + b"\x85R.",
    "structured dtype": b"\x80\x02cnumpy\ndtype\n](e\x85R.",
    "array without data": b"\x80\x02" + RECONSTRUCT + b")R(K\x01K\x02\x85b.",
    "items for a tuple": b"\x80\x02)K\x01a.",
    "odd dict": b"\x80\x02}(K\x01u.",
    "key not a string": b"\x80\x02}K\x01K\x02s.",
    "16 EB of bytes": b"\x80\x04\x8e" + b"\xff" * 8 + b"a.",
    "16 EB of bytearray": b"\x80\x05\x96" + b"\xff" * 8 + b"a.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "nested 100000 deep": b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",
    "2**60 items": b"\x80\x02N" + b"\x85" + b"q\x00h\x00\x86" * 60 + b".",
    "2**30 items, shallow": b"\x80\x02]("
    + b"N" * 1024
    + b"eq\x00]("
    + b"h\x00" * 1024
    + b"eq\x00]("
    + b"h\x00" * 1024
    + b"e.",
    "a key of 2**60 items": b"\x80\x02}N" + b"q\x00h\x00\x86" * 60 + b"Ns.",
    "a dtype of 2**60 items": b"\x80\x02cnumpy\ndtype\nN" + b"q\x00h\x00\x86" * 60 + b"\x85R.",
    "a name of 2**60 items": b"\x80\x04N" + b"q\x00h\x00\x86" * 60 + b"\x8c\x01a\x93.",
    "a decimal of many digits": b"\x80\x02I" + b"9" * 100000 + b"\n.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_refused_at_once(data: bytes) -> None:
    with pytest.raises(UserError):
        read_plain(data, "evil.pkl")


def test_a_memo_index_allocates_nothing() -> None:
    assert read_plain(b"\x80\x02Nr\xff\xff\xff\xff.", "f") is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_data_or_a_user_error(data: st.DataObject) -> None:
    raw = bytearray(pickle.dumps(PLAIN, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        read_plain(bytes(raw), "f")
