"""What the command prints and writes."""

PNG = b"\x89PNG"


def one_line(err):
    assert err.startswith("gradlab: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err
