from reports.wording import listing, p_value, short_names, times


def test_words() -> None:
    assert short_names(["encoder.cell", "clipping.kind", "a.size", "b.size"]) == {
        "encoder.cell": "cell",
        "clipping.kind": "clipping.kind",
        "a.size": "a.size",
        "b.size": "b.size",
    }
    assert (listing([]), listing(["a"]), listing("abc")) == ("–", "a", "a, b and c")
    assert (times(0), times(1), times(3)) == ("never", "once", "3 times")
    assert (p_value(0.0182), p_value(0.0001)) == ("p\xa0=\xa00.018", "p\xa0<\xa00.001")
