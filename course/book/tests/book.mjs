// The book in a browser: `node book.mjs PROGRAM` serves it with PROGRAM and prints a line for each thing tested.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { chromium } from 'playwright-core';

const WIDE = 1280;
const NARROW = 360;
const THEMES = ['light', 'navy'];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let failed = 0;

/** Prints what was tested, and what is wrong with it. */
function report(what, wrong) {
    wrong = [...new Set(wrong)];
    console.log(`${wrong.length === 0 ? 'ok  ' : 'FAIL'}  ${what}`);
    for (const line of wrong.slice(0, 20)) {
        console.log(`        ${line}`);
    }
    if (wrong.length > 20) {
        console.log(`        and ${wrong.length - 20} more`);
    }
    failed += wrong.length > 0;
}

/** Runs a test that throws what is wrong. */
async function test(what, body) {
    try {
        await body();
        report(what, []);
    } catch (error) {
        report(what, [error.message.split('\n').slice(0, 4).join(' ')]);
    }
}

function check(condition, message) {
    if (!condition) {
        throw new Error(message);
    }
}

/** Starts the book's own server, and returns its process, its address and its folder. */
async function serve(program, folder) {
    const server = spawn(program, ['serve', '--port', '0', '--out', folder], {
        stdio: ['ignore', 'pipe', 'inherit'],
    });
    const address = await new Promise((resolve, reject) => {
        let said = '';
        server.stdout.on('data', data => {
            said += data;
            const found = said.match(/http:\/\/\S+/);
            if (found) {
                resolve(found[0]);
            }
        });
        server.on('exit', code => reject(new Error(`the server ended with ${code}`)));
    });
    return { server, address };
}

function htmlFiles(folder, root = folder) {
    return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) {
            return htmlFiles(path, root);
        }
        return entry.name.endsWith('.html') ? [relative(root, path)] : [];
    });
}

const temporary = mkdtempSync(join(tmpdir(), 'book-'));
const site = join(temporary, 'site');
const { server, address } = await serve(process.argv[2], site);
const browser = await chromium.launchPersistentContext(join(temporary, 'profile'), {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    hasTouch: true,
    args: [
        '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
});
// The print page opens a dialog, which nobody would close.
await browser.addInitScript(() => {
    window.print = () => {};
});

// Without its frame: it is shown where there is no JavaScript, inside a page.
const pages = htmlFiles(site).filter(file => file !== 'toc.html');
const console_ = [];
const strangers = new Set();
const seen = new Map();

async function open(path, width, theme) {
    const page = await browser.newPage();
    const where = `${path}, ${width} px, ${theme}`;
    page.on('console', message => {
        // What is not found is not found: the browser says so, too.
        if (['error', 'warning'].includes(message.type()) && path !== 'nothing') {
            console_.push(`${where}: ${message.text()}`);
        }
    });
    page.on('pageerror', error => console_.push(`${where}: ${error.message}`));
    page.on('request', request => {
        if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(address)) {
            strangers.add(`${where}: ${request.url()}`);
        }
    });
    await page.setViewportSize({ width, height: width === WIDE ? 900 : 740 });
    await page.goto(address, { waitUntil: 'commit' });
    await page.evaluate(theme => {
        localStorage.clear();
        localStorage.setItem('mdbook-theme', theme);
    }, theme);
    await page.goto(address + path, { waitUntil: 'load' });
    return page;
}

async function setTheme(page, theme) {
    await page.evaluate(theme => document.getElementById(`mdbook-theme-${theme}`).click(), theme);
    // The theme's style sheet may be on its way.
    await page.waitForFunction(() => [...document.querySelectorAll('link[rel=stylesheet]')].every(link =>
        link.disabled || link.sheet));
    await page.evaluate(() => new Promise(requestAnimationFrame));
}

/** What reaches beyond the page and is in no box that scrolls. */
const tooWide = () => {
    const width = document.documentElement.clientWidth;
    const wrong = [];
    for (const box of [document.documentElement, document.body]) {
        if (box.scrollWidth > width) {
            wrong.push(`${box.tagName} is ${box.scrollWidth} wide`);
        }
    }
    for (const element of document.querySelectorAll('main *, .menu-bar *')) {
        const box = element.getBoundingClientRect();
        if (box.width === 0 || box.right <= width + 1) {
            continue;
        }
        let parent = element.parentElement;
        while (parent && parent.tagName !== 'MAIN' && getComputedStyle(parent).overflowX === 'visible') {
            parent = parent.parentElement;
        }
        if (!parent || ['MAIN', 'BODY'].includes(parent.tagName)) {
            wrong.push(`${element.tagName}.${element.className} ends at ${Math.round(box.right)}`);
        }
    }
    return wrong;
};

