// The clients: searched, sorted, turned over, and sent away.

import * as format from './format.js';
import { path } from './server.js';
import { Pager, sureButton, Table } from './table.js';

const OF_A_PAGE = 25;
const OF_A_REQUEST = 300;
const MOST = 3000;

export class Clients {
  #server;
  #clients = [];
  #waiting = new Map();
  #isWhole = true;
  #missing = '';
  #first = 0;
  #table;
  #pager;

  constructor(server) {
    this.#server = server;
    this.#table = new Table(byId('clients-table'), this.#columns(), {
      sortedBy: 'Since',
      empty: 'Nobody is connected.',
      onSort: () => this.#turnTo(0),
    });
    this.#pager = new Pager(byId('clients-pager'), (by) => this.#turnTo(this.#first + by * OF_A_PAGE));
    byId('clients-search').addEventListener('input', () => this.#turnTo(0));
  }

  // Takes what the server says of clients for which bytes wait: [{clientId, bytes}].
  noteSlow(slow) {
    this.#waiting = new Map(slow.map(({ clientId, bytes }) => [clientId, bytes]));
  }

  // Reads the list anew, unless somebody is about to press something in it.
  async refresh() {
    if (this.#table.isInUse) return;
    try {
      this.#clients = await this.#read();
      byId('clients-problem').textContent = '';
    } catch (problem) {
      byId('clients-problem').textContent = problem.message;
    }
    if (!this.#table.isInUse) this.#show();
  }

  async #read() {
    const clients = [];
    let page;
    let missing;
    do {
      const after = clients.length ? `&after=${encodeURIComponent(clients.at(-1).id)}` : '';
      ({ said: page, missing } = await this.#server.askCluster(`/websocket/clients?limit=${OF_A_REQUEST}${after}`));
      clients.push(...page);
    } while (page.length === OF_A_REQUEST && clients.length < MOST);
    this.#isWhole = page.length < OF_A_REQUEST;
    this.#missing = missing;
    return clients;
  }

  #columns() {
    return [
      { title: 'Client', of: (client) => client.id, isWide: true },
      { title: 'User', of: (client) => client.userId ?? '', isWide: true },
      { title: 'Address', of: (client) => client.metadata.ip },
      { title: 'Transport', of: (client) => client.transport },
      { title: 'Rooms', of: (client) => client.rooms.length, show: (client) => rooms(client), isNumber: true },
      {
        title: 'Waiting',
        of: (client) => this.#waiting.get(client.id) ?? 0,
        show: (client) => format.bytes(this.#waiting.get(client.id) ?? 0),
        isNumber: true,
      },
      {
        title: 'Since',
        of: (client) => client.connectedAt,
        show: (client) => element('span', { title: client.connectedAt, textContent: format.ago(client.connectedAt) }),
      },
      { title: '', show: (client) => sureButton('Disconnect', () => this.#disconnect(client)) },
    ];
  }

  async #disconnect(client) {
    document.activeElement.blur();
    try {
      await this.#server.ask(path`/websocket/clients/${client.id}/disconnect`, { method: 'POST', body: {} });
      this.#clients = this.#clients.filter(({ id }) => id !== client.id);
      this.#show();
    } catch (problem) {
      byId('clients-problem').textContent = problem.message;
    }
  }

  #turnTo(first) {
    this.#first = Math.max(0, first);
    this.#show();
  }

  #show() {
    const wanted = byId('clients-search').value.trim().toLowerCase();
    const found = this.#clients.filter((client) => !wanted || text(client).includes(wanted));
    if (this.#first >= found.length) this.#first = 0;
    this.#table.show(this.#table.sort(found).slice(this.#first, this.#first + OF_A_PAGE));
    byId('clients-note').textContent = this.#note(found.length);
    this.#pager.show({
      hasPrevious: this.#first > 0,
      hasNext: this.#first + OF_A_PAGE < found.length,
      place: `${this.#first + 1} to ${Math.min(this.#first + OF_A_PAGE, found.length)} of ${found.length}`,
    });
  }

  #note(found) {
    const all = this.#clients.length;
    const searched = found < all ? `${found} of ${all}` : `${all}`;
    const counted = this.#isWhole ? `${searched} connected` : `${searched}, the oldest; there are more`;
    return this.#missing ? `${counted} · ${this.#missing}` : counted;
  }
}

function rooms(client) {
  return element('span', { title: client.rooms.join('\n'), textContent: client.rooms.length });
}

function text(client) {
  return [client.id, client.userId, client.metadata.ip, client.metadata.userAgent, ...client.rooms].join('\n').toLowerCase();
}
