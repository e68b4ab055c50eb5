// What heat maps and timelines share: a plot over time whose insides are drawn by hand, in Grafana's frame of uPlot.
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { useMemo } from 'react';
import type uPlot from 'uplot';

interface Rows {
  times: number[];
  /** What each row is called, from the bottom up. */
  names: string[];
  range: TimeRange;
  width: number;
  height: number;
  draw: (plot: uPlot, theme: GrafanaTheme2) => void;
}

/** A canvas with time below and names at the left. */
export function RowsPlot({ times, names, range, width, height, draw }: Rows) {
  const theme = useTheme2();
  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder('utc');
    builder.addScale({
      scaleKey: 'x',
      isTime: true,
      orientation: ScaleOrientation.Horizontal,
      direction: ScaleDirection.Right,
      range: () => [range.from.valueOf(), range.to.valueOf()],
    });
    builder.addScale({
      scaleKey: 'y',
      orientation: ScaleOrientation.Vertical,
      direction: ScaleDirection.Up,
      range: () => [0, names.length],
    });
    builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
    const every = Math.ceil(names.length / 10);
    builder.addAxis({
      scaleKey: 'y',
      placement: AxisPlacement.Left,
      theme,
      grid: { show: false },
      splits: () => names.map((_, at) => at + 0.5).filter((_, at) => at % every === 0),
      values: (_: uPlot, splits: number[]) => splits.map((at) => names[Math.floor(at)] ?? ''),
    });
    builder.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, dataFrameFieldIndex: { fieldIndex: 1, frameIndex: 0 } });
    builder.addHook('draw', (plot: uPlot) => draw(plot, theme));
    return builder;
  }, []);
  return <UPlotChart width={width} height={height} config={config} data={[times, times.map(() => null)]} />;
}

/** Fills what is between two times in a row, a gap apart from its neighbours. */
export function fill(plot: uPlot, color: string, from: number, to: number, row: number, gap: number): void {
  const left = plot.valToPos(from, 'x', true);
  const right = plot.valToPos(to, 'x', true);
  const top = plot.valToPos(row + 1, 'y', true);
  const bottom = plot.valToPos(row, 'y', true);
  plot.ctx.fillStyle = color;
  plot.ctx.fillRect(left, top + gap, Math.max(1, right - left), bottom - top - 2 * gap);
}
