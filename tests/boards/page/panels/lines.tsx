// Lines over time, and stacked ones, by Grafana's TimeSeries.
import { TimeSeries } from '@grafana/ui';
import type { LegendDisplayMode, LegendPlacement } from '@grafana/schema';
import type { Lines } from '../../schema/board';
import type { Drawn } from '.';

export function LinesPlot({ panel, frames, range, width, height }: Drawn<Lines>) {
  const { legend } = panel.options;
  const shown = {
    ...legend,
    displayMode: legend.displayMode as unknown as LegendDisplayMode,
    placement: legend.placement as LegendPlacement,
  };
  return <TimeSeries frames={frames} width={width} height={height} timeRange={range} timeZone="utc" legend={shown} />;
}
