"""A slice of each part of the campaign, in which the whole of it takes up to an hour (`make campaign`)."""

import json

import pytest

from tests.campaign import campaign, damaged, inputs, kills, small_run
from tests.campaign.campaign import Case, Kept

SLICE = {
    "kills by chance": lambda place, own: kills.run_killed_by_chance(place, own / "copy", 0, 2),
    "kills at named moments": lambda place, own: kills.run_killed_at_each_moment(place, own / "copy", 16, 30),
    "a label cache without its manifest": damaged.damaged(
        damaged.Kind("labels/*/manifest.json", damaged.LAST), ["deleted"]
    ),
    "values of keys": inputs.asked(inputs.ask_keys, 61),
    "paths": inputs.asked(inputs.ask_paths, 53),
    "weights": inputs.asked(inputs.ask_weights, 11),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The place of `small_run` without its other run."""
    place = tmp_path_factory.mktemp("campaign") / "place"
    small_run.make_place(place)
    return place


@pytest.mark.parametrize("name", SLICE)
def test_a_slice_of_the_campaign_finds_no_fault(name, place, tmp_path):
    assert sum(SLICE[name](place, tmp_path).values()) > 0


def test_a_campaign_goes_on_where_it_was_stopped_and_counts_what_was_found(tmp_path, monkeypatch, capsys):
    asked = []

    def found(name, figures):
        def find(place, own):
            asked.append(name)
            assert figures is not None, "used in silence"
            return figures

        return Case("kills", name, find)

    monkeypatch.setattr(small_run, "make_place", lambda place: place.mkdir())
    monkeypatch.setattr(damaged, "make_other", lambda place: None)
    cases = [found("a", {"export": 2}), found("b", {"export": 1, "bench": 4})]
    first = campaign.run(cases[:1], tmp_path, minutes=1, jobs=1)
    assert (first["kills"], first["failures"]) == ({"all": 2, "export": 2}, [])
    with Kept(tmp_path).file.open("a") as stream:
        stream.write(
            json.dumps({"code": "of before", "part": "kills", "name": "b", "seconds": 1, "figures": {}}) + "\n"
        )
        stream.write('{"code": "cut sh')
    assert campaign.run(cases, tmp_path, minutes=0, jobs=1)["done"] == 1  # no case begins after its time
    said = campaign.run([*cases, found("c", None)], tmp_path, minutes=1, jobs=1)
    assert asked == ["a", "b", "c"]
    assert (said["cases"], said["done"]) == (3, 3)
    assert said["kills"] == {"all": 7, "export": 3, "bench": 4}
    assert said["failures"] == ["kills c: AssertionError: used in silence\nassert None is not None"]
