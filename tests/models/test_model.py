"""Sequential and functional models: graphs, shapes, names, copies, compiled and exported code."""

import copy
import pickle

import pytest
import torch
from torch import nn

from striate.errors import ArgumentError, DataError, NotBuiltError, ShapeError
from striate.layers import (
    GRU,
    LSTM,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    Masking,
    MaxPooling2D,
    SimpleRNN,
)
from striate.models import Input, Model, Sequential


def small_cnn() -> Sequential:
    return Sequential(
        [
            Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            MaxPooling2D(2),
            Flatten(),
            Dropout(0.5),
            Dense(3, activation="softmax"),
        ]
    )


def branched() -> Model:
    """Two inputs, a shared layer, a model inside, two outputs."""
    left, right = Input((6,), name="left"), Input((6,), name="right")
    shared = Dense(5, activation="tanh")
    inner_input = Input((5,))
    inner = Model(inner_input, Add()([inner_input, Dense(5)(inner_input)]), name="inner")
    joined = Concatenate()([inner(shared(left)), shared(right)])
    return Model([left, right], [Dense(2, name="first")(joined), Dense(1, name="second")(joined)])


def test_known_counts():
    model = Sequential()
    model.add(SimpleRNN(128, input_shape=(5, 10)))
    model.add(Dense(10, activation="softmax"))
    assert [layer.count_params() for layer in model.layers] == [17_792, 1_290]
    assert (model.count_params(), model.count_neurons()) == (19_082, 138)


class TestSequential:
    def test_list_and_add_are_the_same(self):
        one = Sequential([Dense(3, input_shape=(4,)), Dense(2)])
        other = Sequential()
        other.add(Input((4,)))
        other.add(Dense(3))
        other.add(Dense(2))
        assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers] == ["dense", "dense_1"]
        assert one.state_dict().keys() == other.state_dict().keys()

    def test_learns_its_shape_from_data(self):
        model = Sequential([Dense(3), Dense(2)])
        with pytest.raises(NotBuiltError, match="no input shape yet"):
            model.summary()
        assert model(torch.zeros(5, 4)).shape == (5, 2)
        assert model.count_params() == 3 * 5 + 2 * 4
        with pytest.raises(ShapeError, match=r"expects \(None, 4\), got \(None, 7\)"):
            model(torch.zeros(5, 7))

    def test_an_error_comes_from_the_line_that_caused_it_and_leaves_the_model_as_it_was(self):
        model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1))])
        with pytest.raises(ShapeError, match=r"big: .*smaller than the window of 9 × 9"):
            model.add(Conv2D(4, 9, name="big"))
        assert [layer.name for layer in model.layers] == ["conv2d"]
        model.add(Flatten())
        assert model.output.shape == (None, 144)

    def test_pop(self):
        model = small_cnn()
        wanted = model.layers[0].get_weights()
        assert model.pop().name == "dense"
        assert model.output.shape == (None, 36)
        assert (model.layers[0].get_weights()[0] == wanted[0]).all()
        model.add(Dense(7))
        assert model(torch.zeros(2, 8, 8, 1)).shape == (2, 7)
        with pytest.raises(ArgumentError, match="no layers to take off"):
            Sequential().pop()

    def test_pop_to_the_last_layer_and_build_up_again(self):
        model = Sequential([Dense(3, input_shape=(4,))])
        model.pop()
        model.add(Dense(2))
        assert model(torch.zeros(1, 4)).shape == (1, 2)

    def test_a_layer_comes_in_once(self):
        layer = Dense(4)
        model = Sequential([Input((4,)), layer])
        with pytest.raises(ArgumentError, match="has 'dense' already"):
            model.add(layer)
        with pytest.raises(ArgumentError, match="a layer named 'x' already"):
            Sequential([Input((4,)), Dense(4, name="x"), Dense(4, name="x")])
        with pytest.raises(ArgumentError, match="Input comes first"):
            model.add(Input((3,)))
        with pytest.raises(ArgumentError, match="expected a layer"):
            model.add(3)

    def test_torch_modules_and_functions_are_wrapped(self):
        model = Sequential([Dense(4, input_shape=(3,)), nn.ReLU(), torch.tanh, nn.Linear(4, 2)])
        assert model(torch.zeros(5, 3)).shape == (5, 2)
        assert model.count_params() == 16 + 10
        assert model.count_neurons() == 6

    def test_views_around_torch_convolutions_are_rows_of_the_model(self):
        model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1)), nn.Conv2d(4, 2, 3), Flatten()])
        kinds = [type(layer).__name__ for layer in model.layers]
        assert kinds == ["Conv2D", "Permute", "Wrapped", "Permute", "Flatten"]
        x = torch.randn(2, 8, 8, 1)
        assert model(x).shape == (2, 32)
        torch.testing.assert_close(copy.deepcopy(model)(x), model(x))
        model.pop()
        model.pop()
        assert model.output.shape == (None, 2, 4, 4)


