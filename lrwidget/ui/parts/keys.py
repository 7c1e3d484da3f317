"""What the page itself does for fields and buttons: hints and names, steps of an LR by arrow keys, and the focus.

Text fields of ipywidgets tell of no key. The page steps and enters the new LR as a user would who types it: the kernel
gets LRs, not steps, and one that is overtaken by the next does no harm.
"""

import html

import ipywidgets

from lrwidget.ui.parts.palette import hidden

LR_CLASS = "lrw-lr"
"""CSS class of the fields that can be stepped."""

START_CLASS = "lrw-start"
"""CSS class of the buttons that start a job."""

JOB_CLASS = "lrw-job"
"""CSS class of the buttons for a job that runs."""

STEP = 1.05

# Labels lend their hints to their fields. Fields without a label are named by their hints, which browsers do not do
# by themselves where the label is there and empty; an icon is no part of a button's name.
# To JupyterLab a letter is a command wherever no text is edited: D, D deletes cells. Letters typed in a widget are kept
# from it, which listens at the document, by a listener before that. And a page takes the focus away from a button that
# is disabled, as Sweep is when it was pressed: it goes on to another button of the row, or waits in the row for one.
# From one that starts a job it goes to those for the job, wherever they are, and from these back when the job is over.
# A chart that grows changes ten times a second: only what is new is named, and no part of a drawing.
# One listener for all fields below a widget's root, before the fields see the key: they let none pass.
# A field's text is rounded, its placeholder is exact, and what the kernel says may be behind. `run` is what the keys
# have entered and the kernel has not yet said: while the text is still the last of it, or the placeholder one before,
# the next step is from the last.
LISTEN = """
(root => {
    if (!root || root.lrwKeys) return;
    root.lrwKeys = true;

    const lend = event => {
        const input = event.target.closest('input, select');
        const hint = input?.labels?.[0]?.querySelector('[title]')?.title;
        if (hint) input.title = hint;
    };
    root.addEventListener('mouseover', lend);
    root.addEventListener('focusin', lend);

    const name = part => {
        for (const input of part.querySelectorAll('input[title]'))
            if (![...input.labels].some(label => label.textContent.trim()))
                input.setAttribute('aria-label', input.title);
        for (const icon of part.querySelectorAll('button > i.fa')) icon.setAttribute('aria-hidden', 'true');
    };
    name(root);
    new MutationObserver(records => {
        for (const {type, target, addedNodes} of records)
            if (type === 'attributes') name(target.parentElement);
            else if ([...addedNodes].some(node => node instanceof HTMLElement)) name(target);
    }).observe(root, {subtree: true, childList: true, attributeFilter: ['title']});

    if (!window.lrwLetters) {
        window.lrwLetters = true;
        window.addEventListener('keydown', event => {
            const command = event.ctrlKey || event.altKey || event.metaKey || event.key.length > 1;
            if (!command && event.target.closest?.('.lrwidget')) event.stopPropagation();
        }, true);
    }

    let last = null, origin = null, waits = null;
    const go = part => part.focus({preventScroll: true});
    const forJob = () => [...root.querySelectorAll('.%(job)s')];
    const hold = control => {
        const row = control.closest('.widget-container') ?? root;
        if (control.matches('.%(start)s')) origin = control;
        const others = control === origin && forJob().length ? [...forJob(), origin]
            : control.matches('.%(job)s') && origin?.isConnected ? [origin]
            : [...row.querySelectorAll('button')];
        const free = others.filter(button => !button.disabled);
        const after = button => control.compareDocumentPosition(button) & Node.DOCUMENT_POSITION_FOLLOWING;
        const next = free.find(after) ?? free[0];
        if (!next) {
            row.tabIndex = -1;
            row.style.outline = 'none';
        }
        go(next ?? row);
        waits = next ? null : {row, others};
    };
    root.addEventListener('focusin', event => { last = event.target; });
    root.addEventListener('focusout', () => { waits = null; });
    new MutationObserver(records => {
        for (const {target} of records) {
            const at = document.activeElement;
            if (!target.disabled && waits?.row === at && waits.others.includes(target)) go(target);
            if (target.disabled && target === last && (at === target || at === document.body)) hold(target);
        }
        if (origin && !origin.disabled && forJob().every(button => button.disabled)) origin = null;
    }).observe(root, {subtree: true, attributeFilter: ['disabled']});

    const field = event => event.target.closest('.%(lr)s input');
    let run = null, typed = false;
    const remember = (input, lr, text) => {
        run = {input, lr, text, sent: [...run?.sent ?? [], Number(text)]};
        typed = false;
    };
    const forget = event => {
        if (!field(event)) return;
        run = null;
        typed = event.type === 'input';
    };
    const now = input => {
        if (typed) return Number(input.value);
        const exact = Number(input.placeholder);
        return run && (input.value === run.text || run.sent.includes(exact)) ? run.lr : exact;
    };
    new MutationObserver(() => {
        if (run && Number(run.input.placeholder) === Number(run.text)) run = null;
    }).observe(root, {subtree: true, attributeFilter: ['placeholder']});
    root.addEventListener('input', forget, true);
    root.addEventListener('focusout', forget, true);
    root.addEventListener('change', event => {
        const input = event.isTrusted && field(event);
        if (!input) return;
        [run, typed] = [null, false];
        if (Number(input.value) > 0) remember(input, Number(input.value), input.value);
    }, true);
    root.addEventListener('keydown', event => {
        const input = field(event), up = event.key === 'ArrowUp';
        if (!input || !up && event.key !== 'ArrowDown') return;
        if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
        const lr = up ? now(input) * %(step)s : now(input) / %(step)s;
        if (!(lr > 0)) return;
        event.preventDefault();
        remember(input, lr, lr.toPrecision(6));
        input.value = run.text;
        input.dispatchEvent(new Event('change', {bubbles: true}));
    }, true);
})(this.closest('.lrwidget'))
"""

NAMES = {"lr": LR_CLASS, "start": START_CLASS, "job": JOB_CLASS, "step": STEP}
"""What the script is filled in with."""


def page_help() -> ipywidgets.HTML:
    """An unseen part that makes this work in the widget it is put into; more than one do no harm.

    A style sheet tells when it has come to the page, which a script inside an HTML widget cannot. Where a page forbids
    such scripts fields can be typed into as ever.
    """
    script = html.escape(LISTEN % NAMES)
    return hidden(f'<style onload="{script}">.{LR_CLASS} input {{ font-variant-numeric: tabular-nums }}</style>')
