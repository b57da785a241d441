"""Mask R-CNN with a feature pyramid: Model Garden's network, task and trainer on our ResNet."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import config_definitions, train_utils
from official.modeling import optimization
from official.vision.configs import maskrcnn as configs
from official.vision.modeling import factory
from official.vision.ops import preprocess_ops
from official.vision.tasks import maskrcnn as tasks

from pcd_tf import atomic, data, inits
from pcd_tf.detectors import _mask_rcnn_layout as layouts
from pcd_tf.detectors import _mask_rcnn_loop as loop
from pcd_tf.detectors import _mask_rcnn_records
from pcd_tf.detectors._mask_rcnn_detector import Detector
from pcd_tf.detectors._mask_rcnn_loop import step_reached as step_reached
from pcd_tf.detectors._mask_rcnn_settings import LEVELS
from pcd_tf.detectors._mask_rcnn_settings import Settings as Settings
from pcd_tf.detectors._mask_rcnn_settings import check as check
from pcd_tf.errors import UserError

# The side, in pixels, from which on the anchors' sizes and the numbers of proposals and of sampled
# regions are Model Garden's. Below, they shrink with the side: an anchor is the same part of an
# image then, and the heads' work shrinks too, as it does with nothing else.
FULL_SIZE = 512
SCALE_RANGE = (0.8, 1.25)  # of training images; Model Garden's maskrcnn_resnetfpn_coco
WARMUP_FACTOR = 1e-3  # Detectron2's SOLVER.WARMUP_FACTOR: where the learning rate starts
# Of the masks' last kernel at the start, as in Detectron2's MaskRCNNConvUpsampleHead. With Model
# Garden's own, sqrt(2 / K) for K classes, the loss of masks starts at 7 instead of 0.7 for one.
MASK_STDDEV = 1e-3
MAX_ERROR = 1e-4  # relative, of the maps after the weights were handed over


def train(
    init: inits.Init,
    train_source: data.Annotated,
    eval_source: data.Annotated,
    settings: Settings,
    workdir: Path,
    *,
    log: Callable[[int, dict[str, float]], bool | None] = lambda step, values: None,
    evaluated: Callable[[int, Mapping[str, Any]], None] = lambda step, scores: None,
) -> dict[str, dict[str, Any]]:
    """Trains a Mask R-CNN from an init's backbone, and evaluates it.

    Run again with the same workdir, it goes on at the last checkpoint, with the images in another
    order. In the workdir it writes `checkpoints/`, `records/` (the training images as TFRecords,
    removed at the end) and `detections.json` (the last evaluation's boxes and masks, in COCO's
    results format).

    Source: He et al., "Mask R-CNN", 2017, arXiv 1703.06870; tf-models-official, official/vision.

    Args:
        init: with a ResNet as backbone.
        train_source: with masks.
        eval_source: with masks, of the same classes.
        settings: see `Settings`.
        workdir: an existing directory.
        log: see `_mask_rcnn_loop.run`; means of the losses by name, "loss" their sum.
        evaluated: called with the number of steps done and the scores, behind the checkpoint, and
            again when a run is resumed there.

    Returns:
        The last scores: {"box": ..., "mask": ...}, each as `Detections.scores` gives them.

    Raises:
        UserError: when the backbone is no ResNet, a source has no masks, the classes differ or a
            setting does not fit; when the backbone, built anew, computes other maps; when the loss
            is not finite; the last checkpoint is from before.
        KeyboardInterrupt: when `log` asked for the end.
    """
    check(init, train_source, eval_source, settings)
    layout = layouts.describe(init.backbone)
    check_maps(init, layout)
    records = _mask_rcnn_records.write(train_source, workdir / "records")
    config = experiment(settings, records, num_classes=len(train_source.class_names))
    config.task.train_data.seed = settings.seed + step_reached(workdir)
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(settings.precision)
    tf_keras.utils.set_random_seed(settings.seed)
    try:
        with settings.strategy.scope():
            task = _Task(config.task, lambda: network(init, layout, settings))
            trainer = train_utils.create_trainer(config, task, train=True, evaluate=False)
            # Momenta that are made in the first step would have its graph built twice.
            trainer.optimizer._create_all_weights(trainer.model.trainable_variables)
            detector = _detector(trainer.model, settings)
            scores: dict[str, dict[str, Any]] = {}

            def evaluate(done: int) -> None:
                found = detector.evaluate(eval_source)
                scores.update(box=found.scores("bbox"), mask=found.scores("segm"))
                atomic.write_json(workdir / "detections.json", found.results())
                evaluated(done, scores)

            loop.run(trainer, settings, workdir, log=log, evaluate=evaluate)
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    _mask_rcnn_records.remove(workdir / "records")
    return scores


def network(init: inits.Init, layout: layouts.Layout, settings: Settings) -> "_Backbone":
    """Builds a ResNet in tf_keras with the weights of a layout: Model Garden's images -> maps.

    Model Garden normalises images by ImageNet's mean and deviation; the first layer makes of them
    what the init expects.

    Returns:
        A functional model, images (B, H, W, 3) -> {"2": (B, H / 4, W / 4, C2), ..., "5": ...}.
    """
    decay = settings.weight_decay
    has_statistics = settings.batch_norm == "synchronized"

    def convolve(x: Any, made: layouts.Convolution, stage: int) -> Any:
        """Convolution and BatchNorm; the padding is PyTorch's, the same on all sides."""
        is_trained = stage >= settings.frozen_stages
        if made.size > 1:
            x = tf_keras.layers.ZeroPadding2D(made.size // 2)(x)
        x = tf_keras.layers.Conv2D(
            made.filters,
            made.size,
            strides=made.stride,
            use_bias=False,
            # Half of it: the gradient decay * w is that of decay / 2 * w**2.
            kernel_regularizer=tf_keras.regularizers.L2(decay / 2) if is_trained else None,
            trainable=is_trained,
            name=made.name,
        )(x)
        return tf_keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            synchronized=has_statistics,
            trainable=is_trained and has_statistics,
            name=made.norm,
        )(x)

    mean, std = np.array(init.mean), np.array(init.std)
    scale = 255 * np.array(preprocess_ops.STDDEV_NORM) / std
    offset = (255 * np.array(preprocess_ops.MEAN_NORM) - mean) / std
    images = tf_keras.Input((None, None, 3))
    x = tf_keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="normalisation")(images)
    x = tf_keras.layers.ReLU()(convolve(x, layout.stem, 0))
    x = tf_keras.layers.MaxPooling2D(3, 2)(tf_keras.layers.ZeroPadding2D(1)(x))  # nothing is < 0
    maps = {}
    for stage, blocks in enumerate(layout.stacks, start=1):
        for block in blocks:
            shortcut = convolve(x, block.shortcut, stage) if block.shortcut else x
            for convolution in block.convolutions[:-1]:
                x = tf_keras.layers.ReLU()(convolve(x, convolution, stage))
            x = convolve(x, block.convolutions[-1], stage)
            x = tf_keras.layers.ReLU()(tf_keras.layers.Add()([x, shortcut]))
        maps[str(stage + 1)] = x
    made = _Backbone(images, maps, name=init.backbone.name)
    for name, arrays in layout.arrays.items():
        made.get_layer(name).set_weights(arrays)
    return made


