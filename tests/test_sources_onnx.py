"""Counting ONNX files: against closed forms, against the count of the module that was exported, and shapes against
what the graph gives when it runs."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.account import count
from striate.errors import ArgumentError, SavedModelError, ShapeError, UnknownNameError
from striate.sources.onnx import read_onnx, walk

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(operator, inputs, outputs, **attributes):
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def weight(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model_of(nodes, inputs, constants=(), outputs=("y",), opset=21, **others):
    """A model of nodes; inputs by name with their shapes."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **others)


@pytest.fixture
def ledger_of(tmp_path):
    def read(model, input_shape=None):
        onnx.save(model, tmp_path / "model.onnx")
        return read_onnx(tmp_path / "model.onnx", input_shape)

    return read


def one(operator, inputs, constants=(), **attributes):
    """A graph of one node: the data inputs are those without a constant."""
    names = [*inputs, *(constant.name for constant in constants)]
    return model_of([helper.make_node(operator, names, ["y"], **attributes)], inputs, constants)


def microsoft(operator, inputs, constants, **attributes):
    return one(operator, inputs, constants, domain="com.microsoft", **attributes)


X = {"x": (1, 3, 8, 8)}
# model, output shape, MACs, neurons, parameters, small operations: worked out from the definitions.
CLOSED_FORMS = {
    "conv": (
        one("Conv", X, [weight("w", 4, 3, 3, 3), weight("b", 4)]),
        (1, 4, 6, 6), 36 * 4 * 27, 144, 4 * 27 + 4, 144,
    ),
    "conv, groups": (
        one("Conv", {"x": (1, 4, 8, 8)}, [weight("w", 4, 1, 3, 3)], group=4, pads=[1] * 4, strides=[2, 2]),
        (1, 4, 4, 4), 16 * 4 * 9, 64, 36, 0,
    ),
    "conv, same": (
        one("Conv", X, [weight("w", 4, 3, 4, 4)], auto_pad="SAME_UPPER", strides=[3, 3]),
        (1, 4, 3, 3), 9 * 4 * 48, 36, 4 * 48, 0,
    ),
    "transposed conv": (
        one("ConvTranspose", {"x": (1, 4, 5, 5)}, [weight("w", 4, 6, 3, 3)], strides=[2, 2], output_padding=[1, 1]),
        (1, 6, 12, 12), 25 * 4 * 9 * 6, 144 * 6, 4 * 6 * 9, 0,
    ),
    "gemm": (
        one("Gemm", {"x": (1, 5)}, [weight("w", 7, 5), weight("b", 7)], transB=1),
        (1, 7), 35, 7, 42, 7,
    ),
    "matmul of a batch": (
        one("MatMul", {"x": (1, 3, 5)}, [weight("w", 5, 7)]), (1, 3, 7), 3 * 5 * 7, 21, 35, 0,
    ),
    "matmul of data": (one("MatMul", {"x": (2, 4, 3, 5), "z": (4, 5, 6)}), (2, 4, 3, 6), 2 * 4 * 3 * 5 * 6, 0, 0, 0),
    "matmul with a vector": (one("MatMul", {"x": (3, 5)}, [weight("w", 5)]), (3,), 15, 1, 5, 0),
    "einsum": (
        one("Einsum", {"x": (1, 3, 5)}, [weight("w", 7, 5)], equation="bnc,dc->bnd"), (1, 3, 7), 105, 21, 35, 0,
    ),
    "einsum, dots": (
        one("Einsum", {"x": (1, 2, 3, 5), "z": (1, 2, 5, 4)}, equation="...ij,...jk"), (1, 2, 3, 4), 120, 0, 0, 0,
    ),
    "einsum without a sum": (
        one("Einsum", {"x": (1, 3), "z": (1, 4)}, equation="bi,bj->bij"), (1, 3, 4), 0, 0, 0, 12,
    ),
    "einsum that sums first": (
        one("Einsum", {"x": (1, 3, 6), "z": (3, 4)}, equation="bis,ij->bj"), (1, 4), 12, 0, 0, 18,
    ),
    "lstm": (
        one("LSTM", {"x": (6, 1, 5)}, [weight("w", 2, 12, 5), weight("r", 2, 12, 3)], hidden_size=3,
            direction="bidirectional"),
        (6, 2, 1, 3), 6 * 2 * 12 * (5 + 3), 6, 2 * 12 * 8, 6 * 2 * 3 * 28,
    ),
    "gru, batch first": (
        one("GRU", {"x": (1, 6, 5)}, [weight("w", 1, 9, 5), weight("r", 1, 9, 3)], hidden_size=3, layout=1),
        (1, 6, 1, 3), 6 * 9 * 8, 3, 72, 6 * 3 * 22,
    ),
    "batch norm": (
        one("BatchNormalization", X, [weight(name, 3) for name in "abcd"]), (1, 3, 8, 8), 0, 0, 6, 2 * 192,
    ),
    "layer norm": (one("LayerNormalization", {"x": (1, 4, 6)}, [weight("w", 6)]), (1, 4, 6), 0, 0, 6, 7 * 24),
    "max pool": (one("MaxPool", X, kernel_shape=[2, 2], strides=[2, 2]), (1, 3, 4, 4), 0, 0, 0, 48 * 3),
    "average pool": (one("AveragePool", X, kernel_shape=[2, 2], strides=[2, 2]), (1, 3, 4, 4), 0, 0, 0, 48 * 4),
    "global pool": (one("GlobalAveragePool", X), (1, 3, 1, 1), 0, 0, 0, 192),
    "softmax": (one("Softmax", {"x": (1, 9)}), (1, 9), 0, 0, 0, 45),
    "sum of three": (one("Sum", {"x": (1, 9), "z": (1, 9), "u": (9,)}), (1, 9), 0, 0, 0, 18),
    "bilinear": (
        one("Resize", X, [weight("r", 0), numpy_helper.from_array(np.float32([1, 1, 2, 2]), "s")], mode="linear"),
        (1, 3, 16, 16), 0, 0, 0, 7 * 3 * 256,
    ),
    "integer conv": (
        one("ConvInteger", X, [weight("w", 4, 3, 3, 3, dtype=np.uint8)]), (1, 4, 6, 6), 36 * 4 * 27, 144, 108, 0,
    ),
    "attention": (
        model_of([node("Attention", "q k v", "y", q_num_heads=2, kv_num_heads=2)],
                 {"q": (1, 5, 8), "k": (1, 6, 8), "v": (1, 6, 4)}, opset=23),
        (1, 5, 4), 2 * 5 * 6 * (4 + 2), 0, 0, 5 * 60,
    ),
    "attention of Microsoft": (
        microsoft("Attention", {"x": (1, 5, 8)}, [weight("w", 8, 24), weight("b", 24)], num_heads=2),
        (1, 5, 8), 5 * 8 * 24 + 2 * 25 * (4 + 4), 5 * 24, 8 * 24 + 24, 5 * 24 + 5 * 50,
    ),
    "fused matmul": (
        microsoft("FusedMatMul", {"x": (1, 3, 5)}, [weight("w", 7, 5)], transB=1), (1, 3, 7), 105, 21, 35, 0,
    ),
    "fused gelu": (microsoft("BiasGelu", {"x": (1, 5)}, [weight("b", 5)]), (1, 5), 0, 0, 5, 30),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name, ledger_of):
    model, shape, macs, neurons, parameters, operations = CLOSED_FORMS[name]
    ledger = ledger_of(model)
    total = ledger.total
    assert total.output_shapes == [shape]
    assert (total.macs, total.neurons, total.parameters, total.operations) == (macs, neurons, parameters, operations)
    assert (ledger.unknown, ledger.coverage, ledger.unused_parameters) == ({}, 1, [])


