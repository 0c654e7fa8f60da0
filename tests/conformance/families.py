"""One model of each family of timm: the one with the fewest parameters of each of its modules (timm 1.0.31)."""

from __future__ import annotations

import torch
from torch import nn

FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "mobileone_s1",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_zepto_rms",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "mobilenetv2_035",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "mambaout_femto",
    "maxxvit": "maxvit_pico_rw_256",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "nf_regnet_b0",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "resnet10t",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_srelpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}

PAPERS = {
    "cait_xxs24_224": "2.5",
    "davit_tiny": "4.5",
    "densenet121": "2.8",
    "edgenext_xx_small": "0.26",
    "efficientformer_l1": "1.3",
    "efficientformerv2_s0": "0.40",
    "efficientvit_m0": "0.079",
    "fasternet_t0": "0.34",
    "fastvit_t8": "0.7",
    "focalnet_tiny_srf": "4.4",
    "gcvit_xxtiny": "2.1",
    "ghostnet_050": "0.042",
    "inception_next_atto": "0.5",
    "levit_128s": "0.305",
    "mvitv2_tiny": "4.7",
    "nasnetalarge": "23.8",
    "nest_tiny": "5.8",
    "nextvit_small": "5.8",
    "pit_ti_224": "0.7",
    "pvt_v2_b0": "0.6",
    "rdnet_tiny": "5.0",
    "regnetx_002": "0.2",
    "repvit_m1": "0.8",
    "shvit_s1": "0.241",
    "swiftformer_xs": "0.6",
    "swin_tiny_patch4_window7_224": "4.5",
    "tiny_vit_5m_224": "1.3",
    "tnt_s_legacy_patch16_224": "5.2",
    "vgg11": "7.6",
}
"""GMACs as the models' own papers print them."""

NOT_IN_LAYERS = {
    "beit": "queries, keys and values by a functional product",
    "byoanet": "relative positions, a product with learned weights",
    "eva": "queries, keys and values by a functional product",
    "gemma4_vit": "the patches' positions, a product with learned weights",
    "sequencer": "LSTMs, whose neurons are units and no outputs",
    "swiftformer": "the attention's learned vector, a functional product",
    "swin_transformer_v2": "queries, keys and values by a functional product; a layer on constants",
    "swin_transformer_v2_cr": "a layer on constants gives weights, and is no neuron of the input's",
    "vision_transformer_relpos": "a layer on constants gives weights, and is no neuron of the input's",
}
"""Families with weighted sums elsewhere than in convolutions and linear layers, or layers that no input reaches."""


def build(name: str, device: str = "meta") -> tuple[nn.Module, tuple[int, int, int]]:
    """A model in evaluation, and the shape of one image."""
    import timm

    with torch.device(device):
        model = timm.create_model(name).eval()
    return model, tuple(model.pretrained_cfg["input_size"])


def define_missing_operators() -> torch.library.Library:
    """Torchvision's compiled operators, which no model here needs and some builds lack; keep what is returned."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