def check_maps(init: inits.Init, layout: layouts.Layout) -> None:
    """Compares the maps of the new backbone, in float32, with those of the init's.

    Raises:
        UserError: when one is off by more than MAX_ERROR of its largest value.
    """
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = layouts.maps(init.backbone, (images - init.mean) / np.array(init.std, np.float32))
    policy = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("float32")
    try:
        built = network(init, layout, Settings(tf.distribute.get_strategy()))
    finally:
        tf_keras.mixed_precision.set_global_policy(policy)
    normalised = preprocess_ops.normalize_image(tf.constant(images / 255))
    for level, map_ in built(normalised, training=False).items():
        difference = np.abs(map_ - expected[level]).max()
        largest = np.abs(expected[level]).max()
        if not difference <= MAX_ERROR * largest:
            raise UserError(
                f"Expected the map P{level} of {init.name} in Mask R-CNN as well, to {MAX_ERROR} "
                f"of its largest value {largest:.3g}. Received: one that is off by "
                f"{difference:.1e}, so the weights were not handed over. Use --model=retinanet."
            )


def experiment(
    settings: Settings, records: _mask_rcnn_records.Records, *, num_classes: int
) -> config_definitions.ExperimentConfig:
    """Makes Model Garden's configuration: its defaults but for what the settings say."""
    size = settings.image_size
    model = configs.MaskRCNN(
        num_classes=num_classes + 1,  # and the background
        input_size=[size, size, 3],
        min_level=LEVELS[0],
        max_level=LEVELS[1],
        # Model Garden's 0.997 is for long runs: after 100 steps 74 % of the start would be left.
        norm_activation=configs.common.NormActivation(
            norm_momentum=0.9, norm_epsilon=1e-5, use_sync_bn=True
        ),
    )
    parser = configs.Parser(
        aug_rand_hflip=True,
        aug_scale_min=SCALE_RANGE[0],
        aug_scale_max=SCALE_RANGE[1],
        max_num_instances=records.max_objects,
    )
    part = min(1.0, size / FULL_SIZE)
    model.anchor.anchor_size *= part
    model.roi_sampler.num_sampled_rois = round(part * model.roi_sampler.num_sampled_rois)
    # The loss of the proposals' scores is divided by the number above, so both shrink alike.
    parser.rpn_batch_size_per_im = round(part * parser.rpn_batch_size_per_im)
    model.mask_sampler.num_sampled_masks = round(part * model.mask_sampler.num_sampled_masks)
    for name, value in model.roi_generator.as_dict().items():
        if name.endswith(("top_k", "num_proposals")):
            setattr(model.roi_generator, name, round(part * value))
    dtype = settings.precision.removeprefix("mixed_")
    return config_definitions.ExperimentConfig(
        runtime=config_definitions.RuntimeConfig(mixed_precision_dtype=dtype),
        task=configs.MaskRCNNTask(
            model=model,
            losses=configs.Losses(l2_weight_decay=settings.weight_decay),
            train_data=configs.DataConfig(
                input_path=records.pattern,
                is_training=True,
                global_batch_size=settings.global_batch_size,
                dtype=dtype,
                parser=parser,
                shuffle_buffer_size=min(records.num_images, 1000),
            ),
        ),
        trainer=config_definitions.TrainerConfig(
            train_steps=settings.num_steps, optimizer_config=_optimizer(settings)
        ),
    )


