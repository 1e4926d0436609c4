"""A short round of the campaign rolling-schema: fields change daemon by daemon while clients write."""

from support.rolling_schema import Play


def test_a_field_that_is_widened_under_load_is_everywhere_as_its_clients_wrote_it(stack):
    play = Play(stack, seed=16, records=6, pace=3)
    play.run(["widen"])
    assert min(play.books.written.values()) > 20


def test_a_bound_that_one_of_three_regions_lowers_applies_to_its_own_clients(stack3):
    play = Play(stack3, seed=16, records=6, pace=3)
    play.run(["lower"])
    assert min(play.books.written.values()) > 20


def test_what_a_trigger_of_one_region_skips_under_load_arrives_when_it_is_gone(stack):
    play = Play(stack, seed=16, records=6, pace=3)
    play.run(["swallow"])
    assert min(play.books.written.values()) > 20
