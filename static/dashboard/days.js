// What the store has counted, minute by minute.

import { Chart } from './chart.js';
import * as format from './format.js';

const DAY = 24 * 3600 * 1000;

const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);

const CHARTS = [
  { title: 'Most clients at once', lines: [{ label: 'clients', colour: '--in', of: (point) => point.connections }] },
  {
    title: 'Events a minute',
    lines: [
      { label: 'events', colour: '--out', of: (point) => sum(point.events) },
      { label: 'copies', colour: '--ack', of: (point) => point.recipients },
    ],
  },
  { title: 'Refusals a minute', lines: [{ label: 'refused', colour: '--bad', of: (point) => sum(point.refusals) }] },
];

export class Days {
  #server;
  #charts;

  constructor(server) {
    this.#server = server;
    this.#charts = CHARTS.map((row) => ({ ...row, chart: new Chart(byId('days-charts'), row.title, row.lines, format.count) }));
    byId('days-range').addEventListener('change', () => this.refresh());
  }

  async refresh() {
    const days = Number(byId('days-range').value);
    try {
      const { points, missing } = await this.#read(days);
      byId('days-problem').textContent = missing;
      const times = points.map(({ at }) => Date.parse(at) / 1000);
      const now = Date.now() / 1000;
      for (const { chart, lines } of this.#charts) {
        chart.show([times, ...lines.map((line) => points.map(line.of))], [now - days * DAY / 1000, now]);
      }
    } catch (problem) {
      byId('days-problem').textContent = problem.message;
    }
  }

  // One read covers a day at most.
  async #read(days) {
    const now = Date.now();
    const starts = Array.from({ length: days }, (_, day) => now - (days - day) * DAY);
    const reads = starts.map((start) => {
      const [from, to] = [start, start + DAY].map((moment) => encodeURIComponent(new Date(moment).toISOString()));
      return this.#server.askCluster(`/websocket/analytics?from=${from}&to=${to}`);
    });
    const answers = await Promise.all(reads);
    return {
      points: answers.flatMap(({ said }) => said.points),
      missing: answers.map(({ missing }) => missing).find((sentence) => sentence) ?? '',
    };
  }
}
