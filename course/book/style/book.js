'use strict';

// The glossary's words: their meaning is shown while they are pointed at or have the focus.
(function words() {
    let open = null;

    function place(button, tip) {
        const word = button.getClientRects()[0];
        const width = document.documentElement.clientWidth;
        tip.style.maxWidth = `${Math.min(360, width - 24)}px`;
        const left = Math.min(word.left, width - tip.offsetWidth - 12);
        tip.style.left = `${Math.max(12, left)}px`;
        const below = word.bottom + 6;
        const fits = below + tip.offsetHeight < window.innerHeight;
        tip.style.top = `${fits ? below : word.top - 6 - tip.offsetHeight}px`;
    }

    function hide() {
        if (open) {
            open.tip.hidden = true;
            open = null;
        }
    }

    function show(button, tip) {
        if (open && open.tip === tip) {
            return;
        }
        hide();
        tip.hidden = false;
        open = { button, tip };
        place(button, tip);
    }

    document.querySelectorAll('button.word').forEach((button, number) => {
        const tip = document.createElement('span');
        tip.className = 'tip';
        tip.id = `word-${number}`;
        tip.setAttribute('role', 'tooltip');
        tip.textContent = button.dataset.means;
        tip.hidden = true;
        button.setAttribute('aria-describedby', tip.id);
        button.after(tip);

        // The pointer may move from the word to its meaning without losing it.
        let leaving;
        const stay = () => clearTimeout(leaving);
        const leave = () => {
            leaving = setTimeout(() => {
                if (open && open.tip === tip && document.activeElement !== button) {
                    hide();
                }
            }, 150);
        };
        button.addEventListener('pointerenter', () => {
            stay();
            show(button, tip);
        });
        button.addEventListener('pointerleave', leave);
        tip.addEventListener('pointerenter', stay);
        tip.addEventListener('pointerleave', leave);
        button.addEventListener('focus', () => show(button, tip));
        button.addEventListener('blur', hide);
        // Safari gives a tapped button no focus.
        button.addEventListener('click', () => show(button, tip));
    });

    document.addEventListener('click', event => {
        if (open && event.target !== open.button && !open.tip.contains(event.target)) {
            hide();
        }
    });
    document.addEventListener('keydown', event => {
        if (event.key === 'Escape') {
            hide();
        }
    });
    for (const moved of ['scroll', 'resize']) {
        window.addEventListener(moved, () => open && place(open.button, open.tip), { passive: true });
    }
})();

// The button that opens the table of contents is a label: the keyboard must work it too.
(function menu() {
    const button = document.getElementById('mdbook-sidebar-toggle');
    button.addEventListener('keydown', event => {
        if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            button.click();
        }
    });
})();

// What is wider than the page scrolls in a box of its own, and the keyboard reaches the box.
(function boxes() {
    const selector = 'main pre > code, main .table-wrapper, main .picture';
    const names = { CODE: 'Code', DIV: 'Table', SPAN: 'Picture' };

    function mark(box) {
        // Inside a folded part everything has no size.
        const scrolls = box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 0;
        if (scrolls) {
            box.tabIndex = 0;
            box.setAttribute('role', 'group');
            box.setAttribute('aria-label', `${names[box.tagName]}, scrolls sideways`);
        } else {
            box.removeAttribute('tabindex');
            box.removeAttribute('role');
            box.removeAttribute('aria-label');
        }
    }

    const sizes = new ResizeObserver(entries => entries.forEach(entry => mark(entry.target)));
    document.querySelectorAll(selector).forEach(box => {
        mark(box);
        sizes.observe(box);
        // Elsewhere the arrows turn the page.
        box.addEventListener('keydown', event => {
            if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
                event.stopPropagation();
            }
        });
    });
})();

// On paper nothing can be opened.
window.addEventListener('beforeprint', () => {
    document.querySelectorAll('details').forEach(details => {
        details.open = true;
    });
});
