// How often which value, over time: the buckets of a histogram.
import { getValueFormat, formattedValueToString } from '@grafana/data';
import { interpolateTurbo } from 'd3-scale-chromatic';
import type { Heatmap } from '../../schema/board';
import { RowsPlot, fill } from './plot';
import type { Drawn } from '.';

export function Heat({ panel, told, range, width, height }: Drawn<Heatmap>) {
  const format = getValueFormat(panel.options.yAxis.unit ?? 'short');
  const all = told.flatMap(({ series }) => series);
  const buckets = all
    .map((series) => ({ ...series, bound: series.labels.le === '+Inf' ? Infinity : Number(series.labels.le) }))
    .sort((one, other) => one.bound - other.bound);
  const times = [...new Set(buckets.flatMap(({ times }) => times))].sort((one, other) => one - other);
  const step = times.length > 1 ? Math.min(...times.slice(1).map((time, at) => time - (times[at] ?? 0))) : 60_000;
  // Prometheus' buckets hold what is below, too.
  const counts = buckets.map(({ times, values }) => new Map(times.map((time, at) => [time, values[at] ?? 0])));
  const cells = counts.map((of, row) => times.map((time) => Math.max(0, (of.get(time) ?? 0) - (counts[row - 1]?.get(time) ?? 0))));
  const most = Math.max(...cells.flat(), 1e-9);
  const { filterValues, color } = panel.options;
  const names = buckets.map(({ bound }) => (bound === Infinity ? '+Inf' : formattedValueToString(format(bound))));
  return (
    <RowsPlot
      times={times}
      names={names}
      range={range}
      width={width}
      height={height}
      draw={(plot) =>
        cells.forEach((row, at) =>
          row.forEach((count, column) => {
            const time = times[column] ?? 0;
            if (count <= (filterValues?.le ?? 0)) return;
            fill(plot, interpolateTurbo((count / most) ** (color.exponent ?? 0.5)), time - step, time, at, 0.5);
          }),
        )
      }
    />
  );
}
