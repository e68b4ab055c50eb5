// States over time.
import { formattedValueToString } from '@grafana/data';
import type { Timeline } from '../../schema/board';
import { RowsPlot, fill } from './plot';
import type { Drawn } from '.';

export function States({ panel, frames, range, width, height }: Drawn<Timeline>) {
  // The first row is the highest.
  const rows = [...frames].reverse();
  const times = frames[0]?.fields[0]?.values ?? [];
  const gap = ((1 - (panel.options.rowHeight ?? 0.9)) * height) / Math.max(rows.length, 1);
  return (
    <RowsPlot
      times={times}
      names={rows.map(({ name }) => name ?? '')}
      range={range}
      width={width}
      height={height}
      draw={(plot, theme) =>
        rows.forEach(({ fields: [time, value] }, row) => {
          const states = spans(time?.values ?? [], value?.values ?? []);
          for (const { from, to, state } of states) {
            const shown = value?.display?.(state);
            fill(plot, shown?.color ?? 'grey', from, to, row, gap);
            plot.ctx.fillStyle = theme.colors.getContrastText(shown?.color ?? '#888888');
            const text = shown ? formattedValueToString(shown) : '';
            const [x, y] = [plot.valToPos(from, 'x', true) + 8, plot.valToPos(row + 0.5, 'y', true)];
            plot.ctx.textAlign = 'left';
            plot.ctx.textBaseline = 'middle';
            if (x + plot.ctx.measureText(text).width + 8 < plot.valToPos(to, 'x', true)) plot.ctx.fillText(text, x, y);
          }
        })
      }
    />
  );
}

/** Times in which a state lasts. */
function spans(times: number[], values: (number | null)[]) {
  const all: { from: number; to: number; state: number }[] = [];
  times.forEach((time, at) => {
    const state = values[at];
    const open = all.at(-1);
    if (state === null || state === undefined) return;
    if (open && open.state === state) open.to = time;
    else {
      if (open) open.to = time;
      all.push({ from: time, to: time, state });
    }
  });
  return all;
}