class TestFunctional:
    def test_branches_shared_layers_and_models_inside(self):
        model = branched()
        assert model.output_names == ["first", "second"]
        # The shared layer counts once: 5 × 7, inner 5 × 6, first 2 × 11, second 11.
        assert model.count_params() == model.count_parameters() == 35 + 30 + 22 + 11
        assert model.count_neurons() == 5 + 5 + 2 + 1
        left, right = torch.randn(3, 6), torch.randn(3, 6)
        by_list = model([left, right])
        by_name = model({"right": right, "left": left})
        assert [output.shape for output in by_list] == [(3, 2), (3, 1)]
        assert all(torch.equal(a, b) for a, b in zip(by_list, by_name, strict=True))

    def test_equals_the_layers_called_by_hand(self):
        model = branched().eval()
        left, right = torch.randn(3, 6), torch.randn(3, 6)
        shared, inner = model.get_layer("dense"), model.get_layer("inner")
        a, b = shared(left), shared(right)
        joined = torch.cat([a + inner.get_layer("dense")(a), b], -1)
        torch.testing.assert_close(model([left, right])[0], model.get_layer("first")(joined))

    def test_an_extractor_from_a_layer_inside(self):
        model = small_cnn().eval()
        features = Model(model.input, model.get_layer("max_pooling2d").output)
        x = torch.randn(2, 8, 8, 1)
        assert features(x).shape == (2, 3, 3, 4)
        assert features.layers["conv2d"] is model.layers[0]

    def test_an_input_that_is_not_listed(self):
        a, b = Input((2,), name="a"), Input((2,), name="b")
        with pytest.raises(ArgumentError, match="depend on the Input 'b'"):
            Model(a, Add()([a, b]))

    def test_what_is_no_symbolic_tensor(self):
        a = Input((2,))
        with pytest.raises(ArgumentError, match="got Tensor"):
            Model(a, torch.zeros(2))
        with pytest.raises(ArgumentError, match="expected what Input gave"):
            Model(Dense(2)(a), Dense(2)(Dense(2)(a)))
        with pytest.raises(ArgumentError, match=r"wrap\(torch.relu\)"):
            torch.relu(a)

    def test_two_layers_of_one_name(self):
        a = Input((2,))
        with pytest.raises(ArgumentError, match="Two layers are named 'same'"):
            Model(a, Dense(2, name="same")(Dense(2, name="same")(a)))

    def test_inputs_that_are_missing_or_misnamed(self):
        model = branched()
        with pytest.raises(ShapeError, match="expected 2 inputs, got 1"):
            model(torch.zeros(1, 6))
        with pytest.raises(DataError, match="inputs are named left, top; expected left, right"):
            model({"left": torch.zeros(1, 6), "top": torch.zeros(1, 6)})

    def test_get_layer(self):
        model = small_cnn()
        assert model.get_layer(index=0) is model.get_layer("conv2d") is model.layers[0]
        with pytest.raises(ArgumentError, match="Did you mean 'conv2d'"):
            model.get_layer("conv2")
        with pytest.raises(ArgumentError, match="none at index 9"):
            model.get_layer(index=9)
        with pytest.raises(ArgumentError, match="either a name or an index"):
            model.get_layer()

    def test_layers_may_have_names_of_methods_of_containers(self):
        model = Sequential([Dense(2, name="keys", input_shape=(2,)), Dense(2, name="output")])
        assert next(iter(model.state_dict())) == "layers.keys.op.weight"
        with pytest.raises(ArgumentError, match="no method of torch"):
            Dense(2, name="forward")


class TestInputs:
    def test_channels_first_for_last(self):
        with pytest.raises(ShapeError, match="This is channels-first"):
            small_cnn()(torch.zeros(2, 1, 8, 8))

    def test_a_missing_channel_axis(self):
        with pytest.raises(ShapeError, match=r"Add the channel axis: x\[..., None\]"):
            small_cnn()(torch.zeros(2, 8, 8))

    def test_whole_numbers_become_floats(self):
        model = small_cnn().eval()
        image = torch.randint(0, 255, (2, 8, 8, 1), dtype=torch.uint8)
        torch.testing.assert_close(model(image), model(image.float()))

    @pytest.mark.parametrize("shape", [(0,), (-1, 2), 5, (2.5,), (True,)])
    def test_shapes_that_are_none(self, shape):
        with pytest.raises(ArgumentError, match="expected positive integers"):
            Input(shape)


