"""What the page itself does for a handle that is dragged: it goes no farther than the axis, and keeps its size.

bqplot lets a handle follow the pointer in the browser, wherever that goes, and what is beyond the plot is not drawn.
The kernel would be late to bring it back, so the page does. bqplot also lets a handle that is pressed grow to five
times its area, until it moves.
"""

import html

import ipywidgets

from lrwidget.ui.parts.palette import hidden

TOGETHER_CLASS = "lrw-together"
"""CSS class of a chart while a drag takes all its handles along."""

# While a handle is held, the events that move it are given a place at which it is on the axis before d3 reads them: d3
# listens at the window as well, from when the handle is pressed, and so after this; of touches it listens at the
# handle. What it listens for is noted at the element, which tells handles from other dots. Nothing is dispatched anew,
# so a click stays one. What was never held is left alone.
# A handle keeps its distance to the pointer. Whatever moves together moves by the same distance, and the outermost of
# it hold the others back. What begins beyond an end, as a handle may that others have taken along, counts as at that
# end: nothing jumps when it is pressed.
# A mouse has no identifier, and that is its key in `held`.
LEASH = """
(() => {
    if (window.lrwLeash) return;
    window.lrwLeash = true;

    const drags = dot => dot.parentNode.__on?.some(({type, name}) => type === 'mousedown' && name === 'drag');
    const within = (low, high, x) => Math.max(low, Math.min(high, x));
    const centre = mark => {
        const box = mark.getBoundingClientRect();
        return box.left + box.width / 2;
    };
    const ends = plot => {
        const {left, right, width} = plot.getBoundingClientRect(), room = width * %(room)s / (1 + 2 * %(room)s);
        return [left + room, right - room];
    };
    const places = event => event.changedTouches ? [...event.changedTouches] : [event];

    const held = new Map();
    const keep = event => {
        for (const place of places(event)) {
            const hand = held.get(place.identifier);
            if (!hand?.plot.isConnected) continue;
            const [low, high] = ends(hand.plot), x = within(low - hand.first, high - hand.last, place.clientX);
            if (x !== place.clientX) Object.defineProperty(place, 'clientX', {value: x, configurable: true});
        }
    };
    const drop = event => {
        keep(event);
        for (const place of places(event)) held.delete(place.identifier);
        if (!held.size) listen('removeEventListener');
    };
    const heard = {mousemove: keep, touchmove: keep, mouseup: drop, touchend: drop, touchcancel: drop};
    const how = {capture: true, passive: true};
    const listen = add => {
        for (const [type, hear] of Object.entries(heard)) window[add](type, hear, how);
    };
    const take = event => {
        const handle = event.target.closest?.('.lrw-chart path.dot.element'), chart = handle?.closest('.lrw-chart');
        const plot = chart?.querySelector('.plotarea_background');
        if (!plot || !drags(handle) || event.button || event.ctrlKey) return;
        handle.style.d ||= `path("${handle.getAttribute('d')}")`;
        const [low, high] = ends(plot);
        const together = chart.matches('.%(together)s');
        const moved = together ? [...chart.querySelectorAll('path.dot.element')].filter(drags) : [handle];
        const xs = moved.map(mark => within(low, high, centre(mark)));
        for (const {identifier, clientX} of places(event))
            held.set(identifier, {plot, first: Math.min(...xs) - clientX, last: Math.max(...xs) - clientX});
        listen('addEventListener');
    };
    window.addEventListener('mousedown', take, how);
    window.addEventListener('touchstart', take, how);
})()
"""


def leash(room: float) -> ipywidgets.HTML:
    """An unseen part that keeps handles on the axes of all charts of the page; more than one do no harm.

    Where a page forbids such scripts a handle that is held beyond the axis is not seen until it is let go.

    Args:
        room: between an end of the axis and that of the plot, as a share of the axis.
    """
    script = html.escape(LEASH % {"room": room, "together": TOGETHER_CLASS})
    return hidden(f'<style onload="{script}">/* for its event */</style>')
