// The rooms by name, and one of them looked into: members, history, a test event.

import { entry } from './entry.js';
import { path } from './server.js';
import { Pager, Table } from './table.js';

const OF_A_PAGE = 50;
const OF_A_REQUEST = 300;
const MOST_READ = 3000;
const SHOWN = 20;

export class Rooms {
  #server;
  #table;
  #pager;
  #starts = [null];
  #dialog;

  constructor(server) {
    this.#server = server;
    this.#dialog = new RoomDialog(server);
    this.#table = new Table(byId('rooms-table'), [
      { title: 'Room', of: ({ room }) => room, isWide: true },
      { title: 'Clients', of: ({ clients }) => clients, isNumber: true },
      { title: '', show: ({ room }) => this.#openButton(room) },
    ], { sortedBy: 'Room', empty: 'No room has a member.' });
    this.#pager = new Pager(byId('rooms-pager'), (by) => this.#turn(by));
    byId('rooms-prefix').addEventListener('input', () => {
      this.#starts = [null];
      this.refresh();
    });
  }

  async refresh() {
    if (this.#table.isInUse) return;
    const prefix = byId('rooms-prefix').value;
    const start = this.#starts.at(-1);
    const after = start === null ? '' : `&after=${encodeURIComponent(start)}`;
    try {
      const { said: page, missing } = await this.#server.askCluster(
        `/websocket/rooms?limit=${OF_A_PAGE}&prefix=${encodeURIComponent(prefix)}${after}`,
      );
      // Somebody may have typed on meanwhile.
      if (prefix !== byId('rooms-prefix').value || this.#table.isInUse) return;
      this.#next = page.next;
      this.#table.show(this.#table.sort(page.rooms));
      this.#pager.show({ hasPrevious: this.#starts.length > 1, hasNext: page.next !== null });
      byId('rooms-note').textContent = missing;
      byId('rooms-problem').textContent = '';
    } catch (problem) {
      byId('rooms-problem').textContent = problem.message;
    }
  }

  #next = null;

  #turn(by) {
    if (by > 0) this.#starts.push(this.#next);
    else this.#starts.pop();
    this.refresh();
  }

  #openButton(room) {
    return element('button', {
      type: 'button',
      className: 'small',
      textContent: 'Open',
      ariaLabel: `Open ${room}`,
      onclick: () => this.#dialog.open(room),
    });
  }
}

class RoomDialog {
  #server;
  #room;
  #dialog = byId('room');

  constructor(server) {
    this.#server = server;
    byId('room-close').addEventListener('click', () => this.#dialog.close());
    onSubmit(byId('room-publish'), () => this.#publish());
  }

  open(room) {
    this.#room = room;
    byId('room-title').textContent = room;
    byId('room-receipt').textContent = '';
    byId('room-problem').textContent = '';
    byId('room-members').replaceChildren();
    byId('room-history').replaceChildren();
    this.#dialog.showModal();
    this.#read();
  }

  async #read() {
    const room = this.#room;
    try {
      const [{ said: presence, missing }, events] = await Promise.all([
        this.#server.askCluster(path`/websocket/rooms/${room}/presence`),
        this.#newest(room),
      ]);
      if (room !== this.#room) return;
      byId('room-members').replaceChildren(...presence.clients.map(({ clientId, userId }) =>
        element('li', {}, element('code', { textContent: userId ? `${userId} (${clientId})` : clientId }))));
      if (missing) byId('room-members').append(element('li', { className: 'empty', textContent: missing }));
      byId('room-history').replaceChildren(...events.map(entry));
      if (!events.length) byId('room-history').append(element('li', { className: 'empty', textContent: 'No events are kept.' }));
    } catch (problem) {
      byId('room-problem').textContent = problem.message;
    }
  }

  // The history is read from its beginning; the newest come first here.
  async #newest(room) {
    let events = [];
    let page;
    let read = 0;
    do {
      const after = events.length ? `&after=${encodeURIComponent(events.at(-1).offset)}` : '';
      page = await this.#server.ask(path`/websocket/rooms/${room}/history` + `?limit=${OF_A_REQUEST}${after}`);
      read += page.events.length;
      events = [...events, ...page.events].slice(-SHOWN);
    } while (page.more && read < MOST_READ);
    return events.reverse();
  }

  async #publish() {
    const receipt = byId('room-receipt');
    byId('room-problem').textContent = '';
    try {
      const body = JSON.parse(byId('room-data').value || '{}');
      const event = byId('room-event').value;
      const { said, missing } = await this.#server.askCluster(
        path`/websocket/event/room/${this.#room}/${event}`,
        { method: 'POST', body },
      );
      const counted = `Handed to ${said.recipients}, ${said.pending} are away`;
      receipt.textContent = missing ? `${counted}; ${missing}.` : `${counted}.`;
      this.#read();
    } catch (problem) {
      receipt.textContent = '';
      byId('room-problem').textContent = problem.message;
    }
  }
}
