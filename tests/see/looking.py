"""What every picture must hold: it is not empty, its words can be read, and none lies on another."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


def words(figure):
    """All texts of a figure that are drawn, with the boxes they take."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    found += [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    for axes in figure.axes:
        if axes.get_visible():
            texts = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                texts += [tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_visible() and t.get_text()]
    return found, np.asarray(canvas.buffer_rgba())[..., :3]


def assert_readable(drawn, *labels):
    """In light and in dark: something is drawn, the labels are there, no text lies on another or leaves the page."""
    assert drawn.alt
    for theme in ("light", "dark"):
        figure = drawn.draw(theme)
        found, pixels = words(figure)
        assert (pixels != pixels[0, 0]).any(-1).mean() > 0.02
        assert (pixels[0, 0].mean() > 128) == (theme == "light")
        said = "\n".join(text for text, _ in found)
        for label in labels:
            assert label in said, said
        height, width = pixels.shape[:2]
        boxes = {(text, tuple(np.round(box.extents, 1))): box for text, box in found}
        for text, box in ((text, box) for (text, _), box in boxes.items()):
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, (text, box)
        listed = list(boxes.items())
        for index, ((text, _), box) in enumerate(listed):
            for (other, _), second in listed[index + 1 :]:
                across = min(box.x1, second.x1) - max(box.x0, second.x0)
                down = min(box.y1, second.y1) - max(box.y0, second.y0)
                assert across <= 0.5 or down <= 0.5, (text, other)
