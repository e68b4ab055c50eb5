// What a board of ours may be: Grafana's own types, with the options that belong to each kind of panel in their places. (In Grafana's type of a
// panel these are `any`, so that a mistake in them would pass.)
import type * as common from '@grafana/grafana-foundation-sdk/common';
import type * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import type * as gauge from '@grafana/grafana-foundation-sdk/gauge';
import type * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import type * as piechart from '@grafana/grafana-foundation-sdk/piechart';
import type * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import type * as stat from '@grafana/grafana-foundation-sdk/stat';
import type * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import type * as table from '@grafana/grafana-foundation-sdk/table';
import type * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

type Query = Omit<prometheus.Dataquery, '_implementsDataqueryVariant'>;

/** A kind of override: colours of series. */
export interface Colour {
  matcher: { id: 'byRegexp'; options: string };
  properties: { id: 'color'; value: dashboard.FieldColor }[];
}

/** The other kind: a column of a table whose text has the colour of its value. */
export interface Cell {
  matcher: { id: 'byName'; options: string };
  properties: { id: 'custom.cellOptions'; value: Pick<common.TableColorTextCellOptions, 'type'> }[];
}

/** The one transformation that our boards have. */
interface Organize {
  id: 'organize';
  options: { excludeByName: Record<string, boolean> };
}

interface Panel<Kind extends string, Options, Custom>
  extends Omit<dashboard.Panel, 'type' | 'targets' | 'options' | 'fieldConfig' | 'transformations'> {
  type: Kind;
  targets: Query[];
  options: Options;
  transformations: Organize[];
  fieldConfig: {
    defaults: Omit<dashboard.FieldConfig, 'custom'> & { custom: Custom };
    overrides: (Cell | Colour)[];
  };
}

type Nothing = Record<string, never>;

/** A board, but for its panels. */
export interface Board extends Omit<dashboard.Dashboard, 'panels'> {
  panels: unknown[];
}

// Its panels, each as the schema's generator can find it: kinds in validate.mjs.
export type Row = dashboard.RowPanel;
export type Gauge = Panel<'gauge', gauge.Options, Nothing>;
export type Heatmap = Panel<'heatmap', heatmap.Options, heatmap.FieldConfig>;
export type Pie = Panel<'piechart', piechart.Options, piechart.FieldConfig>;
export type Stat = Panel<'stat', stat.Options, Nothing>;
export type Timeline = Panel<'state-timeline', statetimeline.Options, statetimeline.FieldConfig>;
export type Table = Panel<'table', table.Options, table.FieldConfig>;
export type Lines = Panel<'timeseries', timeseries.Options, timeseries.FieldConfig>;
