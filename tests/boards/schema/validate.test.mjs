// Each board is right by Grafana's own schema, and mistakes are found wherever they are.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { mistakes } from './validate.mjs';

const folder = new URL('../../../deploy/grafana/dashboards/', import.meta.url);
const boards = readdirSync(folder).map((name) => [name, JSON.parse(readFileSync(new URL(name, folder), 'utf8'))]);

test('there are four boards', () => assert.equal(boards.length, 4));

for (const [name, board] of boards) {
  test(`${name} is what Grafana expects`, () => assert.deepEqual(mistakes(board), []));

  test(`${name}: what Grafana does not know, lacks or takes for something else is found`, () => {
    for (const place of places(board)) {
      for (const [what, plant] of Object.entries(plants)) {
        const copy = structuredClone(board);
        if (plant(place.reduce((value, key) => value[key], copy))) {
          assert.notDeepEqual(mistakes(copy), [], `${what} at ${place.join('.')}`);
        }
      }
    }
  });
}

test('a kind of panel that does not exist is found', () => {
  const [, board] = boards[0];
  const copy = structuredClone(board);
  copy.panels[1].type = 'graph2';
  assert.match(mistakes(copy).join('\n'), /no kind of panel is called graph2/);
});

/** Mistakes that somebody may make in an object; each tells whether it could be made there. */
const plants = {
  'a key with a typing error': (value) => (value.lgend = {}),
  'a number where a text belongs': (value) => change(value, 'string', 7),
  'a text where a flag belongs': (value) => change(value, 'boolean', 'yes'),
  'a text where a number belongs': (value) => change(value, 'number', 'many'),
};

function change(value, type, to) {
  const key = Object.keys(value).find((key) => typeof value[key] === type);
  if (key === undefined) return false;
  value[key] = to;
  return true;
}

/** Where the objects of a board are, but for those in which Grafana takes any key. */
function places(value, at = []) {
  if (value === null || typeof value !== 'object') return [];
  const here = Array.isArray(value) || isOpen(at) ? [] : [at];
  return [...here, ...Object.entries(value).flatMap(([key, inner]) => places(inner, [...at, key]))];
}

/** Whether Grafana takes any key there: what a variable asks (each data source has its own), values that have words, columns. */
function isOpen(at) {
  return at.includes('query') || at.at(-1) === 'excludeByName' || (at.at(-1) === 'options' && at.at(-3) === 'mappings');
}
