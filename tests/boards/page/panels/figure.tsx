// One figure, with its line behind it, by Grafana's BigValue.
import { type DisplayValue, type Field, getDisplayProcessor } from '@grafana/data';
import { BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, useTheme2 } from '@grafana/ui';
import type { Stat } from '../../schema/board';
import { last } from '../frames';
import type { Drawn } from '.';

export function Figure({ frames, width, height }: Drawn<Stat>) {
  const theme = useTheme2();
  const each = width / frames.length;
  return (
    <div style={{ display: 'flex' }}>
      {frames.map((frame, key) => {
        const [x, y] = frame.fields as [Field, Field];
        const display = y.display ?? getDisplayProcessor({ field: y, theme });
        const value: DisplayValue = display(last(frame));
        return (
          <BigValue
            key={key}
            width={each}
            height={height}
            theme={theme}
            value={frames.length > 1 ? { ...value, title: frame.name } : value}
            sparkline={frame.length > 1 ? { x, y } : undefined}
            colorMode={BigValueColorMode.Value}
            graphMode={BigValueGraphMode.Area}
            justifyMode={BigValueJustifyMode.Auto}
          />
        );
      })}
    </div>
  );
}
