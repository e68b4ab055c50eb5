// Rows: a column for each label, and the value, by Grafana's table.
import { type DataFrame, type Field, FieldType, getDisplayProcessor } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import type { Table } from '../../schema/board';
import { cellsOf, configOf } from '../frames';
import type { Drawn } from '.';

export function Rows({ panel, told, width, height }: Drawn<Table>) {
  const theme = useTheme2();
  const series = told.flatMap(({ series }) => series);
  const names = [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))];
  const column = (name: string, type: FieldType, values: unknown[]): Field => {
    const config = configOf(panel);
    const custom = { ...config.custom, ...cellsOf(panel, name) };
    const field: Field = { name, type, config: { ...config, custom }, values };
    return { ...field, state: { displayName: name }, display: getDisplayProcessor({ field, theme, timeZone: 'utc' }) };
  };
  const columns = names.map((name) => column(name, FieldType.string, series.map(({ labels }) => labels[name] ?? '')));
  const value = column('Value', FieldType.number, series.map(({ values }) => values.at(-1)));
  const data: DataFrame = { length: series.length, fields: [...columns, value] };
  return (
    <div style={{ width, height }}>
      <TableNG data={data} width={width} height={height} enableVirtualization={false} />
    </div>
  );
}
