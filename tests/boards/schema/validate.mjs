// Checks boards against Grafana's own schema, strictly: what Grafana does not know is a mistake.
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';

/** Which type of board.ts a panel has to be of, by Grafana's name of its kind. */
const KINDS = {
  row: 'Row',
  gauge: 'Gauge',
  heatmap: 'Heatmap',
  piechart: 'Pie',
  stat: 'Stat',
  'state-timeline': 'Timeline',
  table: 'Table',
  timeseries: 'Lines',
};

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const generator = createGenerator({ path: here('board.ts'), tsconfig: here('../tsconfig.json'), additionalProperties: false });
const validator = (type) => new Ajv({ allErrors: true, allowUnionTypes: true }).compile(generator.createSchema(type));
const board = validator('Board');
const panels = new Map(Object.entries(KINDS).map(([kind, type]) => [kind, validator(type)]));

const told = (validate, value) =>
  validate(value) ? [] : validate.errors.map(({ instancePath, message, params }) => `${instancePath || '/'} ${message} ${JSON.stringify(params)}`);

/** What is wrong with a board, in a line each. */
export function mistakes(value) {
  const inPanels = (value.panels ?? []).flatMap((panel) => {
    const validate = panels.get(panel.type);
    const found = validate ? told(validate, panel) : [`no kind of panel is called ${panel.type}`];
    return found.map((text) => `panel "${panel.title}": ${text}`);
  });
  return [...told(board, value), ...inPanels];
}
