"""What the commands do for detection: a training on files, resumed, evaluated, asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file

from striate.cli import detecting, training
from striate.cli.plan import Plan
from striate.cli.using import evaluate_run, predict_images
from striate.data.annotated import load_detection
from striate.data.shapes import scenes
from striate.detection import Detections
from striate.errors import ArgumentError, DataError
from striate.track import open_run


def coco_folder(folder, number, seed):
    """Drawn scenes as files, with their boxes as COCO writes them."""
    data = scenes(number, size=48, seed=seed).detection()
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for index, (pixels, boxes, labels) in enumerate(zip(data.images, data.boxes, data.labels, strict=True)):
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": 48, "width": 48})
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            if label >= 0:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": index, "category_id": label + 1, "segmentation": [], **box}
                )
    categories = [{"id": number, "name": name} for number, name in enumerate(data.class_names, 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    data = coco_folder(folder / "signs", 30, seed=0)
    plan = Plan(str(data), task="detection", epochs=2, name="signs", runs_folder=str(folder / "runs"))
    training.train(plan)
    return open_run("signs", folder / "runs"), plan


def test_everything_is_in_the_run(trained):
    run, _ = trained
    assert run.finished
    assert {"AP", "AP50", "AR@100", "tested", "seconds"} <= set(run.metrics)
    assert run.metrics["tested"] == 6
    network = run.config["network"]
    assert network.pop("backbone")["name"] == "squeezenet1_1"
    assert network == {"num_classes": 6, "image_size": [48, 48], "strides": [4, 8, 16], "width": 64, "depth": 1}
    assert len(run.history["loss"]) == len(run.history["val_loss"]) == 2
    page = run.report_file.read_text()
    assert "mean average precision on 6 test images" in page
    assert "Images drawn at random" in page


def test_the_same_results_when_it_is_tested_again(trained, capsys):
    run, plan = trained
    evaluate_run("signs", None, plan.runs_folder)
    told = f"AP {run.metrics['AP']:.3f}, AP50 {run.metrics['AP50']:.3f}"
    assert told in capsys.readouterr().out


def test_on_other_data(trained, tmp_path, capsys):
    _, plan = trained
    evaluate_run("signs", str(coco_folder(tmp_path / "other", 5, seed=5)), plan.runs_folder)
    assert "on 5 images of other (all of it)" in capsys.readouterr().out


def test_answers_in_json_and_as_pictures(trained, tmp_path, capsys, monkeypatch):
    run, plan = trained
    found = Detections(np.array([[1.0, 2, 30, 40.5]]), np.array([5]), np.array([0.75]))
    nothing = Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    monkeypatch.setattr(detecting, "detect", lambda module, images: [found, nothing])
    paths = [f"{plan.data}/images/{index}.png" for index in range(2)]
    predict_images("signs", paths, True, str(tmp_path / "drawn"), plan.runs_folder)
    first, second = json.loads(capsys.readouterr().out)
    assert first["image"] == paths[0]
    assert first["objects"] == [{"class": run.config["class_names"][5], "score": 0.75, "box": [1, 2, 30, 40.5]}]
    assert second["objects"] == []
    with Image.open(tmp_path / "drawn" / "0.png") as picture:
        assert picture.size == (840, 840)
    assert first["picture"] == str(tmp_path / "drawn" / "0.png")
    predict_images("signs", paths, False, None, plan.runs_folder)
    said = capsys.readouterr().out
    assert "0.75" in said
    assert "(nothing found)" in said


def test_a_training_that_is_stopped_goes_on_to_the_same_weights(trained, monkeypatch):
    whole, plan = trained

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detecting, "detect", stop)
        with pytest.raises(typer.Exit):
            training.train(replace(plan, name="stopped"))
    assert not open_run("stopped", plan.runs_folder).finished
    training.resume("stopped", plan.runs_folder)
    run = open_run("stopped", plan.runs_folder)
    assert run.metrics["AP"] == whole.metrics["AP"]
    first, second = load_file(whole.model_file), load_file(run.model_file)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_damaged_files_are_left_out(tmp_path):
    data = coco_folder(tmp_path / "signs", 12, seed=0)
    held_out = load_detection(data).split(0.2, seed=0)[1].image_ids.tolist()
    for index in (held_out[0], *sorted({*range(12)} - {*held_out})[:2]):
        file = data / "images" / f"{index}.png"
        file.write_bytes(file.read_bytes()[:-1500])
    training.train(Plan(str(data), task="detection", epochs=1, image_size="32", name="r", runs_folder=str(tmp_path)))
    run = open_run("r", tmp_path)
    assert run.config["network"]["image_size"] == [32, 32]
    assert run.metrics["tested"] == len(held_out) - 1


def test_mistakes(trained, tmp_path):
    _, plan = trained
    with pytest.raises(ArgumentError, match="--image-size 3x4x5: expected a height and a width"):
        training.train(replace(plan, image_size="3x4x5"))
    with pytest.raises(DataError, match=r"There is no file 'nothing.png'"):
        predict_images("signs", ["nothing.png"], False, None, plan.runs_folder)
    data = coco_folder(tmp_path / "empty", 8, seed=0)
    content = json.loads((data / "instances.json").read_text())
    for one in content["annotations"]:
        one["iscrowd"] = 1
    (data / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="empty has no boxes to train on"):
        training.train(replace(plan, data=str(data)))
