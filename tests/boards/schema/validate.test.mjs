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
    let planted = 0;
    for (const place of places(board)) {
      const value = place.reduce((value, key) => value[key], board);
      for (const [what, changed] of plants(value)) {
        const copy = structuredClone(board);
        place.slice(0, -1).reduce((value, key) => value[key], copy)[place.at(-1)] = changed;
        assert.notDeepEqual(mistakes(place.length ? copy : changed), [], `${what} at ${place.join('.')}`);
        planted += 1;
      }
    }
    assert(planted > 500, `${planted} mistakes`);
  });
}

test('a kind of panel that does not exist is found', () => {
  const [, board] = boards[0];
  const copy = structuredClone(board);
  copy.panels[1].type = 'graph2';
  assert.match(mistakes(copy).join('\n'), /no kind of panel is called graph2/);
});

/** Objects with a mistake that somebody may make in this one: each key of another type, words that Grafana does not have, keys that it lacks. */
function* plants(value) {
  yield ['a key with a typing error', { ...value, lgend: {} }];
  for (const [key, inner] of Object.entries(value)) {
    if (OTHER[typeof inner] !== undefined) yield [`${key} of another type`, { ...value, [key]: OTHER[typeof inner] }];
    if (WORDS.has(key) && typeof inner === 'string') yield [`${key} with a typing error`, { ...value, [key]: `${inner}x` }];
    if (NEEDED.has(key)) yield [`no ${key}`, Object.fromEntries(Object.entries(value).filter(([other]) => other !== key))];
  }
}

const OTHER = { string: 7, boolean: 'yes', number: 'many' };
/** Keys for which Grafana has a list of words, wherever our boards have them. */
const WORDS = new Set(
  'alignValue cellHeight colorMode displayMode graphMode justifyMode orientation pieType placement showPoints sizing sort textMode'.split(' '),
);
/** Keys that Grafana needs wherever our boards have them. */
const NEEDED = new Set('asDropdown colorMode displayMode matcher overrides pieType placement reduceOptions schemaVersion showLegend steps templating tooltip'.split(' '));

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