def two_layers():
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="/block/block.0/conv/Conv"),
        helper.make_node("Relu", ["a"], ["b"], name="/block/block.0/Relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="/block/block.1/Conv"),
        helper.make_node("Add", ["b", "c"], ["d"], name="/block/Add"),
        helper.make_node("Conv", ["d", "w2"], ["y"]),
    ]
    return model_of(nodes, {"x": ("N", 3, 8, 8)}, [weight("w1", 4, 3, 1, 1), weight("w2", 4, 4, 1, 1)])


class TestRows:
    def test_scopes_make_a_tree(self, ledger_of):
        ledger = ledger_of(two_layers())
        assert list(ledger.entries) == [
            "",
            "block",
            "block.0",
            "block.0.conv",
            "block.0.Relu",
            "block.1",
            "block.Add",
            "Conv",
        ]
        assert [entry.kind for entry in ledger][1:5] == ["Scope", "Scope", "Conv", "Relu"]
        assert ledger["block.0.conv"].formula == "1 × 4 × 8 × 8 outputs × (1 × 1 × 3 weights) = 768 MACs"
        assert ledger["block"].macs == ledger["block.0"].macs + ledger["block.1"].macs == 64 * (12 + 16)
        assert (ledger["block.0"].input_shapes, ledger["block.0"].output_shapes) == ([(1, 3, 8, 8)], [(1, 4, 8, 8)])
        assert ledger["block"].output_shapes == ledger.total.output_shapes == [(1, 4, 8, 8)]
        assert "Sizes that the file leaves open: N = 1" in str(ledger)

    def test_shared_weights_are_counted_once(self, ledger_of):
        ledger = ledger_of(two_layers())
        assert (ledger.parameters, ledger.neurons, ledger.total.parameter_bytes) == (12 + 16, 2 * 256, 4 * 28)
        assert ledger["Conv"].shared_with == ["block.1"]
        assert (ledger["Conv"].parameters, ledger["Conv"].neurons, ledger["Conv"].macs) == (0, 0, 64 * 16)

    def test_a_weight_that_one_node_reads_twice(self, ledger_of):
        ledger = ledger_of(model_of([node("Sum", "x w w", "y")], {"x": (1, 3)}, [weight("w", 3)]))
        assert (ledger.parameters, ledger["Sum"].shared_with, ledger.operations) == (3, [], 6)

    def test_the_data_flow(self, ledger_of):
        steps = ledger_of(two_layers()).steps
        assert [(step.path, step.operations, step.inputs) for step in steps] == [
            ("block.0.conv", ["Conv"], [-1]),
            ("block.0.Relu", ["Relu"], [0]),
            ("block.1", ["Conv"], [1]),
            ("block.Add", ["Add"], [1, 2]),
            ("Conv", ["Conv"], [3]),
        ]

    def test_the_batch(self, ledger_of):
        one, four = ledger_of(two_layers()), ledger_of(two_layers(), (4, 3, 8, 8))
        assert (four.macs, four.neurons) == (4 * one.macs, one.neurons)

    def test_constants_that_nothing_reads(self, ledger_of):
        model = model_of([node("Relu", "x", "y")], {"x": (1, 3)}, [weight("spare", 5), ints("setting", 1, 2)])
        ledger = ledger_of(model)
        assert (ledger.unused_parameters, ledger.parameters) == (["spare"], 5)

    def test_quantised_weights_take_a_byte_and_scales_are_buffers(self, ledger_of):
        scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "z")
        nodes = [
            node("QuantizeLinear", "x s z", "q"),
            node("QLinearConv", "q s z w s z s z b", "c"),
            node("DequantizeLinear", "c s z", "y"),
        ]
        constants = [scale, zero, weight("w", 4, 3, 3, 3, dtype=np.uint8), weight("b", 4, dtype=np.int32)]
        total = ledger_of(model_of(nodes, X, constants)).total
        assert (total.macs, total.neurons, total.operations) == (36 * 4 * 27, 144, 4 * 192 + 144 + 2 * 144)
        assert (total.parameters, total.trainable, total.parameter_bytes) == (108 + 4, 0, 108 + 16)
        assert (total.buffers, total.buffer_bytes) == (2, 4 + 1)

    def test_dequantised_weights_are_weights(self, ledger_of):
        nodes = [node("DequantizeLinear", "w s", "f"), node("MatMul", "x f", "y")]
        packed = helper.make_tensor("w", TensorProto.INT4, (5, 7), [1] * 35)
        total = ledger_of(model_of(nodes, {"x": (1, 5)}, [packed, numpy_helper.from_array(np.float32(1), "s")])).total
        assert (total.macs, total.neurons, total.parameters, total.parameter_bytes) == (35, 7, 35, 18)

    def test_unknown_operators_are_listed(self, ledger_of):
        nodes = [
            node("Fancy", "x", "a", domain="own"),
            node("Relu", "a", "b"),
            node("Det", "x", "c"),
            node("Abs", "x", "y"),
        ]
        ledger = ledger_of(model_of(nodes, {"x": (1, 3, 3)}))
        assert ledger.unknown == {"own.Fancy": 1, "Relu": 1, "Det": 1}
        assert ledger.coverage == 1 / 4
        assert ledger.operations == 9

    def test_what_depends_on_the_data_is_unknown(self, ledger_of):
        nodes = [node("NonZero", "x", "i"), node("Cast", "i", "f", to=FLOAT), node("Exp", "f", "y")]
        ledger = ledger_of(model_of(nodes, {"x": (1, 3)}))
        assert ledger.unknown == {"Exp": 1}

    def test_stated_shapes_help_where_an_operator_is_unknown(self, ledger_of):
        model = model_of([node("Fancy", "x", "a", domain="own"), node("Relu", "a", "y")], {"x": ("N", 3)})
        model.graph.value_info.append(helper.make_tensor_value_info("a", FLOAT, ("N", 7)))
        ledger = ledger_of(model)
        assert (ledger.unknown, ledger.operations) == ({"own.Fancy": 1}, 7)


