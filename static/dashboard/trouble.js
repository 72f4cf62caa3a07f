// What was refused, who was sent away, who could not be told what it had missed, and who is slow.

import * as format from './format.js';
import { samplesOf } from './numbers.js';
import { Table } from './table.js';

const CLOSE_CODES = {
  1000: 'closed, or taken over by its newer connection',
  1001: 'left',
  1006: 'lost',
  1009: 'message too long',
  1012: 'server restart',
  1013: 'server fault',
  4003: 'sent away for good',
  4006: 'did not connect in time',
  4101: 'too many requests',
  4102: 'too slow',
  4200: 'to come again',
  4202: 'token expired',
};

// A table: {title, metrics: [metric, label, what it was], empty}.
const TABLES = [
  {
    title: 'Refused',
    empty: 'Nothing was refused.',
    metrics: [
      ['gtower_events_refused_total', 'code', 'event'],
      ['gtower_http_refused_total', 'code', 'request'],
      ['gtower_handshakes_refused_total', 'reason', 'handshake'],
      ['gtower_connects_refused_total', 'code', 'connect'],
      ['gtower_rate_limited_total', 'rate', 'slowed down'],
    ],
  },
  {
    title: 'Disconnected',
    empty: 'Nobody was disconnected.',
    metrics: [['gtower_disconnects_total', 'code', null]],
  },
  {
    title: 'Came back',
    empty: 'Nobody has come back yet.',
    metrics: [['gtower_recoveries_total', 'outcome', 'recovery']],
  },
];

export class Trouble {
  #tables;
  #slow;

  constructor(parent) {
    this.#tables = TABLES.map((row) => ({ ...row, table: reasonTable(parent, row) }));
    this.#slow = new Table(section(parent, 'Slow now'), [
      { title: 'Client', of: ({ clientId }) => clientId, isWide: true },
      { title: 'Waiting', of: ({ bytes }) => bytes, show: ({ bytes }) => format.bytes(bytes), isNumber: true },
    ], { sortedBy: 'Waiting', descending: true, empty: 'Nobody is slow.' });
  }

  // `minuteAgo` is the look of a minute ago, or the oldest there is.
  show(now, minuteAgo, slow) {
    for (const { table, metrics } of this.#tables) table.show(table.sort(reasons(metrics, now, minuteAgo)));
    this.#slow.show(this.#slow.sort(slow));
  }
}

function reasonTable(parent, { title, empty }) {
  return new Table(section(parent, title), [
    { title: 'Reason', of: ({ reason }) => reason },
    { title: 'Last minute', of: ({ lately }) => lately, show: ({ lately }) => format.count(lately), isNumber: true },
    { title: 'In all', of: ({ all }) => all, show: ({ all }) => format.count(all), isNumber: true },
  ], { sortedBy: 'In all', descending: true, empty });
}

function section(parent, title) {
  const table = element('table', { ariaLabel: title });
  parent.append(element('div', {}, element('h3', { textContent: title }), element('div', { className: 'scroller' }, table)));
  return table;
}

function reasons(metrics, now, before) {
  return metrics.flatMap(([metric, label, what]) => {
    const earlier = new Map(samplesOf(before, metric).map(({ labels, value }) => [labels[label], value]));
    return samplesOf(now, metric).filter(({ value }) => value).map(({ labels, value }) => ({
      reason: what === null ? closeCode(labels[label]) : `${labels[label]} (${what})`,
      lately: value - (earlier.get(labels[label]) ?? 0),
      all: value,
    }));
  });
}

const closeCode = (code) => (CLOSE_CODES[code] ? `${code} ${CLOSE_CODES[code]}` : code);
