"""Settings: declared once, checked all at once."""

import dataclasses
import math
import re

import pytest

from pcd_tf.errors import UserError
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
    place: str | None = setting(
        None, help="Where.", group="run", source="[ours]", unit="directory", when_none="here"
    )
    places: str | None = setting(
        None,
        help="Where.",
        group="run",
        source="[ours]",
        unit="list of names or paths",
        when_none="here",
    )
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
    names = ["mode", "heat", "hours", "light", "name", "place", "places", "shelf"]
    assert [entry.name for entry in entries] == names
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


def test_a_bound_gives_its_own_reason():
    assert problems(heat=40)[1].endswith("Received: 40. The dial has steps.")
    assert problems(heat=10**400)[1].endswith(" It melts.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a\x1b[2J"}, r"name: expected a text in UTF-8 .* Received: 'a\x1b[2J'."),
        ({"name": "a\udcff"}, r"without control characters. Received: 'a\udcff'."),
        ({"name": "a\nb"}, r"Received: 'a\nb'."),
        ({"name": "a\u202eb"}, r"Received: 'a\u202eb'."),
        ({"name": "x" * 4000}, "name: expected a text of at most 3072 bytes. Received: 'xxx"),
        ({"name": "ü" * 2000}, "at most 3072 bytes"),
        ({"place": "a\udcff/b"}, "Rename it, or name a link to it. Received: 'a\\udcff/b'."),
        ({"place": "~nobody-here/x"}, "place: there is no user 'nobody-here'."),
        ({"place": "~\0"}, "place: expected a text in UTF-8"),
        ({"place": "x" * 300}, "place: cannot be looked up: File name too long. Received: 'xxx"),
        ({"places": "a,b\0"}, "places: expected a text in UTF-8"),
        ({"places": "x," * 5000 + "~nobody-here"}, "places: there is no user 'nobody-here'."),
    ],
)
def test_a_text_that_nothing_can_use_is_refused_with_the_reason(values, message):
    before, _, after = message.partition(" .* ")
    (found,) = problems(**values)[1:]
    assert before in found
    assert after in found


def test_a_text_of_any_language_is_accepted():
    Oven(name="Öfen für 窯 👩\u200d🍳", place="/窯/Öfen, 2").validate()


def test_a_place_that_may_not_be_looked_up_is_named(monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    assert problems(place="/a")[1] == (
        "place: cannot be looked up: Permission denied. Received: '/a'."
    )


def test_what_the_system_says_while_conflicts_are_looked_for_is_a_users_error(monkeypatch):
    def refuse(oven):
        raise PermissionError(13, "Permission denied", "/a/b")

    monkeypatch.setattr(Oven, "conflicts", refuse)
    with pytest.raises(UserError, match="Permission denied: '/a/b'"):
        Oven().validate()


def test_the_home_directory_is_understood_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    oven = Oven(name="~x", place="~/x", places="~/x, ~,hf://a/b")
    assert (oven.name, oven.place) == ("~x", "/home/ann/x")
    assert oven.places == "/home/ann/x,/home/ann,hf://a/b"
    assert Oven(place="hf://a/b").place == "hf://a/b"


def test_one_directory_may_have_a_name_that_looks_like_a_list_with_a_home(tmp_path):
    name = str(tmp_path / "Paris, ~2020")
    assert problems(places=name)[1].startswith("places: there is no user '2020'.")
    (tmp_path / "Paris, ~2020").mkdir()
    oven = Oven(places=name)
    assert oven.places == name
    oven.validate()


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
