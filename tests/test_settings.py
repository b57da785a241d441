"""Settings: declared once, checked all at once."""

import dataclasses
import math
import re

import pytest

from pcd_tf.settings import Settings, declared, setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Oven(Settings):
    heat: int = setting(
        180,
        help="How hot.",
        group="training",
        source="[ours]",
        unit="degrees",
        minimum=60,
        maximum=300,
        multiple_of=20,
        reason="The dial has steps.",
        maximum_reason="It melts.",
    )
    mode: str = setting(
        "fan", help="Which air.", group="model", source="[paper]", choices=("fan", "grill")
    )
    hours: float = setting(1.5, help="How long.", group="training", source="[code]", above=0)
    light: bool = setting(False, help="Lamp.", group="run", source="[ours]")
    name: str = setting("oven", help="Name.", group="run", source="[ours]")
    shelf: int | None = setting(
        None, help="Which one.", group="run", source="[ours]", minimum=1, when_none="any"
    )

    def conflicts(self):
        if self.mode == "grill" and self.heat > 240:
            yield ("heat", "mode"), "too hot to grill."
        if self.name == "toaster":
            yield ("name",), "a toaster is no oven."


def problems(**values):
    with pytest.raises(ValueError, match="cannot work") as caught:
        Oven(**values).validate()
    return str(caught.value).split("\n  ")


def test_defaults_are_accepted():
    Oven().validate()


def test_a_declaration_is_read_back_whole_and_by_group():
    entries = declared(Oven)
    assert [entry.name for entry in entries] == ["mode", "heat", "hours", "light", "name", "shelf"]
    heat, shelf = entries[1], entries[-1]
    assert (heat.kind, heat.optional, heat.default, heat.unit) == (int, False, 180, "degrees")
    assert (shelf.kind, shelf.optional, shelf.default, shelf.when_none) == (int, True, None, "any")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"heat": 90},
            "heat: expected a whole number, a multiple of 20, at least 60, at most 300. "
            "Received: 90. The dial has steps.",
        ),
        ({"heat": 40}, "Received: 40"),
        ({"heat": 320}, "Received: 320"),
        ({"heat": 180.0}, "Received: 180.0"),
        ({"heat": True}, "Received: True"),
        ({"heat": "hot"}, "Received: 'hot'"),
        ({"heat": None}, "Received: None"),
        ({"mode": "gril"}, "expected one of fan, grill. Received: 'gril'. Did you mean 'grill'?"),
        ({"mode": 3}, "mode: expected one of fan, grill. Received: 3."),
        ({"hours": 0}, "hours: expected a number, above 0. Received: 0."),
        ({"hours": math.nan}, "Received: nan"),
        ({"hours": math.inf}, "Received: inf"),
        ({"light": 1}, "light: expected true or false. Received: 1."),
        ({"name": ""}, "name: expected a text. Received: nothing."),
        ({"name": "  "}, "name: expected a text. Received: '  '."),
        ({"shelf": 0}, "shelf: expected a whole number, at least 1. Received: 0."),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(values, message):
    count, line = problems(**values)
    assert count == "1 setting cannot work:"
    assert message in line


@pytest.mark.parametrize(
    "values", [{"hours": 2}, {"hours": 0.001}, {"heat": 60}, {"heat": 300}, {"shelf": 1}]
)
def test_values_at_the_bounds_are_accepted(values):
    Oven(**values).validate()


def test_all_problems_are_named_at_once():
    count, *lines = problems(heat=10, mode="x", light="yes", name="toaster")
    assert count == "4 settings cannot work:"
    assert [line.split(":")[0] for line in lines] == ["mode", "heat", "light", "name"]


def test_a_conflict_is_named():
    assert problems(mode="grill", heat=260)[1] == "heat: too hot to grill."


def test_a_conflict_with_a_value_that_is_itself_wrong_is_not():
    assert len(problems(mode="grill", heat=1000)) == 2


def test_with_default_changes_default_and_source_alone():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class HotOven(Oven):
        heat: int = with_default(Oven, "heat", 240, source="[code]")

    before, after = declared(Oven)[1], declared(HotOven)[1]
    assert after == dataclasses.replace(before, default=240, source="[code]")
    assert HotOven().heat == 240
    assert Oven().heat == 180


def test_a_setting_without_default_must_be_given():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Strict(Settings):
        size: int = setting(help="Size.", group="data", source="[ours]")

    with pytest.raises(TypeError, match="size"):
        Strict()
    assert declared(Strict)[0].default is dataclasses.MISSING


@pytest.mark.parametrize("details", [{"source": "[rumour]"}, {"group": "misc"}])
def test_an_unknown_source_or_group_is_refused(details):
    with pytest.raises(ValueError, match=re.escape(next(iter(details.values())))):
        setting(1, **{"help": "x", "group": "data", "source": "[ours]", **details})
