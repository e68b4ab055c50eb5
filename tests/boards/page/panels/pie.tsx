// Shares of a whole, as a ring beside Grafana's own legend.
import { VizLegend, useTheme2 } from '@grafana/ui';
import { LegendDisplayMode } from '@grafana/schema';
import type { Pie } from '../../schema/board';
import { last } from '../frames';
import type { Drawn } from '.';

export function Donut({ frames, width, height }: Drawn<Pie>) {
  const theme = useTheme2();
  const parts = frames.map((frame) => {
    const value = last(frame) ?? 0;
    return { name: frame.name ?? '', value, shown: frame.fields[1]?.display?.(value) };
  });
  const whole = parts.reduce((sum, { value }) => sum + value, 0) || 1;
  const radius = Math.min(height, width / 2) / 2.6;
  const around = 2 * Math.PI * radius;
  let before = 0;
  const rings = parts.map(({ value, shown }, key) => {
    const [share, from] = [value / whole, before];
    before += share;
    const angle = 2 * Math.PI * (from + share / 2 - 0.25);
    return (
      <g key={key}>
        <circle
          r={radius}
          stroke={shown?.color}
          strokeWidth={radius / 2.2}
          strokeDasharray={`${share * around} ${around}`}
          transform={`rotate(${from * 360 - 90})`}
        />
        {share > 0.04 && (
          <text x={radius * Math.cos(angle)} y={radius * Math.sin(angle) + 4} textAnchor="middle" fontSize={12} fill={theme.colors.getContrastText(shown?.color ?? '#000')}>
            {Math.round(share * 100)}%
          </text>
        )}
      </g>
    );
  });
  const items = parts.map(({ name, shown }) => ({
    label: name,
    color: shown?.color,
    yAxis: 1,
    getDisplayValues: () => (shown ? [{ ...shown, title: 'Value' }] : []),
  }));
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 16 }}>
      <svg width={width / 2} height={height} fill="none">
        <g transform={`translate(${width / 4},${height / 2})`}>{rings}</g>
      </svg>
      <div style={{ width: width / 2 - 32, maxHeight: height, overflow: 'hidden' }}>
        <VizLegend displayMode={LegendDisplayMode.Table} placement="right" items={items} />
      </div>
    </div>
  );
}
