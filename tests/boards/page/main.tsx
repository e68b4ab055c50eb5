// A whole board, drawn once from live data. What its queries gave is left in `window.outcome`.
import '@fontsource-variable/inter';
import { type TimeRange, createTheme, dateTime, getValueFormats } from '@grafana/data';
import { GlobalStyles, PanelChrome, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import type { Board } from '../schema/board';
import type { Panel, Told } from './frames';
import { Picture } from './panels';
import { Prometheus, type Range } from './prometheus';
import { type Choice, type Places, replace, resolve } from './variables';

/** Grafana's grid: pixels of a row, and between panels. */
const [ROW, MARGIN, COLUMNS] = [30, 8, 24];

/** What is drawn. */
interface Order {
  board: Board;
  range: Range;
  width: number;
}

/** What came of a query: how many series that have a number at least once. */
interface Asked {
  panel: string;
  expr: string;
  series: number;
  error?: string;
}

declare global {
  interface Window {
    order: Order;
    outcome?: { asked: Asked[]; variables: Choice[]; mistakes: string[] };
  }
}

type Answers = Map<number, { told: Told[]; errors: string[] }>;

async function ask(board: Board, prometheus: Prometheus, places: Places): Promise<[Answers, Asked[]]> {
  const [answers, asked]: [Answers, Asked[]] = [new Map(), []];
  for (const panel of board.panels as Panel[]) {
    const [told, errors]: [Told[], string[]] = [[], []];
    for (const { expr, legendFormat, instant } of panel.targets ?? []) {
      try {
        const series = await prometheus.series(replace(expr, places), instant ?? false);
        told.push({ legend: legendFormat ?? '', series });
        const drawn = series.filter(({ values }) => values.some(Number.isFinite));
        asked.push({ panel: panel.title ?? '', expr, series: drawn.length });
      } catch (error) {
        errors.push(String(error));
        asked.push({ panel: panel.title ?? '', expr, series: 0, error: String(error) });
      }
    }
    answers.set(panel.id ?? 0, { told, errors });
  }
  return [answers, asked];
}

/** Units that Grafana cannot format. */
function mistakes(board: Board): string[] {
  const known = new Set(getValueFormats().flatMap(({ submenu }) => (submenu ?? []).map(({ value }) => value)));
  const panels = (board.panels as Panel[]).filter((panel) => panel.fieldConfig !== undefined);
  const wrong = panels.filter((panel) => !known.has(panel.fieldConfig.defaults.unit ?? ''));
  return wrong.map((panel) => `panel "${panel.title}": no unit is called ${panel.fieldConfig.defaults.unit}`);
}

interface Placed {
  panel: Panel;
  answers: Answers;
  range: TimeRange;
  step: number;
  width: number;
}

function Place({ panel, answers, range, step, width }: Placed) {
  const { x = 0, y = 0, w = 0, h = 0 } = panel.gridPos ?? {};
  const column = (width + MARGIN) / COLUMNS;
  const at = { left: x * column, top: y * (ROW + MARGIN), width: w * column - MARGIN, height: h * (ROW + MARGIN) - MARGIN };
  const { told, errors } = answers.get(panel.id ?? 0) ?? { told: [], errors: [] };
  const inside = (width: number, height: number) => <Picture {...{ panel, told, range, step, width, height }} />;
  return (
    <div style={{ position: 'absolute', ...at }}>
      {(panel.type as string) === 'row' ? (
        <h2>{panel.title}</h2>
      ) : (
        <PanelChrome width={at.width} height={at.height} title={panel.title} description={panel.description} statusMessage={errors[0]}>
          {inside}
        </PanelChrome>
      )}
    </div>
  );
}

function Page({ order, choices, answers }: { order: Order; choices: Choice[]; answers: Answers }) {
  const { board, width } = order;
  const [from, to] = [dateTime(order.range.from), dateTime(order.range.to)];
  const range: TimeRange = { from, to, raw: { from, to } };
  const panels = board.panels as Panel[];
  const bottom = Math.max(...panels.map(({ gridPos }) => (gridPos?.y ?? 0) + (gridPos?.h ?? 0)));
  const clock = (time: TimeRange['from']) => time.utc().format('YYYY-MM-DD HH:mm:ss');
  return (
    <main style={{ width }}>
      <header>
        <h1>{board.title}</h1>
        <span>
          {clock(from)} to {clock(to)} UTC
        </span>
        <p>{board.description}</p>
        <ul>
          {choices.map(({ label, values }) => (
            <li key={label}>
              <b>{label}</b> {values.join(' + ')}
            </li>
          ))}
        </ul>
      </header>
      <div style={{ position: 'relative', height: bottom * (ROW + MARGIN) }}>
        {panels.map((panel) => (
          <Place key={panel.id} {...{ panel, answers, range, step: order.range.step, width }} />
        ))}
      </div>
    </main>
  );
}

async function draw(order: Order): Promise<void> {
  await document.fonts.load('14px "Inter Variable"');
  const prometheus = new Prometheus(order.range);
  const [choices, places] = await resolve(order.board, prometheus);
  const [answers, asked] = await ask(order.board, prometheus, places);
  const theme = createTheme({ colors: { mode: 'dark' }, typography: { fontFamily: '"Inter Variable", sans-serif' } });
  const root = document.createElement('div');
  document.body.append(root);
  createRoot(root).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Page {...{ order, choices, answers }} />
    </ThemeContext.Provider>,
  );
  window.outcome = { asked, variables: choices, mistakes: mistakes(order.board) };
}

void draw(window.order).catch((error: unknown) => {
  window.outcome = { asked: [], variables: [], mistakes: [String(error)] };
});
