// Which component draws which kind of panel.
import type { TimeRange } from '@grafana/data';
import type { JSX } from 'react';
import { type Panel, type Told, framesOf } from '../frames';
import { useTheme2 } from '@grafana/ui';
import { Figure } from './figure';
import { GaugeArc } from './gauge';
import { Heat } from './heatmap';
import { LinesPlot } from './lines';
import { Donut } from './pie';
import { Rows } from './table';
import { States } from './timeline';

/** What every panel gets: itself, what its queries gave, and its place. */
export interface Drawn<P extends Panel> {
  panel: P;
  told: Told[];
  frames: ReturnType<typeof framesOf>;
  range: TimeRange;
  /** Seconds between two points. */
  step: number;
  width: number;
  height: number;
}

export function Picture(props: Omit<Drawn<Panel>, 'frames'>): JSX.Element {
  const frames = framesOf(props.panel, props.told, props.step, useTheme2());
  const { panel, ...rest } = { ...props, frames };
  if (frames.length === 0) return <div className="nothing">No data</div>;
  switch (panel.type) {
    case 'timeseries':
      return <LinesPlot panel={panel} {...rest} />;
    case 'stat':
      return <Figure panel={panel} {...rest} />;
    case 'gauge':
      return <GaugeArc panel={panel} {...rest} />;
    case 'piechart':
      return <Donut panel={panel} {...rest} />;
    case 'heatmap':
      return <Heat panel={panel} {...rest} />;
    case 'state-timeline':
      return <States panel={panel} {...rest} />;
    case 'table':
      return <Rows panel={panel} {...rest} />;
  }
}
