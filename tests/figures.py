"""Checks for every figure."""

import itertools

from matplotlib.text import Text
from matplotlib.transforms import Bbox


def require_readable(figure):
    """Require that texts lie inside the figure, do not overlap, and are crossed by no line."""
    figure.draw_without_rendering()
    hidden = {text for axes in figure.axes for text in not_drawn(axes)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in hidden]
    # Without the arrow of an annotation. A rotated text fills only a part of its box.
    shown = [
        (text.get_text(), Text.get_window_extent(text).padded(-1), text.get_rotation() % 90)
        for text in texts
        if text.get_text().strip()
    ]
    page = figure.bbox.padded(1)
    for text, box, _ in shown:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    if any(axes.name == "3d" for axes in figure.axes):
        return
    for (text, box, turned), (other, place, also) in itertools.combinations(shown, 2):
        assert (turned and also) or not box.overlaps(place), (text, other)
    for axes in figure.axes:
        boxed = {text.get_text() for text in axes.texts if text.get_bbox_patch()}  # on a box
        for text, box, _ in shown:
            assert text in boxed or not crossed(axes, box), text


def not_drawn(axes):
    """Yield labels that are not drawn: those of ticks beyond the limits, or all without axes."""
    for axis in axes._axis_map.values():
        drawn = axis._update_ticks() if axes.axison else []
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if tick not in drawn:
                yield from (tick.label1, tick.label2)
    if not axes.axison:
        yield from (text for text in axes.texts if not text.get_text())


def crossed(axes, box):
    """Return the lines of data and limits that cross a box."""
    seen = Bbox.intersection(box, axes.bbox)  # lines end where their axes end
    if seen is None:
        return []
    lines = [line for line in axes.lines if len(line.get_xydata())]
    paths = [line.get_path().transformed(line.get_transform()) for line in lines]
    return [path for path in paths if path.intersects_bbox(seen, filled=False)]


def require_ticks(figure):
    """Require at least two major ticks on each logarithmic axis."""
    for axes in figure.axes:
        for axis in axes._axis_map.values():
            if axis.get_scale() == "log":
                low, high = sorted(axis.get_view_interval())
                assert sum(low <= tick <= high for tick in axis.get_majorticklocs()) >= 2
