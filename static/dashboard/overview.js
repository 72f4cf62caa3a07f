// What happens now: figures, and charts of the last minutes.

import { Chart } from './chart.js';
import * as format from './format.js';
import { quantile, rate, total } from './numbers.js';

const MOST_POINTS = 600;
const LEAST_SECONDS = 30;

const latency = (share) => (now, before) => quantile(now, before, 'gtower_publish_duration_seconds', share);
const lag = (now, before) => quantile(now, before, 'gtower_loop_lag_seconds', 0.99);
const perSecond = (metric) => (now, before) => rate(now, before, metric);
const gauge = (metric) => (now) => total(now, metric);

// A figure: {title, of: what it shows, format, more?: a line below it, isBad?}.
const TILES = [
  {
    title: 'Clients',
    of: gauge('gtower_clients'),
    format: format.count,
    more: (now) => ['websocket', 'polling']
      .map((name) => `${format.count(total(now, 'gtower_connections', 'transport', name) ?? 0)} ${name}`)
      .join(' · '),
  },
  {
    title: 'Users',
    of: gauge('gtower_users'),
    format: format.count,
    more: (now) => `in ${format.count(total(now, 'gtower_rooms'))} rooms`,
  },
  { title: 'Events in', of: perSecond('gtower_events_received_total'), format: format.perSecond, more: () => 'a second, from clients' },
  {
    title: 'Events out',
    of: perSecond('gtower_events_published_total'),
    format: format.perSecond,
    more: (now, before) => `${format.perSecond(rate(now, before, 'gtower_deliveries_total'))} copies a second`,
  },
  {
    title: 'Publish latency',
    of: latency(0.5),
    format: format.milliseconds,
    more: (now, before) => `p99 ${format.milliseconds(latency(0.99)(now, before))}`,
  },
  { title: 'Loop lag', of: lag, format: format.milliseconds, more: () => 'p99' },
  {
    title: 'Memory',
    of: gauge('gtower_process_resident_memory_bytes'),
    format: format.bytes,
    more: (now) => `${format.count(total(now, 'gtower_process_open_fds'))} open files`,
  },
  {
    title: 'Waiting',
    of: gauge('gtower_client_buffer_bytes'),
    format: format.bytes,
    more: (now) => `for ${format.count(total(now, 'gtower_slow_clients'))} slow clients`,
  },
  {
    title: 'HTTP requests',
    of: perSecond('gtower_http_requests_total'),
    format: format.perSecond,
    more: () => 'a second',
  },
  {
    title: 'Store',
    of: (now, before) => quantile(now, before, 'gtower_store_commit_duration_seconds', 0.5),
    format: format.milliseconds,
    more: (now) => (total(now, 'gtower_store_failing') ? 'failing' : `${format.count(total(now, 'gtower_store_queue_length'))} changes wait`),
    isBad: (now) => total(now, 'gtower_store_failing') > 0,
  },
];

const CHARTS = [
  {
    title: 'Clients',
    format: format.count,
    lines: [{ label: 'connected', colour: '--in', of: gauge('gtower_clients') }],
  },
  {
    title: 'Events a second',
    format: format.perSecond,
    lines: [
      { label: 'in', colour: '--in', of: perSecond('gtower_events_received_total') },
      { label: 'out', colour: '--out', of: perSecond('gtower_events_published_total') },
      { label: 'copies', colour: '--ack', of: perSecond('gtower_deliveries_total') },
    ],
  },
  {
    title: 'Publish latency',
    format: format.milliseconds,
    lines: [
      { label: 'p50', colour: '--out', of: latency(0.5) },
      { label: 'p95', colour: '--wait', of: latency(0.95) },
      { label: 'p99', colour: '--bad', of: latency(0.99) },
    ],
  },
  {
    title: 'Loop lag (p99)',
    format: format.milliseconds,
    lines: [{ label: 'late by', colour: '--wait', of: lag }],
  },
  {
    title: 'Memory',
    format: format.bytes,
    lines: [{ label: 'resident', colour: '--ack', of: gauge('gtower_process_resident_memory_bytes') }],
  },
  {
    title: 'Waiting for clients',
    format: format.bytes,
    lines: [{ label: 'bytes', colour: '--bad', of: gauge('gtower_client_buffer_bytes') }],
  },
];

export class Overview {
  #tiles;
  #charts;

  constructor(tiles, charts) {
    this.#tiles = TILES.map((row) => new Tile(tiles, row));
    this.#charts = CHARTS.map((row) => new History(charts, row));
  }

  // `before` is the look a second ago, or a longer time ago for what is rare; null at first.
  show(now, before) {
    for (const part of [...this.#tiles, ...this.#charts]) part.show(now, before ?? now);
  }
}

class Tile {
  constructor(parent, row) {
    this.row = row;
    this.figure = element('p', { className: 'figure', textContent: '–' });
    this.more = element('p', { className: 'hint' });
    this.tile = element('article', { className: 'tile', ariaLabel: row.title }, element('h3', { textContent: row.title }), this.figure, this.more);
    parent.append(this.tile);
  }

  show(now, before) {
    this.figure.textContent = this.row.format(this.row.of(now, before));
    this.more.textContent = this.row.more?.(now, before) ?? '';
    this.tile.classList.toggle('bad', Boolean(this.row.isBad?.(now)));
  }
}

class History {
  constructor(parent, row) {
    this.row = row;
    this.points = [[], ...row.lines.map(() => [])];
    this.chart = new Chart(parent, row.title, row.lines, row.format);
  }

  show(now, before) {
    const values = [now.at, ...this.row.lines.map((line) => line.of(now, before))];
    this.points.forEach((points, index) => {
      points.push(values[index]);
      if (points.length > MOST_POINTS) points.shift();
    });
    this.chart.show(this.points, [Math.min(this.points[0][0], now.at - LEAST_SECONDS), now.at]);
  }
}