def _optimizer(settings: Settings) -> optimization.OptimizationConfig:
    peak, steps, warmup_steps = settings.learning_rate, settings.num_steps, settings.warmup_steps
    falling = {
        "stepwise": {
            "boundaries": [round(part * steps) for part in settings.boundaries],
            "values": [peak * settings.decay**i for i in range(len(settings.boundaries) + 1)],
        },
        "cosine": {
            "initial_learning_rate": peak,
            "decay_steps": steps - warmup_steps,
            "offset": warmup_steps,
        },
    }
    kind = {"step": "stepwise", "cosine": "cosine"}[settings.schedule]
    rising = {"warmup_steps": warmup_steps, "warmup_learning_rate": WARMUP_FACTOR * peak}
    return optimization.OptimizationConfig(
        {
            "optimizer": {"type": "sgd", "sgd": {"momentum": settings.momentum}},
            "learning_rate": {"type": kind, kind: falling[kind]},
            "warmup": {"type": "linear", "linear": rising} if warmup_steps else {},
        }
    )


def _detector(model: tf_keras.Model, settings: Settings) -> Detector:
    size = [settings.image_size] * 2

    def fit(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepares an image as Model Garden does."""
        normalised = preprocess_ops.normalize_image(image)
        fitted, info = preprocess_ops.resize_and_crop_image(normalised, size, size)
        return fitted, info[2]

    batch_size = settings.global_batch_size // settings.strategy.num_replicas_in_sync
    return Detector(model, fit, image_size=settings.image_size, batch_size=batch_size)


class _Backbone(tf_keras.Model):
    """A functional model that names the shapes of its maps, which Model Garden's decoder wants."""

    def __init__(self, images: Any, maps: dict[str, Any], name: str) -> None:
        super().__init__(inputs=images, outputs=maps, name=name)
        self._output_specs = {level: map_.shape for level, map_ in maps.items()}

    @property
    def output_specs(self) -> dict[str, tf.TensorShape]:
        return self._output_specs


class _Task(tasks.MaskRCNNTask):
    """Model Garden's task with a backbone of ours."""

    def __init__(
        self, config: configs.MaskRCNNTask, build_backbone: Callable[[], _Backbone]
    ) -> None:
        super().__init__(config)
        self._build_backbone = build_backbone

    def build_model(self) -> tf_keras.Model:
        config = self.task_config.model
        model = factory.build_maskrcnn(
            input_specs=tf_keras.layers.InputSpec(shape=[None, *config.input_size]),
            model_config=config,
            l2_regularizer=tf_keras.regularizers.L2(self.task_config.losses.l2_weight_decay / 2),
            backbone=self._build_backbone(),
        )
        # The heads are built on one empty region: a graph of the whole model takes much longer.
        num_filters = config.decoder.get().num_filters
        sizes = (config.roi_aligner.crop_size, config.mask_roi_aligner.crop_size)
        regions, larger = (tf.zeros((1, 1, size, size, num_filters)) for size in sizes)
        model.detection_head[0](regions)
        model.mask_head([larger, tf.zeros((1, 1), tf.int32)])
        (kernel,) = (w for w in model.mask_head.weights if "mask-logits/kernel" in w.name)
        kernel.assign(tf.random.normal(kernel.shape, stddev=MASK_STDDEV))
        return model
