"""A table that compares two ways to do the same thing."""

from measure import median


def add_table(bench, say, title, ways, rates):
    """Adds a table of two ways to do the same thing: rates[what, way], and the names of the `ways`."""
    first, second = ways
    rows = []
    for what in dict.fromkeys(what for what, _ in rates):
        one, two = median(rates[what, first]), median(rates[what, second])
        say(f"  {what}: {one:,.0f} {ways[first]}, {two:,.0f} {ways[second]}")
        rows.append((what, one, two, two / one))
    bench.table(title, ("what", *ways.values(), "ratio"), rows)
