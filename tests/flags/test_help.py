"""The help texts hold what a reader needs."""

import pytest

import flags
from pcd_tf.settings import SOURCES, declared


def test_the_overview_has_every_job_with_an_example():
    text = flags.overview()
    for name in flags.names():
        assert f"\n{name}: {flags.job(name).summary}\n  python main.py {name} --" in text


@pytest.mark.parametrize("name", flags.names())
def test_every_flag_is_described_with_default_and_source(name):
    text = flags.help_of(flags.job(name))
    for entry in declared(flags.job(name).config_class):
        signature = f"\n  --[no]{entry.name}\n" if entry.kind is bool else f"\n  --{entry.name}="
        _, found, description = text.partition(signature)
        assert found, entry.name
        description = " ".join(description.partition("\n  --")[0].split())
        assert "Required." in description or "Default: " in description
        assert description.removesuffix(" Run:").endswith(tuple(SOURCES)) or "] " in description
        assert all(choice in description for choice in entry.choices)


@pytest.mark.parametrize("name", flags.names())
def test_lines_fit_and_nothing_of_absl_is_shown(name):
    text = flags.help_of(flags.job(name))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "absl" not in text
    assert "verbosity" not in text


def test_a_description_in_full():
    text = flags.help_of(flags.job("distill"))
    assert (
        "  --learning_rate=NUMBER\n"
        "      Base rate: the highest rate is this x --global_batch_size / 256. It rises over the\n"
        "      warm-up, then falls to 0 by a cosine. Above 0, at most 1000. Default: 1.0 per 256 "
        "images.\n      [code]\n"
    ) in text
    assert "\nTraining:\n  --global_batch_size=INT\n" in text
    assert "  --[no]mhsa\n" in text
    assert "Default: true. [paper]" in text
    assert "At least 1, at most 16777216.\n      Default: 65536 vectors. [code]" in text
    assert "--student_init=NAME_OR_PATH\n" in text
    assert "Default: random. [ours]" in text


def test_groups_without_settings_and_sources_without_use_are_left_out():
    text = flags.help_of(flags.job("export"))
    assert "Training:" not in text
    assert "[paper]" not in text
    assert "[ours] decided by this project" in text