class TestInside:
    """Functions, branches, and shapes that the graph computes."""

    def test_arithmetic_of_shapes_costs_nothing(self, ledger_of):
        nodes = [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Unsqueeze", "n zeros", "n1"),
            node("Mul", "n1 two", "m"),
            node("Concat", "m rest", "target", axis=0),
            node("Reshape", "x target", "r"),
            node("MatMul", "r w", "y"),
        ]
        constants = [ints("zeros", 0), ints("two", 2), ints("rest", -1), weight("w", 6, 5)]
        constants.append(numpy_helper.from_array(np.int64(0), "zero"))
        ledger = ledger_of(model_of(nodes, {"x": ("batch", 12)}, constants))
        assert ledger.total.output_shapes == [(2, 5)]
        assert list(ledger.entries) == ["", "Reshape", "MatMul"]
        assert (ledger.macs, ledger.operations, ledger.parameters) == (60, 0, 30)

    @pytest.mark.parametrize(("size", "macs"), [(4, 0), (5, 25)])
    def test_a_branch_is_taken_where_the_condition_is_known(self, size, macs, ledger_of):
        info = helper.make_tensor_value_info("o", FLOAT, None)
        then = helper.make_graph([node("Relu", "x", "o")], "then", [], [info])
        other = helper.make_graph([node("MatMul", "x w", "o")], "else", [], [info], [weight("w", 5, 5)])
        nodes = [
            node("Shape", "x", "s", start=1),
            node("Less", "s five", "c"),
            helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
        ]
        ledger = ledger_of(model_of(nodes, {"x": (1, size)}, [ints("five", 5)]))
        assert (ledger.macs, ledger.unknown) == (macs, {})
        assert ledger.total.output_shapes == [(1, size)]

    def test_a_branch_on_data_is_unknown(self, ledger_of):
        info = helper.make_tensor_value_info("o", FLOAT, None)
        branches = {
            f"{name}_branch": helper.make_graph([node("Mul", "x w", "o")], name, [], [info])
            for name in ("then", "else")
        }
        nodes = [node("Cast", "x", "c", to=TensorProto.BOOL), helper.make_node("If", ["c"], ["y"], **branches)]
        ledger = ledger_of(model_of(nodes, {"x": (1,)}, [weight("w", 5)]))
        assert (ledger.unknown, ledger["If"].parameters, ledger.unused_parameters) == ({"If": 1}, 5, [])

    def test_functions_of_the_file_are_scopes(self, ledger_of):
        elu = node("Elu", "b", "c")
        elu.attribute.append(onnx.AttributeProto(name="alpha", type="FLOAT", ref_attr_name="slope"))
        body = [node("MatMul", "a w", "b"), elu]
        opsets = [helper.make_opsetid("", 21)]
        dense = helper.make_function("own", "Dense", ["a", "w"], ["c"], body, opsets, ["slope"])
        nodes = [
            helper.make_node("Dense", ["x", "w"], ["h"], name="first", domain="own", slope=0.5),
            helper.make_node("Dense", ["h", "w"], ["y"], name="second", domain="own", slope=0.5),
        ]
        ledger = ledger_of(model_of(nodes, {"x": (1, 3)}, [weight("w", 3, 3)], functions=[dense]))
        assert list(ledger.entries) == [
            "",
            "first",
            "first.MatMul",
            "first.Elu",
            "second",
            "second.MatMul",
            "second.Elu",
        ]
        assert (ledger["first"].kind, ledger["first"].macs, ledger["second"].operations) == ("Dense", 9, 4 * 3)
        assert (ledger.parameters, ledger.neurons, ledger.macs) == (9, 3, 18)

    def test_functions_that_call_themselves_or_too_many_others(self, ledger_of, monkeypatch):
        opsets = [helper.make_opsetid("own", 1)]

        def function(name, called):
            body = [node(called, "a", "b", domain="own"), node(called, "b", "c", domain="own")]
            return helper.make_function("own", name, ["a"], ["c"], body, opsets)

        def model(functions):
            return model_of([node("f0", "x", "y", domain="own")], {"x": (1,)}, functions=functions)

        with pytest.raises(SavedModelError, match="more than 50 deep"):
            ledger_of(model([function("f0", "f0")]))
        monkeypatch.setattr(walk, "_MOST_CALLED", 500)
        with pytest.raises(SavedModelError, match="over 500 nodes"):
            ledger_of(model([function(f"f{level}", f"f{level + 1}") for level in range(40)]))

    def test_the_values_of_external_data(self, tmp_path):
        nodes = [node("Reshape", "x target", "r"), node("MatMul", "r w", "y")]
        model = model_of(nodes, {"x": (1, 12)}, [ints("target", 2, 6), weight("w", 6, 5)])
        onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
        assert read_onnx(tmp_path / "m.onnx").total.output_shapes == [(2, 5)]
        (tmp_path / "m.data").unlink()
        without = read_onnx(tmp_path / "m.onnx")
        assert (without.parameters, without.unknown) == (30, {"MatMul": 1})


