// The processes that serve clients: this one, and in a cluster those that it knows of.

import * as format from './format.js';
import { Table } from './table.js';

// Nodes tell of themselves every few seconds; one that is silent for longer may be gone.
const SILENT_MS = 5000;

export class Nodes {
  #table;
  #status;

  constructor(table) {
    this.#table = new Table(table, [
      { title: 'Node', of: ({ name }) => name, show: (node) => this.#name(node) },
      { title: 'Version', of: ({ version }) => version },
      { title: 'State', of: (node) => this.#state(node) },
      { title: 'Clients', of: ({ clients }) => clients, isNumber: true },
      { title: 'Running for', of: ({ startedAt }) => startedAt, show: ({ startedAt }) => format.ago(startedAt) },
    ], { sortedBy: 'Node' });
  }

  // `nodes` is [{name, version, startedAt, clients, isHere, lastSeenMs}], `status` that of the one
  // that this page is connected to.
  show(nodes, status) {
    this.#status = status;
    this.#table.show(this.#table.sort(nodes));
  }

  #name({ name, isHere }) {
    const parts = isHere ? [' ', element('span', { className: 'tag', textContent: 'shown here' })] : [];
    return element('span', {}, name, ...parts);
  }

  #state({ isHere, lastSeenMs }) {
    if (isHere) return this.#status;
    return lastSeenMs < SILENT_MS ? 'connected' : `silent for ${format.duration(lastSeenMs / 1000)}`;
  }
}
