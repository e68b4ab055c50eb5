// Series as Grafana's data frames, with the configuration of the panel.
import {
  type DataFrame,
  type Field,
  type FieldConfig,
  FieldType,
  type GrafanaTheme2,
  type ThresholdsConfig,
  getDisplayProcessor,
  stringToJsRegex,
} from '@grafana/data';
import type { Cell, Colour, Gauge, Heatmap, Lines, Pie, Stat, Table, Timeline } from '../schema/board';
import type { Series } from './prometheus';

export type Panel = Gauge | Heatmap | Lines | Pie | Stat | Table | Timeline;

/** What a query gave. */
export interface Told {
  legend: string;
  series: Series[];
}

/** A field's configuration, as a panel has it for all its fields. */
export function configOf(panel: Panel): FieldConfig {
  const { defaults } = panel.fieldConfig;
  const steps = (defaults.thresholds?.steps ?? []).map(({ color, value }) => ({ color, value: value ?? -Infinity }));
  const config = { ...defaults, thresholds: { mode: 'absolute', steps } as ThresholdsConfig };
  // Grafana's schema and its components each have their own, equal, types.
  return config as unknown as FieldConfig;
}

const isColour = (override: Cell | Colour): override is Colour => override.matcher.id === 'byRegexp';

/** How a table draws the cells of a column that the panel says something of. */
export function cellsOf(panel: Table, name: string): object {
  const override = panel.fieldConfig.overrides.find((override) => !isColour(override) && override.matcher.options === name);
  return override ? { cellOptions: override.properties[0]?.value } : {};
}

/** A field's colour where the panel gives one to series of this name. */
function colourOf(panel: Panel, name: string): Pick<FieldConfig, 'color'> {
  const overrides = panel.fieldConfig.overrides.filter(isColour);
  const own = overrides.filter(({ matcher }) => stringToJsRegex(matcher.options).test(name));
  // Of several, the last.
  const color = own.at(-1)?.properties[0]?.value;
  return color ? { color: color as unknown as FieldConfig['color'] } : {};
}

/** A legend with labels in the places of their names. */
function named(legend: string, labels: Record<string, string>): string {
  const text = legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  return text.trim() || Object.entries(labels).map(([name, value]) => `${name}="${value}"`).join(', ');
}

/** Each series as a frame of times and values. */
export function framesOf(panel: Panel, told: Told[], step: number, theme: GrafanaTheme2): DataFrame[] {
  const all = told.flatMap(({ legend, series }) => series.map((one) => ({ name: named(legend, one.labels), ...one })));
  // All series of a panel share an axis.
  const numbers = all.flatMap(({ values }) => values).filter(Number.isFinite);
  const [min, max] = [Math.min(...numbers, Infinity), Math.max(...numbers, -Infinity)];
  const range = numbers.length > 0 ? { min, max, delta: max - min } : { min: 0, max: 1, delta: 1 };
  return all.map(({ name, labels, times, values }, seriesIndex) => {
    const value: Field = {
      name: 'Value',
      type: FieldType.number,
      config: { ...configOf(panel), ...colourOf(panel, name), displayName: name },
      labels,
      values: values.map((each) => (Number.isFinite(each) ? each : null)),
      state: { seriesIndex, displayName: name, range },
    };
    value.display = getDisplayProcessor({ field: value, theme, timeZone: 'utc' });
    // With the interval, so that a gap is one in the picture too.
    const time: Field = { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: times };
    return { name, refId: 'A', length: times.length, fields: [time, value] };
  });
}

/** The last number of a frame's values. */
export function last(frame: DataFrame): number | undefined {
  const values = frame.fields[1]?.values ?? [];
  for (let at = values.length - 1; at >= 0; at--) if (values[at] !== null) return values[at];
  return undefined;
}