@pytest.mark.parametrize("make", [small_cnn, branched], ids=["sequential", "functional"])
class TestIsATorchModule:
    def inputs(self, model, batch=3):
        tensors = [torch.randn(batch, *layer.shape) for layer in model.input_layers]
        return tensors if model.several_inputs else tensors[0]

    def flat(self, output):
        return output if isinstance(output, list) else [output]

    def same(self, one, other):
        for a, b in zip(self.flat(one), self.flat(other), strict=True):
            torch.testing.assert_close(a, b)

    def test_copies(self, make):
        model = make().eval()
        x = self.inputs(model)
        for twin in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            type(model).from_config(model.get_config()),
        ):
            twin.load_state_dict(model.state_dict())
            self.same(twin.eval()(x), model(x))
            assert {id(p) for p in twin.parameters()}.isdisjoint(id(p) for p in model.parameters())
            assert twin.layers[-1].output.shape == model.layers[-1].output.shape
            assert twin.get_config() == model.get_config()

    def test_compiles_as_one_graph(self, make):
        model = make().eval()
        x = self.inputs(model)
        torch._dynamo.reset()
        self.same(torch.compile(model, fullgraph=True)(x), model(x))

    def test_exports_with_a_free_batch(self, make):
        model = make().eval()
        batch = torch.export.Dim("batch", min=2, max=64)
        x = self.inputs(model)
        dynamic = [{0: batch} for _ in x] if isinstance(x, list) else {0: batch}
        exported = torch.export.export(model, (x,), dynamic_shapes=(dynamic,)).module()
        more = self.inputs(model, batch=7)
        self.same(exported(more), model(more))

    def test_gradients_reach_every_parameter(self, make):
        model = make()
        sum(output.square().sum() for output in self.flat(model(self.inputs(model)))).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_freezing(self, make):
        model = make()
        model.layers[-1].trainable = False
        assert len(model.trainable_weights) == len(model.weights) - 2
        model.trainable = False
        assert model.trainable_weights == [] and not any(p.requires_grad for p in model.parameters())
        model.trainable = True
        assert model.non_trainable_weights == []

    def test_weights_go_out_and_come_back(self, make):
        model, twin = make().eval(), make().eval()
        twin.set_weights(model.get_weights())
        x = self.inputs(model)
        self.same(twin(x), model(x))
        with pytest.raises(ShapeError, match=r"expected .* weights"):
            twin.set_weights(model.get_weights()[:-1])


class TestMasks:
    def test_pass_through_a_model_as_in_keras(self):
        import keras

        tokens = torch.tensor([[1, 2, 0, 0], [3, 1, 2, 0]])
        ours = Sequential(
            [Embedding(5, 3, mask_zero=True, input_shape=(4,)), Dropout(0.5), LSTM(4, return_sequences=True), GRU(2)]
        )
        theirs = keras.Sequential(
            [
                keras.layers.Input((4,)),
                keras.layers.Embedding(5, 3, mask_zero=True),
                keras.layers.Dropout(0.5),
                keras.layers.LSTM(4, return_sequences=True),
                keras.layers.GRU(2),
            ]
        )
        ours.eval().set_weights(theirs.get_weights())
        torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-5)

    def test_pass_through_a_model_inside_a_model(self):
        x = torch.randn(2, 4, 3)
        x[:, 2:] = 0
        flat = Sequential([Masking(input_shape=(4, 3)), Dense(3), GRU(2)]).eval()
        inner = Sequential([Masking(input_shape=(4, 3)), Dense(3)])
        nested = Sequential([inner, GRU(2)]).eval()
        nested.set_weights(flat.get_weights())
        torch.testing.assert_close(nested(x), flat(x))
        plain = Sequential([Dense(3, input_shape=(4, 3)), GRU(2)]).eval()
        plain.set_weights(flat.get_weights())
        assert not torch.allclose(plain(x), flat(x))


def test_a_layer_of_ones_own_goes_into_models():
    class Scaled(Layer):
        def forward(self, x):
            return 3 * x

    model = Sequential([Dense(2, input_shape=(2,)), Scaled()])
    assert model(torch.zeros(1, 2)).shape == (1, 2)
    assert [layer.name for layer in model.layers] == ["dense", "scaled"]


def test_sizes_that_vary():
    model = Sequential([Conv2D(4, 3, input_shape=(None, None, 3)), GlobalAveragePooling2D(), Dense(2)])
    assert model.layers[0].count_neurons((None, None, None, 3)) is None
    assert model.count_neurons() is None
    assert model.count_neurons((None, 10, 10, 3)) == 8 * 8 * 4 + 2
    assert model(torch.zeros(1, 9, 12, 3)).shape == model(torch.zeros(1, 20, 5, 3)).shape == (1, 2)
