"""Counting ONNX files from their graphs alone."""

from striate.sources.onnx.walk import read_onnx

__all__ = ["read_onnx"]
