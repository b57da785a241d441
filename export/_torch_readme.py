"""How to load a student in PyTorch: README.txt beside its arrays."""

from collections.abc import Sequence

from export._order import Order

_TORCHVISION = """\
A ResNet-{depth} distilled by Pixel-Wise Contrastive Distillation, under torchvision's names,
without the classifier. To load it, in this directory:

    import torch
    from safetensors.torch import load_file
    from torchvision.models import resnet{depth}

    network = resnet{depth}()
    network.fc = torch.nn.Identity()
    network.load_state_dict(load_file("model.safetensors"))  # strict: every array has its place
    network.eval()

timm's resnet{depth} with num_classes=0 takes the same names. Images are RGB, float32 (B, 3, H, W),
and normalised: (x - mean) / std. For x in 0..1, as torchvision.transforms has it:

    mean = {mean_of_one}
    std = {std_of_one}

and for x in 0..255:

    mean = {mean}
    std = {std}
"""

_DETECTRON2 = """\
A ResNet-{depth} distilled by Pixel-Wise Contrastive Distillation, under Detectron2's names.
Detectron2 reads .pth files. To make one, in this directory:

    import torch
    from safetensors.torch import load_file

    weights = load_file("model.safetensors")
    torch.save({{"model": weights, "matching_heuristics": True}}, "model.pth")

The heuristics are Detectron2's own: they find a name at the end of the detector's longer one,
whatever the detector (FPN: backbone.bottom_up.stem..., C4: backbone.stem...). In its configuration:

    MODEL:
      WEIGHTS: model.pth
      PIXEL_MEAN: {mean}
      PIXEL_STD: {std}
      RESNETS:
        DEPTH: {depth}
        STRIDE_IN_1X1: False{narrow}
    INPUT:
      FORMAT: RGB

The log then names no array of the ResNet (stem, res2 .. res5) as missing.
"""
_NARROW = "\n        RES2_OUT_CHANNELS: 64"  # Detectron2 asks for it where blocks are basic ones


def readme(order: Order) -> str:
    """Writes the text for the naming that is asked for."""
    student, backbone = order.student, order.student.backbone
    is_basic = backbone.block_type == "basic_block"
    text = _DETECTRON2 if order.naming == "detectron2" else _TORCHVISION
    return text.format(
        depth=sum(backbone.stackwise_num_blocks) * (2 if is_basic else 3) + 2,
        mean=_listed(student.mean),
        std=_listed(student.std),
        mean_of_one=_listed([value / 255 for value in student.mean]),
        std_of_one=_listed([value / 255 for value in student.std]),
        narrow=_NARROW if is_basic else "",
    )


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
