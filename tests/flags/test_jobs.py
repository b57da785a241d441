"""Every job on the command line: what it must have, and the flags others rely on."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

import flags
from pcd_tf.settings import declared

ROOT = Path(__file__).resolve().parents[2]
TRAINING_FLAGS = """dataset data_dir max_pixels tfds_name workdir teacher image_size
global_batch_size num_epochs num_steps temperature optimizer learning_rate weight_decay
warmup_epochs strategy num_virtual_devices precision seed log_every_steps checkpoint_every_steps"""
TEACHER_FLAGS = "teacher teacher_map teacher_head teacher_mean teacher_std"
DISTILL_FLAGS = f"""{TEACHER_FLAGS} teacher_checkpoint map_size student student_model
student_pyramid student_init queue_size pairing mhsa objective teacher_head_gates
eval_every_epochs eval_dir eval_maps_dir early_stop_evals"""
FINETUNING_FLAGS = """model student dataset data_dir tfds_name max_pixels train_split eval_split
train_annotations eval_annotations image_size global_batch_size num_epochs num_steps learning_rate
schedule weight_decay warmup_epochs freeze batch_norm anchor_size eval_every_epochs workdir strategy
num_virtual_devices precision seed log_every_steps checkpoint_every_steps"""
EVALUATE_FLAGS = """probe init student dataset data_dir tfds_name train_split eval_split image_size
max_pixels batch_size seed out"""
NAMES = {"convert", "distill", "embed", "export", "pretrain", "finetune", "evaluate"}
NAMES |= {"compare", "prepare"}


def settings_of(job_name):
    return {entry.name: entry for entry in declared(flags.job(job_name).config_class)}


def test_the_jobs_are_found():
    assert set(flags.names()) == NAMES


@pytest.mark.parametrize("name", flags.names())
def test_a_job_is_named_as_its_file_and_its_runner_has_run(name):
    job = flags.job(name)
    assert job.name == name
    assert job.summary.endswith(".")
    found = importlib.util.find_spec(job.runner)
    assert found is not None
    assert found.origin is not None
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    assert "run" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", flags.names())
def test_a_setting_says_what_it_does_and_its_default_is_allowed_or_required(name):
    for entry in settings_of(name).values():
        assert entry.help.endswith("."), entry.name
        assert bool(entry.when_none) == entry.optional, entry.name
        assert entry.default == "" or entry.problem(entry.default) is None, entry.name


@pytest.mark.parametrize("name", flags.names())
def test_the_example_can_be_typed(name):
    job = flags.job(name)
    config: Any = flags.parse(job, job.example.split())[0]
    place = {"embed": "model", "evaluate": "init"}.get(name, "workdir")
    assert getattr(config, place).startswith("runs/")


@pytest.mark.parametrize(
    ("job", "names"),
    [
        ("pretrain", "data_dir workdir"),
        ("distill", "teacher_checkpoint student_init student_model eval_dir eval_maps_dir"),
        ("convert", "checkpoint workdir"),
        ("embed", "data_dir model out"),
        ("evaluate", "init out"),
        ("export", "workdir out data_dir"),
        ("finetune", "init train_annotations eval_annotations"),
        ("compare", "inits"),
        ("prepare", "data_dir annotations workdir show"),
    ],
)
def test_the_home_directory_is_understood_wherever_a_path_may_stand(job, names):
    config = flags.parse(flags.job(job), [f"--{name}=~/x" for name in names.split()])[0]
    for name in names.split():
        assert getattr(config, name) == str(Path.home() / "x")


def test_the_flags_that_others_rely_on():
    assert set(TRAINING_FLAGS.split()) <= settings_of("pretrain").keys()
    assert set(f"{TRAINING_FLAGS} {DISTILL_FLAGS}".split()) == settings_of("distill").keys()
    finetuning = set(FINETUNING_FLAGS.split())
    assert settings_of("finetune").keys() == finetuning | {"init", "export"}
    assert settings_of("compare").keys() == finetuning | {"inits", "seeds"}
    assert settings_of("evaluate").keys() == set(EVALUATE_FLAGS.split())
    embed_flags = "dataset data_dir max_pixels tfds_name split image_size model batch_size out"
    assert settings_of("embed").keys() == set(embed_flags.split())
    prepare_flags = """dataset data_dir max_pixels tfds_name contents splits annotations max_side
    shard_size num_workers seed workdir show"""
    assert settings_of("prepare").keys() == set(prepare_flags.split())
    export_flags = "workdir format out data_dir image_size batch_size precision naming"
    assert settings_of("export").keys() == set(export_flags.split())
    assert settings_of("convert").keys() == set(f"{TEACHER_FLAGS} checkpoint workdir".split())


@pytest.mark.parametrize("name", ["pretrain", "distill"])
def test_the_quickstart_flags_are_valid(name, tmp_path):
    (tmp_path / "teacher.json").write_text("{}")
    arguments = [f"--flagfile={ROOT}/flags/quickstart/{name}.flags", "--workdir=runs/x"]
    if name == "distill":
        arguments.append(f"--teacher_checkpoint={tmp_path}")
    config: Any = flags.parse(flags.job(name), arguments)[0]
    config.validate()
    assert config.dataset == "synthetic"


def test_an_unknown_job_gets_the_nearest():
    with pytest.raises(flags.UsageError, match="'distil'. Did you mean 'distill'"):
        flags.job("distil")
    with pytest.raises(
        flags.UsageError, match="Expected a job: compare, convert, distill, .*pretrain"
    ):
        flags.job("common")