/** What axe finds serious or critical: of each kind on a page one. */
async function violations(page, onlyContrast) {
    await page.evaluate(() => {
        // The colours of a theme are faded in.
        document.documentElement.style.setProperty('transition', 'none');
        document.querySelectorAll('details').forEach(details => {
            details.open = true;
        });
    });
    if (!(await page.evaluate(() => 'axe' in window))) {
        await page.evaluate(axe);
    }
    return page.evaluate(async onlyContrast => {
        const options = onlyContrast ? { runOnly: ['color-contrast'] } : {};
        const result = await window.axe.run(document, { ...options, resultTypes: ['violations'] });
        return result.violations
            .filter(({ impact }) => impact === 'serious' || impact === 'critical')
            .flatMap(({ id, nodes }) => {
                const kinds = new Map(nodes.map(node => {
                    const why = node.any[0]?.message ?? node.all[0]?.message ?? node.none[0]?.message ?? '';
                    return [why, `${id}: ${node.html.slice(0, 100)} ${why.slice(0, 160)}`];
                }));
                return [...kinds.values()];
            });
    }, onlyContrast);
}

const wide = [];
const accessible = new Map(THEMES.map(theme => [theme, []]));

async function visit(path) {
    for (const width of [WIDE, NARROW]) {
        const page = await open(path, width, THEMES[0]);
        if (width === WIDE) {
            seen.set(path, await page.evaluate(() => ({
                ids: [...document.querySelectorAll('[id]')].map(element => element.id),
                links: [...document.querySelectorAll('a[href], img[src], link[href], script[src]')]
                    .map(element => element.href || element.src),
                words: [...document.querySelectorAll('main button.word')].map(word => ({
                    means: word.dataset.means,
                    misplaced: Boolean(word.closest('h1, h2, h3, h4, h5, h6, a, code, pre')),
                })),
            })));
        }
        for (const theme of THEMES) {
            await setTheme(page, theme);
            const where = `${path}, ${width} px, ${theme}`;
            wide.push(...(await page.evaluate(tooWide)).map(line => `${where}: ${line}`));
            // The print page is all pages again: there one width is enough.
            if (path === 'print.html' && width === NARROW) {
                continue;
            }
            // What is not colour is the same in both themes.
            const found = await violations(page, theme !== THEMES[0]);
            accessible.get(theme).push(...found.map(line => `${where}: ${line}`));
        }
        await page.close();
    }
}