class TestMistakes:
    def test_open_sizes(self, ledger_of):
        model = model_of([node("Relu", "x", "y")], {"x": ("batch", 3, "height", None)})
        with pytest.raises(ArgumentError, match=r"'x' open: \(batch, 3, height, x\[3\]\).*{'x': \(1, 3, 224, 224\)}"):
            ledger_of(model)
        for shape in ((3, 5, 6), (1, 3, 5, 6), {"x": (3, 5, 6)}):
            assert ledger_of(model, shape).operations == 90
        with pytest.raises(
            ShapeError, match=r"'x' has the shape \(batch, 3, height, x\[3\]\) in the file, got \(4, 5, 6\)"
        ):
            ledger_of(model, (4, 5, 6))
        with pytest.raises(UnknownNameError, match=r"no input 'z'\. Its inputs: x"):
            ledger_of(model, {"z": (3, 5, 6)})
        with pytest.raises(ArgumentError, match="expected positive integers"):
            ledger_of(model, (3, 0, 6))

    def test_several_inputs(self, ledger_of):
        model = model_of([node("MatMul", "a b", "y")], {"a": ("N", "T", 3), "b": ("N", 3, "T")})
        with pytest.raises(ArgumentError, match="has 2 inputs; expected a dict of shapes for a, b"):
            ledger_of(model, (4, 3))
        with pytest.raises(ShapeError, match="'T' of input 'b' was given as 4 and as 5"):
            ledger_of(model, {"a": (4, 3), "b": (3, 5)})
        assert ledger_of(model, {"a": (2, 4, 3)}).macs == 2 * 4 * 3 * 4

    def test_shapes_that_do_not_fit(self, ledger_of):
        with pytest.raises(ShapeError, match=r"Node y \(Conv\) broke on \(1, 3, 8, 8\), \(4, 5, 3, 3\): an input"):
            ledger_of(one("Conv", X, [weight("w", 4, 5, 3, 3)]))
        with pytest.raises(ShapeError, match=r"cannot be broadcast"):
            ledger_of(one("Add", {"x": (1, 3), "z": (1, 4)}))

    def test_damaged_files(self, tmp_path, ledger_of):
        path = tmp_path / "model.onnx"
        with pytest.raises(SavedModelError, match="cannot be read: No such file"):
            read_onnx(path)
        whole = one("Conv", X, [weight("w", 4, 3, 3, 3)]).SerializeToString()
        for content in (b"", b"PK\x03\x04" + bytes(50), whole[:-20], b"\xff" * 100):
            path.write_bytes(content)
            with pytest.raises(SavedModelError, match="is no ONNX file"):
                read_onnx(path)
        for broken in (node("Relu", "nothing", "y"), node("Conv", "x", "y"), node("MaxPool", "x", "y")):
            with pytest.raises((SavedModelError, ShapeError), match=r"reads|missing|malformed"):
                ledger_of(model_of([broken], X))


