// A value between a least and a most, as an arc. (Grafana publishes no such component.)
import { type GrafanaTheme2, formattedValueToString } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import type { Gauge } from '../../schema/board';
import { configOf, last } from '../frames';
import type { Drawn } from '.';

/** The arc begins and ends so far from the bottom, in turns. */
const GAP = 0.15;

function arc(x: number, y: number, radius: number, from: number, to: number): string {
  const point = (share: number) => {
    const angle = 2 * Math.PI * (0.25 + GAP + share * (1 - 2 * GAP));
    return `${x + radius * Math.cos(angle)},${y + radius * Math.sin(angle)}`;
  };
  const large = (to - from) * (1 - 2 * GAP) > 0.5 ? 1 : 0;
  return `M${point(from)} A${radius},${radius} 0 ${large} 1 ${point(to)}`;
}

function steps(panel: Gauge, theme: GrafanaTheme2, share: (value: number) => number) {
  const all = configOf(panel).thresholds?.steps ?? [];
  return all.map(({ value, color }, at) => ({
    from: share(value),
    to: share(all[at + 1]?.value ?? Infinity),
    color: theme.visualization.getColorByName(color),
  }));
}

export function GaugeArc({ panel, frames, width, height }: Drawn<Gauge>) {
  const theme = useTheme2();
  const { min = 0, max = 1 } = panel.fieldConfig.defaults;
  const share = (value: number) => Math.min(1, Math.max(0, (value - min) / (max - min)));
  const [frame] = frames;
  const value = (frame && last(frame)) ?? min;
  const shown = frame?.fields[1]?.display?.(value);
  const radius = Math.min(width / 2, height / 1.75) - 12;
  const [x, y] = [width / 2, radius + 12];
  return (
    <svg width={width} height={height} fill="none">
      {steps(panel, theme, share).map(({ from, to, color }, key) => (
        <path key={key} d={arc(x, y, radius + 7, from, to)} stroke={color} strokeWidth={3} />
      ))}
      <path d={arc(x, y, radius - 6, 0, 1)} stroke={theme.colors.background.secondary} strokeWidth={18} />
      <path d={arc(x, y, radius - 6, 0, Math.max(share(value), 0.004))} stroke={shown?.color} strokeWidth={18} />
      <text x={x} y={y + 8} textAnchor="middle" fill={shown?.color} fontSize={radius / 2.6} fontWeight={500}>
        {shown && formattedValueToString(shown)}
      </text>
    </svg>
  );
}