try {
    const queue = [...pages];
    await Promise.all([1, 2].map(async () => {
        for (let path = queue.shift(); path; path = queue.shift()) {
            await visit(path);
        }
    }));
    const all = `${pages.length} pages`;

    const broken = [];
    const files = new Map();
    for (const [path, { links }] of seen) {
        for (const link of new Set(links)) {
            const url = new URL(link);
            if (!link.startsWith(address)) {
                continue;
            }
            if (!files.has(url.pathname)) {
                files.set(url.pathname, (await fetch(url)).status);
            }
            const target = url.pathname.slice(1).replace(/(^|\/)$/, '$1index.html');
            const anchor = decodeURIComponent(url.hash.slice(1));
            if (files.get(url.pathname) !== 200) {
                broken.push(`${path}: ${link}`);
            } else if (anchor && !seen.get(target)?.ids.includes(anchor)) {
                broken.push(`${path}: ${link}: no such anchor`);
            }
        }
    }
    report(`${all}: no broken link, picture or anchor (${files.size} files)`, broken);
    const twice = [...seen].flatMap(([path, { ids }]) => {
        const double = ids.filter((id, index) => ids.indexOf(id) !== index);
        return double.map(id => `${path}: ${id}`);
    });
    report(`${all}: no id twice`, twice);
    report(`${all}, ${NARROW} and ${WIDE} px, both themes: nothing wider than the page`, wide);
    for (const [theme, found] of accessible) {
        report(`${all}, ${NARROW} and ${WIDE} px, ${theme}: axe finds nothing serious, contrast 4.5 to 1`, found);
    }

    const words = [...seen].filter(([path]) => path !== 'print.html').flatMap(([path, { words }]) => {
        const all = words.map(({ means }) => means);
        const wrong = all.filter((word, index) => all.indexOf(word) !== index);
        wrong.push(...words.filter(({ misplaced }) => misplaced).map(({ means }) => means));
        return wrong.map(means => `${path}: ${means}`);
    });
    report('words of the glossary: once on a page, not in headings, code or links', words);

    await test('words: the keyboard shows the meaning, Escape and the next Tab hide it', async () => {
        const page = await open('step1-sequential/', WIDE, 'light');
        const word = page.locator('button.word').first();
        const tip = page.locator(`[id="${await word.getAttribute('aria-describedby')}"]`);
        check(!(await tip.isVisible()), 'the meaning is shown unasked');
        // With Tab from the link before it, as a reader comes.
        await word.evaluate(word => {
            const stops = [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')];
            stops[stops.indexOf(word) - 1].focus();
        });
        await page.keyboard.press('Tab');
        check(await word.evaluate(word => word === document.activeElement), 'Tab does not reach the word');
        check(await tip.isVisible(), 'the focus does not show the meaning');
        check((await tip.textContent()) === (await word.getAttribute('data-means')), 'another meaning');
        await page.keyboard.press('Escape');
        check(!(await tip.isVisible()), 'Escape does not hide the meaning');
        await page.keyboard.press('Enter');
        check(await tip.isVisible(), 'Enter does not show the meaning');
        await page.keyboard.press('Tab');
        check(!(await tip.isVisible()), 'the meaning stays when the focus goes');
        await page.close();
    });
    for (const width of [WIDE, NARROW]) {
        await test(`words, ${width} px: the pointer and the finger show the meaning, inside the page`, async () => {
            const page = await open('step1-sequential/', width, 'light');
            for (const word of await page.locator('button.word').all()) {
                const tip = page.locator(`[id="${await word.getAttribute('aria-describedby')}"]`);
                await (width === WIDE ? word.hover() : word.tap());
                check(await tip.isVisible(), 'not shown');
                const box = await tip.boundingBox();
                check(box.x >= 0 && box.x + box.width <= width, `from ${box.x}, ${box.width} wide`);
                check(box.y >= 0 && box.y + box.height <= page.viewportSize().height, 'not in the window');
            }
            await page.locator('h1').first()[width === WIDE ? 'click' : 'tap']();
            check((await page.locator('.tip:visible').count()) === 0, 'a tap elsewhere does not hide it');
            await page.close();
        });
    }

    await test('answers: a click opens them, Enter and Space open and close them', async () => {
        for (const path of pages.filter(path => /^(step\d|labs)/.test(path))) {
            const page = await open(path, WIDE, 'light');
            for (const details of await page.locator('main details').all()) {
                const summary = details.locator('summary').first();
                const isOpen = () => details.evaluate(details => details.open);
                check(!(await isOpen()), `${path}: open from the start`);
                await summary.click();
                check(await isOpen(), `${path}: a click does not open`);
                await summary.press('Enter');
                check(!(await isOpen()), `${path}: Enter does not close`);
                await summary.press('Space');
                check(await isOpen(), `${path}: Space does not open`);
            }
            await page.close();
        }
    });

    await test('search: s, a word, the arrow, Enter: the chapter that has it', async () => {
        const page = await open('', WIDE, 'light');
        await page.keyboard.press('s');
        await page.waitForFunction(() => document.activeElement?.id === 'mdbook-searchbar');
        await page.keyboard.type('EPOLLRDHUP');
        const result = page.locator('#mdbook-searchresults a').first();
        await result.waitFor();
        check((await result.getAttribute('href')).includes('step6'), await result.getAttribute('href'));
        await page.keyboard.press('ArrowDown');
        await page.locator('#mdbook-searchresults .focus').waitFor();
        await page.keyboard.press('Enter');
        await page.waitForURL(/step6-epoll-kqueue/);
        await page.close();
    });

    await test('menu: Tab and Enter open the table of contents, choose a chapter', async () => {
        const page = await open('', NARROW, 'light');
        const menu = page.locator('#mdbook-sidebar-toggle');
        for (let tabs = 0; tabs < 20; tabs += 1) {
            await page.keyboard.press('Tab');
            if (await menu.evaluate(menu => menu === document.activeElement)) {
                break;
            }
        }
        check(await menu.evaluate(menu => menu === document.activeElement), 'Tab does not reach the menu');
        await page.keyboard.press('Enter');
        const link = page.locator('#mdbook-sidebar a', { hasText: '6 epoll and kqueue' });
        await link.waitFor({ state: 'visible' });
        check((await menu.getAttribute('aria-expanded')) === 'true', 'aria-expanded');
        await link.focus();
        await page.keyboard.press('Enter');
        await page.waitForURL(/step6-epoll-kqueue/);
        await page.close();
    });

    await test('theme: the keyboard chooses it, and the pictures follow', async () => {
        const page = await open('step5-select/', WIDE, 'light');
        const shown = () => page.evaluate(() => [...document.querySelectorAll('.picture')].map(picture =>
            [...picture.children].filter(image => image.checkVisibility()).map(image => image.className)));
        check((await shown()).every(list => list.join() === 'on-light'), 'light');
        await page.locator('#mdbook-theme-toggle').focus();
        await page.keyboard.press('Enter');
        await page.locator('#mdbook-theme-list').waitFor({ state: 'visible' });
        await page.keyboard.press('End');
        await page.keyboard.press('Enter');
        check(await page.evaluate(() => document.documentElement.classList.contains('navy')), 'not dark');
        check((await shown()).every(list => list.join() === 'on-dark'), 'dark');
        await page.close();
    });

    await test('pictures: in both themes every one is there, with a text', async () => {
        for (const theme of THEMES) {
            const page = await open('course/pictures/', WIDE, theme);
            const wrong = await page.evaluate(async () => {
                const images = [...document.querySelectorAll('.picture img')];
                const visible = images.filter(image => image.checkVisibility());
                const loaded = await Promise.all(visible.map(async image => {
                    image.loading = 'eager';
                    await image.decode().catch(() => {});
                    return image.naturalWidth > 0 && image.alt.length > 20;
                }));
                return loaded.filter(good => !good).length + (visible.length < 5 ? 1 : 0);
            });
            check(wrong === 0, `${theme}: ${wrong} are not`);
            await page.close();
        }
    });

    const pairs = pages.filter(path => path.startsWith('side-by-side/'));
    await test(`side by side: ${pairs.length} pages; two columns, on a phone one; what differs has a sign`, async () => {
        check(pairs.length === 7, 'not seven');
        for (const path of pairs) {
            for (const width of [WIDE, NARROW]) {
                const page = await open(path, width, 'light');
                const wrong = await page.evaluate(isWide => {
                    const wrong = [];
                    for (const row of document.querySelectorAll('.beside:not(.names) .row')) {
                        const [old, fresh] = [...row.children].map(cell => cell.getBoundingClientRect());
                        const isSame = row.classList.contains('same');
                        if (isWide ? fresh.left < old.right - 1 || fresh.top !== old.top
                            : isSame ? old.height > 0 : fresh.top < old.bottom - 1) {
                            wrong.push(row.textContent.slice(0, 40));
                        }
                    }
                    const signs = (selector, sign) => [...document.querySelectorAll(selector)]
                        .filter(line => line.querySelector('.sign').textContent !== sign).length;
                    if (signs('del.line', '−') + signs('ins.line', '+') > 0) {
                        wrong.push('a line without its sign');
                    }
                    if (document.querySelectorAll('del.line, ins.line').length === 0) {
                        wrong.push('nothing differs');
                    }
                    return wrong;
                }, width === WIDE);
                check(wrong.length === 0, `${path}, ${width} px: ${wrong[0]}`);
                await page.close();
            }
            const linked = [...seen].filter(([from, { links }]) =>
                /^(step|labs)/.test(from) && links.includes(address + path));
            check(linked.length > 0, `no chapter links to ${path}`);
        }
    });

    await test('a wide box scrolls with the arrow key, and the page is not turned', async () => {
        const page = await open('step5-select/', NARROW, 'light');
        const box = page.locator('main pre > code[tabindex="0"]').first();
        await box.focus();
        await page.keyboard.press('ArrowRight');
        await page.waitForFunction(() => document.activeElement.scrollLeft > 0);
        check(page.url().includes('step5-select'), page.url());
        await page.close();
    });

    await test('print page: every chapter, light pictures, answers open', async () => {
        const page = await open('print.html', WIDE, 'navy');
        await page.emulateMedia({ media: 'print' });
        await page.evaluate(() => window.dispatchEvent(new Event('beforeprint')));
        const found = await page.evaluate(() => ({
            titles: document.querySelectorAll('main h1').length,
            dark: [...document.querySelectorAll('.on-dark')].filter(image => image.checkVisibility()).length,
            closed: document.querySelectorAll('details:not([open])').length,
        }));
        const chapters = pages.filter(path => !['print.html', '404.html'].includes(path)).length;
        check(found.titles >= chapters, `${found.titles} titles, ${chapters} chapters`);
        check(found.dark === 0, `${found.dark} dark pictures`);
        check(found.closed === 0, `${found.closed} closed answers`);
        await page.close();
    });

    await test('what is not there: a page that says so', async () => {
        check((await fetch(`${address}nothing`)).status === 404, 'the status');
        const page = await open('nothing', WIDE, 'light');
        check((await page.textContent('main')).includes('404'), 'the page');
        await page.close();
    });

    report('nothing in the console', console_);
    report('no request to another machine', [...strangers]);
} finally {
    await browser.close();
    server.kill();
    rmSync(temporary, { recursive: true, force: true });
}
process.exitCode = failed > 0 ? 1 : 0;
