// Prometheus' HTTP API, asked as Grafana's data source asks it; the page's own origin hands on what it is asked.

/** A series: its labels, and its values at times in milliseconds. */
export interface Series {
  labels: Record<string, string>;
  times: number[];
  values: number[];
}

/** Which time is shown, and how finely. */
export interface Range {
  /** Milliseconds since 1970. */
  from: number;
  to: number;
  /** Seconds between two points. */
  step: number;
  /** Seconds between two scrapes. */
  scrape: number;
}

interface Answer<T> {
  status: string;
  error?: string;
  data: T;
}

interface Result {
  result: { metric: Record<string, string>; values?: [number, string][]; value?: [number, string] }[];
}

export class Prometheus {
  constructor(readonly range: Range) {}

  /** The series of an expression, over the time that is shown or at its end. */
  async series(expr: string, instant: boolean): Promise<Series[]> {
    const { from, to, step } = this.range;
    const data = instant
      ? await this.ask<Result>('query', { query: expr, time: to / 1000 })
      : await this.ask<Result>('query_range', { query: expr, start: from / 1000, end: to / 1000, step });
    return data.result.map(({ metric, values, value }) => {
      const points = values ?? (value ? [value] : []);
      return {
        labels: metric,
        times: points.map(([time]) => time * 1000),
        values: points.map(([, text]) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text))),
      };
    });
  }

  /** The values of a label in what a selector gives. */
  async labelValues(selector: string, label: string): Promise<string[]> {
    const { from, to } = this.range;
    return this.ask<string[]>(`label/${label}/values`, { 'match[]': selector, start: from / 1000, end: to / 1000 });
  }

  private async ask<T>(what: string, parameters: Record<string, string | number>): Promise<T> {
    const query = new URLSearchParams(Object.entries(parameters).map(([key, value]) => [key, String(value)]));
    const response = await fetch(`/api/v1/${what}?${query}`);
    const answer = (await response.json()) as Answer<T>;
    if (answer.status !== 'success') throw new Error(answer.error ?? `${what}: ${response.status}`);
    return answer.data;
  }
}
