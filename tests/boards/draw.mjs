// Draws Grafana's boards from live data with Grafana's own components, in headless Chromium: `node draw.mjs --help`.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as esbuild from 'esbuild';
import { chromium } from 'playwright-core';

const HELP = `Draws Grafana's boards from live data, and tells what each query gave

usage: node draw.mjs --prometheus URL --to FOLDER [--minutes N] [--end SECONDS] [--scrape SECONDS] [--board NAME]

  --prometheus  the server to ask
  --to          the folder for the pictures, a PNG for each board
  --minutes     how much time is shown [default: 60]
  --end         the end of it, in seconds since 1970 [default: now]
  --scrape      how often Prometheus scrapes, in seconds [default: 15]
  --board       only boards whose file's name ends so, such as correlation

Prints JSON: for each board its variables, and the number of series that each query gave.
`;
const WIDTH = 1600;
/** Chromium without a window, as root, and without a connection to anybody but us. */
const QUIET = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const boards = here('../../deploy/grafana/dashboards');
const icons = here('node_modules/@grafana/ui/dist/public/img/icons');

/** The page's script and style. */
async function bundle() {
  const { outputFiles } = await esbuild.build({
    entryPoints: [here('page/main.tsx'), here('page/style.css')],
    bundle: true,
    write: false,
    outdir: '/',
    format: 'iife',
    logLevel: 'error',
    loader: { '.woff2': 'dataurl', '.woff': 'dataurl', '.svg': 'dataurl', '.ttf': 'empty' },
    define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'window' },
  });
  const joined = (extension) => outputFiles.filter(({ path }) => path.endsWith(extension)).map(({ text }) => text).join('\n');
  return { script: joined('.js'), style: joined('.css') };
}

/** What a URL answers, for a page. */
async function fetched(route, url) {
  try {
    const response = await fetch(url);
    await route.fulfill({ status: response.status, contentType: 'application/json', body: await response.text() });
  } catch (error) {
    await route.fulfill({ status: 502, contentType: 'application/json', body: JSON.stringify({ status: 'error', error: `${url}: ${error}` }) });
  }
}

/** Draws one board in a page of its own. */
async function draw(browser, { script, style }, prometheus, order, picture) {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 1000 }, deviceScaleFactor: 1 });
  const problems = new Set();
  page.on('pageerror', (error) => problems.add(error.stack ?? String(error)));
  await page.route('http://boards.invalid/**', (route) => {
    const { pathname, search } = new URL(route.request().url());
    // A page may not ask a server of another origin: this program does it for it.
    if (pathname.startsWith('/api/')) return fetched(route, `${prometheus}${pathname}${search}`);
    if (pathname === '/') return route.fulfill({ contentType: 'text/html', body: '<!doctype html><body class="theme-dark"></body>' });
    const icon = pathname.split('/icons/')[1];
    return icon ? route.fulfill({ path: join(icons, icon), contentType: 'image/svg+xml' }) : route.fulfill({ status: 404, body: '' });
  });
  await page.goto('http://boards.invalid/');
  await page.addStyleTag({ content: style });
  await page.evaluate((value) => (window.order = value), order);
  await page.addScriptTag({ content: script });
  await page.waitForFunction(() => window.outcome, undefined, { timeout: 60_000 });
  // As high as the board is: what is out of sight is not painted.
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width: WIDTH, height });
  await page.waitForLoadState('networkidle');
  await page.waitForTimeout(500);
  await page.screenshot({ path: picture });
  const outcome = await page.evaluate(() => window.outcome);
  await page.close();
  return { ...outcome, mistakes: [...outcome.mistakes, ...problems] };
}

function options() {
  const text = { type: 'string' };
  const { values } = parseArgs({
    options: { prometheus: text, to: text, minutes: text, end: text, scrape: text, board: text, help: { type: 'boolean' } },
  });
  if (values.help) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  if (!values.prometheus || !values.to) throw new Error('--prometheus and --to are needed; see --help');
  const number = (name, otherwise) => {
    const value = Number(values[name] ?? otherwise);
    if (!(value > 0)) throw new Error(`--${name} ${values[name]}: not a number above 0`);
    return value;
  };
  const [end, minutes, scrape] = [number('end', Date.now() / 1000), number('minutes', 60), number('scrape', 15)];
  // As many points as half the board is wide, and none between two scrapes.
  const step = Math.max(scrape, Math.ceil((minutes * 60) / (WIDTH / 4)));
  return { ...values, range: { from: (end - minutes * 60) * 1000, to: end * 1000, step, scrape } };
}

async function main() {
  const { prometheus, to, range, board: only } = options();
  mkdirSync(to, { recursive: true });
  const profile = mkdtempSync(join(tmpdir(), 'stemedb-boards-'));
  let browser;
  try {
    browser = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: QUIET,
      viewport: { width: WIDTH, height: 1000 },
    });
    const bundled = await bundle();
    const outcomes = {};
    for (const file of readdirSync(boards).filter((name) => !only || name.endsWith(`${only}.json`))) {
      const board = JSON.parse(readFileSync(join(boards, file), 'utf8'));
      const name = basename(file, '.json');
      outcomes[name] = await draw(browser, bundled, prometheus, { board, range, width: WIDTH - 32 }, join(to, `${name}.png`));
    }
    process.stdout.write(`${JSON.stringify(outcomes, null, 1)}\n`);
  } finally {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

main().catch((error) => {
  process.stderr.write(`draw.mjs: ${error.stack}\n`);
  process.exitCode = 1;
});
