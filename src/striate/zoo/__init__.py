"""Backbones, from LeNet-5 to the vision transformer: torch modules with torchvision's `state_dict` keys."""

from striate.zoo import alexnet as alexnet
from striate.zoo import convnext as convnext
from striate.zoo import densenet as densenet
from striate.zoo import efficientnet as efficientnet
from striate.zoo import googlenet as googlenet
from striate.zoo import inception as inception
from striate.zoo import lenet as lenet
from striate.zoo import mobilenet_v2 as mobilenet_v2
from striate.zoo import mobilenet_v3 as mobilenet_v3
from striate.zoo import resnet as resnet
from striate.zoo import squeezenet as squeezenet
from striate.zoo import vgg as vgg
from striate.zoo import vision_transformer as vision_transformer
from striate.zoo.backbone import Backbone, Stage
from striate.zoo.catalogue import Card, card, create, names
from striate.zoo.preprocessing import Preprocessing
from striate.zoo.weights.records import WeightsRecord

__all__ = ["Backbone", "Card", "Preprocessing", "Stage", "WeightsRecord", "card", "create", "names"]