# Shapes, against what runs ------------------------------------------------------------------------------------------


def given(name, *values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


V = {"x": (2, 3, 7, 9)}
ARRANGEMENTS = {
    "reshape": one("Reshape", V, [ints("s", 0, -1, 9)]),
    "flatten": one("Flatten", V, axis=2),
    "transpose": one("Transpose", V),
    "transpose, order": one("Transpose", V, perm=[0, 2, 3, 1]),
    "squeeze": one("Squeeze", {"x": (1, 3, 1)}),
    "squeeze, axes": one("Squeeze", {"x": (1, 3, 1)}, [ints("a", -1)]),
    "unsqueeze": one("Unsqueeze", V, [ints("a", 0, -1)]),
    "concat": one("Concat", {"x": (2, 3), "z": (2, 5)}, axis=-1),
    "slice": one("Slice", V, [ints("s", 1, -1), ints("e", 100, -100), ints("a", 2, 3), ints("t", 2, -3)]),
    "slice, without axes": one("Slice", V, [ints("s", 0, 1), ints("e", 1, 3)]),
    "gather": one("Gather", V, [given("i", [0, 1], [2, 0])], axis=1),
    "gather elements": one("GatherElements", {"x": (2, 3)}, [given("i", [0, 1, 1])], axis=0),
    "gather nd": one("GatherND", V, [given("i", [0, 1], [1, 2])]),
    "expand": one("Expand", {"x": (3, 1)}, [ints("s", 2, 1, 6)]),
    "tile": one("Tile", {"x": (3, 2)}, [ints("s", 2, 4)]),
    "pad": one("Pad", V, [ints("p", 0, 0, 1, 2, 0, 0, 3, 4)]),
    "pad, negative": one("Pad", V, [ints("p", 0, 0, -1, 0, 0, 0, -2, 0)]),
    "one axis padded": one("Pad", V, [ints("p", 1, 2), numpy_helper.from_array(np.float32(0), "c"), ints("a", 3)]),
    "top k": model_of([node("TopK", "x k", "y i", axis=2)], V, [ints("k", 4)]),
    "split": model_of([node("Split", "x s", "a y", axis=3)], V, [ints("s", 4, 5)]),
    "split evenly": model_of([node("Split", "x", "a y", axis=3, num_outputs=2)], V),
    "one hot": model_of(
        [node("Cast", "x", "i", to=INT64), node("OneHot", "i d v", "y", axis=1)], V, [ints("d", 5), ints("v", 0, 1)]
    ),
    "arg max": one("ArgMax", V, axis=2, keepdims=0),
    "reduce": one("ReduceMean", V, [ints("a", -1, 1)], keepdims=0),
    "reduce, kept": one("ReduceSum", V, [ints("a", 2)]),
    "reduce all": one("ReduceMax", V, keepdims=0),
    "broadcast": one("Add", {"x": (2, 1, 7), "z": (3, 1)}),
    "where": model_of(
        [node("Cast", "x", "c", to=TensorProto.BOOL), node("Where", "c z x", "y")],
        {"x": (3, 1), "z": (4,)},
    ),
    "range": model_of(
        [node("Shape", "x", "s"), node("ReduceProd", "s", "n", keepdims=0), node("Range", "o n t", "r"),
         node("Gather", "f r", "g"), node("Add", "x g", "y")],
        {"x": (1, 6)},
        [numpy_helper.from_array(np.int64(0), "o"), numpy_helper.from_array(np.int64(2), "t"), weight("f", 9, 6)],
    ),
    "shape, sliced": model_of(
        [node("Shape", "x", "s", start=-3, end=-1), node("ConstantOfShape", "s", "c"), node("Add", "z c", "y")],
        V | {"z": (1,)},
    ),
    "depth to space": one("DepthToSpace", {"x": (1, 8, 3, 5)}, blocksize=2),
    "space to depth": one("SpaceToDepth", {"x": (1, 2, 6, 4)}, blocksize=2),
    "resize": one("Resize", V, [weight("r", 0), given("s", 1, 1, 0.6, 2.5, dtype=np.float32)]),
    "resize to a size": model_of([node("Resize", "x r r s", "y")], V, [weight("r", 0), ints("s", 2, 3, 4, 5)]),
    "grid sample": one("GridSample", {"x": (1, 3, 7, 9), "g": (1, 4, 5, 2)}),
    "instance norm": one("InstanceNormalization", V, [weight("w", 3), weight("b", 3)]),
    "group norm": one("GroupNormalization", {"x": (1, 4, 5, 5)}, [weight("w", 4), weight("b", 4)], num_groups=2),
    "local response": one("LRN", V, size=3),
    "gemm, turned": one("Gemm", {"x": (5, 2)}, [weight("w", 5, 7)], transA=1),
    "matmul of vectors": one("MatMul", {"x": (5,), "z": (5,)}),
    "matmul, vector first": one("MatMul", {"x": (5,), "z": (2, 3, 5, 4)}),
    "einsum, diagonal": one("Einsum", {"x": (3, 3)}, equation="ii->i"),
    "einsum, implicit": one("Einsum", {"x": (3, 4), "z": (4, 5)}, equation="ij , jk"),
    "transposed conv, groups": one(
        "ConvTranspose", {"x": (1, 4, 5, 6)}, [weight("w", 4, 3, 3, 2)], group=2, strides=[2, 3], pads=[1, 0, 0, 1],
        dilations=[2, 1],
    ),
    "transposed conv, same": one(
        "ConvTranspose", {"x": (1, 4, 5, 6)}, [weight("w", 4, 3, 3, 3)], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "transposed conv of a given shape": one(
        "ConvTranspose", {"x": (1, 4, 5, 6)}, [weight("w", 4, 3, 3, 3)], strides=[2, 2], output_shape=[10, 13]
    ),
    "rnn": one("RNN", {"x": (6, 2, 5)}, [weight("w", 1, 3, 5), weight("r", 1, 3, 3)], hidden_size=3),
    "last state": model_of(
        [node("GRU", "x w r", "a y", hidden_size=3)], {"x": (6, 2, 5)}, [weight("w", 1, 9, 5), weight("r", 1, 9, 3)]
    ),
}  # fmt: skip
for _kernel, _stride, _dilation, _pads, _size in (
    ((3, 2), (2, 3), (1, 2), (1, 0, 1, 0), (8, 9)),
    ((1, 5), (3, 1), (1, 1), (0, 2, 0, 1), (11, 6)),
    ((3, 3), (2, 2), (1, 1), (0, 0, 0, 0), (8, 10)),
    ((4, 3), (3, 2), (1, 1), (2, 1, 1, 1), (10, 11)),
):
    _window = {"kernel_shape": _kernel, "strides": _stride}
    _data = {"x": (1, 2, *_size)}
    for _padding in ({"pads": _pads}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}):
        _label = f"{_kernel} {_stride} {_dilation} {_size} {_padding}"
        _dilations = {"dilations": _dilation} if "SAME" not in str(_padding) else {}
        ARRANGEMENTS[f"conv {_label}"] = one(
            "Conv", _data, [weight("w", 4, 2, *_kernel)], **_window, **_padding, **_dilations
        )
        if all(
            step <= taps for step, taps in zip(_stride, _kernel, strict=True)
        ):  # else a runtime's padding is negative
            ARRANGEMENTS[f"max pool {_label}"] = one("MaxPool", _data, **_window, **_padding)
    for _pool in ("MaxPool", "AveragePool"):
        ARRANGEMENTS[f"{_pool} up {_label}"] = one(_pool, _data, **_window, pads=_pads, ceil_mode=1)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_shapes_are_those_that_a_run_gives(name, ledger_of):
    model = ARRANGEMENTS[name]
    feeds = {
        item.name: np.ones([dim.dim_value for dim in item.type.tensor_type.shape.dim], np.float32)
        for item in model.graph.input
    }
    runtime = pytest.importorskip("onnxruntime")
    output = runtime.InferenceSession(model.SerializeToString()).run(["y"], feeds)[0]
    assert ledger_of(model).total.output_shapes == [output.shape]


# Exported modules, against their own count -------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn = kind(10, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def exported(module, shape, path, dynamo=False):
    """The ledger of the module's ONNX file, and the module's own. Weights are all different: equal ones are merged."""
    for parameter in module.eval().parameters():
        nn.init.normal_(parameter)
    options = {} if dynamo else {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(module, (torch.zeros(1, *shape),), path, dynamo=dynamo, verbose=False, **options)
    return read_onnx(path), count(module, shape)


def resnet(models):
    return models.resnet18(), (3, 64, 64)


def swin(models):
    sizes = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": [7, 7]}
    return models.SwinTransformer(**sizes), (3, 64, 64)


def vit(models):
    sizes = {"patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 128}
    return models.VisionTransformer(image_size=32, **sizes), (3, 32, 32)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [resnet, swin, vit])
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_exports_equal_the_count_of_the_module(make, dynamo, models, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    read, counted = exported(*make(models), tmp_path / "model.onnx", dynamo)
    for name in ("neurons", "macs", "backward_macs", "weights", "weighted_macs"):
        assert getattr(read.total, name) == getattr(counted.total, name), name
    assert (read.unknown, read.unused_parameters) == ({}, [])
    assert read.total.output_shapes == counted.total.output_shapes
    assert read.operations == pytest.approx(counted.operations, rel=0.6 if dynamo else 0.1)
    if not dynamo:  # which folds normalisation into weights, and constants out of them
        assert read.parameters == counted.parameters
        assert read.total.parameter_bytes == counted.total.parameter_bytes


@pytest.mark.filterwarnings("ignore")
def test_rows_of_an_export_are_those_of_the_module(models, tmp_path):
    read, counted = exported(*resnet(models), tmp_path / "model.onnx")
    for path in ("conv1", "bn1", "layer1", "layer2.0.conv1", "layer2.0.downsample.0", "fc"):
        names = "parameters neurons macs operations formula input_shapes output_shapes receptive_field"
        for name in names.split():
            assert getattr(read[path], name) == getattr(counted[path], name), (path, name)
    assert read.operations == counted.operations
    assert read.total.receptive_field == counted.total.receptive_field is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_exports(kind, tmp_path):
    read, counted = exported(Recurrent(kind), (5, 10), tmp_path / "model.onnx")
    for name in ("neurons", "macs", "backward_macs", "operations"):
        assert getattr(read.total, name) == getattr(counted.total, name), name
    states = read.parameters - counted.parameters  # zeros, which the exporter writes where no state is given
    assert 0 <= states <= 4 * 2 * 16
