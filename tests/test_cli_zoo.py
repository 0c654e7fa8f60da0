"""`striate zoo`: the list and its limits, the card of one, and the names of the zoo in other commands."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

import striate
from striate import zoo
from striate.cli import app


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["zoo", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def listed(*arguments):
    return [row["name"] for row in json.loads(call("--format", "json", *arguments))]


def test_a_family():
    lines = call("--family", "resnet").splitlines()
    assert [line.rstrip() for line in lines[:7]] == [
        "Name        Year   Parameters      MACs      Neurons   Top-1 %",
        "──────────────────────────────────────────────────────────────",
        "resnet18    2015   11,689,512    1.81 G    2,484,712     69.76",
        "resnet34    2015   21,797,672    3.66 G    3,739,112     73.31",
        "resnet50    2015   25,557,032    4.09 G   11,114,984     76.13",
        "resnet101   2015   44,549,160    7.80 G   16,232,936     77.37",
        "resnet152   2015   60,192,808   11.51 G   22,555,112     78.31",
    ]
    assert lines[7:] == ["", f"5 of {len(zoo.names())} backbones. More of one: striate zoo resnet18"]


def test_the_whole_list_fits_on_a_terminal_of_80_columns():
    lines = call().splitlines()
    assert len(lines) == len(zoo.names()) + 4
    assert max(map(len, lines)) <= 80


def test_markdown():
    assert call("--family", "squeezenet", "--format", "markdown") == (
        "| Name | Year | Parameters | MACs | Neurons | Top-1 % |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| squeezenet1_0 | 2016 | 1,248,424 | 818.92 M | 4,346,248 | 58.09 |\n"
        "| squeezenet1_1 | 2016 | 1,235,496 | 349.15 M | 2,589,352 | 58.18 |\n"
    )


def test_forms_for_programs():
    (row,) = csv.DictReader(io.StringIO(call("--family", "lenet", "--format", "csv")))
    (values,) = json.loads(call("--family", "lenet", "--format", "json"))
    assert row["input_shape"] == "1x32x32"
    assert values["input_shape"] == [1, 32, 32]
    assert (row["parameters"], values["parameters"]) == ("61706", 61706)
    assert (row["top1"], values["top1"]) == ("", None)
    assert row.keys() == values.keys()


def test_limits():
    cards = [zoo.card(name) for name in zoo.names()]
    small = {card.name for card in cards if card.parameters <= 5_000_000 and card.macs <= 400_000_000}
    assert "squeezenet1_1" in small and "squeezenet1_0" not in small
    assert set(listed("--max-params", "5M", "--max-macs", "400M")) == small
    good = listed("--family", "vgg", "--min-top1", 73.36)
    assert good == ["vgg16_bn", "vgg19_bn"]
    assert listed("--family", "vgg", "--max-params", "132863336") == ["vgg11"]


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("top1", "densenet161", "densenet121"),
        ("parameters", "densenet121", "densenet161"),
        ("macs", "densenet121", "densenet161"),
        ("neurons", "densenet121", "densenet161"),
        ("name", "densenet121", "densenet201"),
    ],
)
def test_orders(key, first, last):
    names = listed("--family", "densenet", "--sort", key)
    assert (names[0], names[-1]) == (first, last)
    assert len(names) == 4


def test_the_list_begins_with_the_oldest():
    years = [zoo.card(name).year for name in listed()]
    assert years == sorted(years)
    assert listed()[0] == "lenet5"


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["--max-params", "1M", "--min-top1", "50"],
            "No backbone in the zoo has at most 1,000,000 parameters and a top-1 of at least 50 %. The nearest is "
            "squeezenet1_1: 1,235,496 parameters, 349,151,936 MACs, top-1 58.18 %.",
        ),
        (
            ["--family", "vgg", "--max-macs", "7G"],
            "No backbone of the family vgg has at most 7,000,000,000 MACs. The nearest is vgg11: 132,863,336 "
            "parameters, 7,609,090,048 MACs, top-1 69.02 %.",
        ),
        (["--family", "lenet", "--min-top1", "10"], "lenet5: 61,706 parameters, 416,520 MACs, no published top-1."),
        (["--family", "vg"], "The zoo has no family 'vg'. Did you mean 'vgg'? It has alexnet, "),
        (["--max-params", "few"], "--max-params='few': expected a positive count such as 100k, 20M or 1.5G."),
        (["--sort", "param"], "--sort='param': expected one of 'top1', 'parameters', "),
        (["--format", "xml"], "--format='xml': expected one of 'table', 'json', 'csv', 'markdown'"),
        (["resnet19"], "Unknown backbone 'resnet19'. Did you mean 'resnet18'"),
        (["resnet18", "--max-macs", "1G"], "resnet18: limits, --family and --sort are for the list"),
        (["resnet18", "--format", "csv"], "--format='csv': expected one of 'table', 'json'"),
    ],
)
def test_mistakes(arguments, answer):
    assert answer in call(*arguments, code=1)


def test_a_card():
    assert [line.rstrip() for line in call("resnet18").splitlines()] == [
        "resnet18: He et al., Deep Residual Learning for Image Recognition, 2015",
        "https://arxiv.org/abs/1512.03385",
        "",
        "11,689,512 parameters",
        "1,814,073,344 MACs and 2,484,712 neurons for one image of 3 × 224 × 224",
        "",
        "Stage    Channels   Stride        Grid",
        "──────────────────────────────────────",
        "relu           64        2   112 × 112",
        "layer1         64        4     56 × 56",
        "layer2        128        8     28 × 28",
        "layer3        256       16     14 × 14",
        "layer4        512       32       7 × 7",
        "",
        "Weights         Top-1 %   Top-5 %       Size",
        "────────────────────────────────────────────",
        "imagenet1k_v1     69.76     89.08   44.66 MB",
        "",
        "Train it:      striate train DATA --model resnet18 --weights imagenet",
        "Count it:      striate summary resnet18",
        'In Python:     striate.zoo.create("resnet18", weights="imagenet", num_classes=10)',
    ]


def test_a_card_without_weights():
    output = call("lenet5")
    assert "No weights are published for it." in output
    assert "weights=" not in output and "--weights" not in output


def test_a_card_for_programs():
    values = json.loads(call("vgg11", "--format", "json"))
    assert (values["name"], values["parameters"]) == ("vgg11", 132_863_336)
    assert values["stages"][0] == {"name": "features.1", "channels": 64, "stride": 1}
    assert {"name": "imagenet1k_v1", "top1": 69.02} in values["weights"]


def test_names_of_the_zoo_in_other_commands():
    def output(*arguments, code=0):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result.output

    with_fewer = striate.count(zoo.create("squeezenet1_1", num_classes=7).eval(), (3, 64, 64))
    assert output("summary", "squeezenet1_1", "--input", "3x64x64", "--classes", "7") == with_fewer.text() + "\n"
    assert "115,605,504 MACs" in output("explain", "resnet18", "layer1.0.conv1")
    assert "1,235,496" in output("compare", "squeezenet1_1", "squeezenet1_0")
    assert "Training, batch 2" in output("memory", "squeezenet1_1", "--batch-size", "2", "--input", "3x64x64")
    assert "parameters over" in output("budget", "lenet5", "--params", "50k")
    assert "Did you mean 'densenet121'" in output("summary", "densenett121", code=1)
    assert 'Model: "lenet"' in output("summary", "lenet")  # the small network, not LeNet-5
