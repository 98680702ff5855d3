"""The graph: a few frozen records, a verifier, a text form."""

from mcugrad.ir.graph import Builder, DType, Graph, Node, Param, Quant, ScaleRef, Value

__all__ = ["Builder", "DType", "Graph", "Node", "Param", "Quant", "ScaleRef", "Value"]
