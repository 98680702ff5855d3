"""messages.toml -> messages in Python, and the C header that the firmware includes."""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
_FORMATS = {"u8": "B", "u16": "H", "u32": "I", "i16": "h", "f32": "f"}
_C_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "i16": "int16_t", "f32": "float"}

VERSION: int = _SCHEMA["version"]
MAX_PAYLOAD: int = _SCHEMA["max_payload"]
MODES: Mapping[str, int] = _SCHEMA["modes"]
OBJECTS: Mapping[str, int] = _SCHEMA["objects"]
ERRORS: Mapping[str, int] = _SCHEMA["errors"]


@dataclass(frozen=True)
class Field:
    """One field of a message; `count` is 0 for a scalar."""

    name: str
    kind: str
    count: int

    @property
    def format(self) -> str:
        return f"{self.count}s" if self.count else _FORMATS[self.kind]

    @property
    def declaration(self) -> str:
        base = "char" if self.kind == "char" else _C_TYPES[self.kind]
        return f"{base} {self.name}[{self.count}];" if self.count else f"{base} {self.name};"


@dataclass(frozen=True)
class Shape:
    """A kind of message: its number on the wire and its fields."""

    name: str
    type: int
    fields: tuple[Field, ...]
    tail: bool

    @property
    def struct(self) -> struct.Struct:
        return struct.Struct("<" + "".join(f.format for f in self.fields))


@dataclass(frozen=True)
class Message:
    """One message: its fields by name, and the bytes after them where the schema allows a tail."""

    name: str
    fields: Mapping[str, Any]
    tail: bytes = b""

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]


def _field(name: str, kind: str) -> Field:
    match = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", kind)
    if match is None or (match[1] not in _FORMATS and match[1] != "char"):
        raise ValueError(f"messages.toml: {name} has type {kind}")
    return Field(name, match[1], int(match[2] or 0))


def _shape(name: str, entry: Mapping[str, Any]) -> Shape:
    return Shape(
        name, entry["type"], tuple(_field(*f) for f in entry.get("fields", ())), entry.get("tail", False)
    )


SHAPES: Mapping[str, Shape] = {name: _shape(name, entry) for name, entry in _SCHEMA["messages"].items()}
_BY_TYPE: Mapping[int, Shape] = {shape.type: shape for shape in SHAPES.values()}
_WELCOME = SHAPES["welcome"]
if len(_BY_TYPE) != len(SHAPES):
    raise ValueError("messages.toml: two messages share a type")


def pack(message: Message) -> tuple[int, bytes]:
    """Message -> (type, payload). KeyError or struct.error if it does not fit the schema."""
    shape = SHAPES[message.name]
    values = [_encode(f, message.fields[f.name]) for f in shape.fields]
    if message.tail and not shape.tail:
        raise ValueError(f"{message.name} has no tail")
    return shape.type, shape.struct.pack(*values) + message.tail


def unpack(type_: int, payload: bytes) -> Message | None:
    """(type, payload) -> Message; None for an unknown type or a size that the schema does not allow.

    A welcome of another protocol version has the field `proto` only.
    """
    shape = _BY_TYPE.get(type_)
    if (
        shape is _WELCOME
        and len(payload) >= 2
        and (proto := int.from_bytes(payload[:2], "little")) != VERSION
    ):
        return Message("welcome", {"proto": proto})
    size = shape.struct.size if shape else 0
    if shape is None or len(payload) < size or (len(payload) > size and not shape.tail):
        return None
    values = shape.struct.unpack_from(payload)
    fields = {f.name: _decode(f, v) for f, v in zip(shape.fields, values, strict=True)}
    return Message(shape.name, fields, payload[size:])


def error_name(code: int) -> str:
    """Schema name of an ERROR's code, upper case."""
    return next((name.upper() for name, number in ERRORS.items() if number == code), f"error {code}")


def _encode(field: Field, value: Any) -> Any:
    return value.encode() if field.kind == "char" else value


def _decode(field: Field, value: Any) -> Any:
    return value.split(b"\0")[0].decode("ascii", "replace") if field.kind == "char" else value


_HEADER = """\
/* Generated from messages.toml; edit that. */
#ifndef MG_MESSAGES_H
#define MG_MESSAGES_H

#include <stdint.h>

enum {{ MG_PROTOCOL_VERSION = {version}, MG_MAX_PAYLOAD = {max_payload} }};

{enums}

{structs}

#endif
"""

_STRUCT = """\
typedef struct __attribute__((packed)) {{
{fields}
}} mg_msg_{name};
_Static_assert(sizeof(mg_msg_{name}) == {size}, "mg_msg_{name}");"""


def header_text() -> str:
    """The C11 header: `MG_MSG_*`, `MG_MODE_*`, `MG_OBJECT_*`, `MG_ERR_*`, packed structs `mg_msg_<name>`."""
    types = {name: shape.type for name, shape in SHAPES.items()}
    enums = [("MSG", types), ("MODE", MODES), ("OBJECT", OBJECTS), ("ERR", ERRORS)]
    return _HEADER.format(
        version=VERSION,
        max_payload=MAX_PAYLOAD,
        enums="\n\n".join(_enum_text(prefix, values) for prefix, values in enums),
        structs="\n\n".join(_struct_text(s) for s in SHAPES.values() if s.fields),
    )


def _enum_text(prefix: str, values: Mapping[str, int]) -> str:
    lines = "\n".join(f"    MG_{prefix}_{name.upper()} = {number}," for name, number in values.items())
    return f"enum {{\n{lines}\n}};"


def _struct_text(shape: Shape) -> str:
    fields = "\n".join(f"    {f.declaration}" for f in shape.fields)
    return _STRUCT.format(fields=fields, name=shape.name, size=shape.struct.size)
