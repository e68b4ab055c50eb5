// Grafana's variables: what users choose from, and what takes their places in queries.
import type { Board } from '../schema/board';
import type { Prometheus } from './prometheus';

/** A variable and all its values, of which all are chosen. */
export interface Choice {
  label: string;
  values: string[];
}

/** What replaces each variable, by its name. */
export type Places = Map<string, string>;

const seconds = (count: number) => `${Math.max(1, Math.round(count))}s`;

/** Grafana's own variables: `$__range`, and `$__rate_interval`, which holds four scrapes at least. */
function ofTime({ range }: Prometheus): Places {
  return new Map([
    ['__range', seconds((range.to - range.from) / 1000)],
    ['__interval', seconds(range.step)],
    ['__rate_interval', seconds(Math.max(range.step + range.scrape, 4 * range.scrape))],
  ]);
}

/** An expression with everything in its place; a variable that nobody knows is an error. */
export function replace(expr: string, places: Places): string {
  return expr.replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, braced, bare) => {
    const value = places.get(braced ?? bare);
    if (value === undefined) throw new Error(`no variable is called ${whole}`);
    return value;
  });
}

const escaped = (value: string) => value.replace(/[\\^$.*+?()[\]{}|]/g, '\\\\$&');

/** Asks for the values of a board's variables, each with those before it in place. */
export async function resolve(board: Board, prometheus: Prometheus): Promise<[Choice[], Places]> {
  const choices: Choice[] = [];
  const places = ofTime(prometheus);
  for (const variable of board.templating.list ?? []) {
    if (variable.type !== 'query') continue;
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(variable.definition ?? '') ?? [];
    if (!selector || !label) throw new Error(`variable ${variable.name}: ${variable.definition} is not understood here`);
    const values = await prometheus.labelValues(replace(selector, places), label);
    choices.push({ label: variable.label ?? variable.name, values });
    places.set(variable.name, values.length === 1 ? escaped(values[0] ?? '') : `(${values.map(escaped).join('|')})`);
  }
  return [choices, places];
}
