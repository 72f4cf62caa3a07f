'use strict';

// Who is in one room: the list that the server gives, and the `presence` events that follow it.
// The list is read anew after each `connected` and when this page's client comes or goes, since
// nobody is told of itself, nor of what happened while it was away. Announces 'change'.

class PresenceList extends EventTarget {
  #connection;
  #joinedRooms;
  #clients = new Map();
  #wasJoined = false;
  room = ''; // none is watched
  readAt = null; // a Date, once there is a list
  refusal = null; // the error {code, message} in place of a list

  constructor(connection, joinedRooms) {
    super();
    this.#connection = connection;
    this.#joinedRooms = joinedRooms;
    connection.addEventListener('event', ({ detail }) => this.#follow(detail));
    connection.addEventListener('answer', ({ detail }) => this.#take(detail));
    connection.addEventListener('change', () => this.#announceChange());
    joinedRooms.addEventListener('change', () => {
      if (joinedRooms.has(this.room) !== this.#wasJoined) this.#read();
    });
  }

  // Each {clientId, userId?, info?}, in the order in which the server told of them.
  get clients() {
    return [...this.#clients.values()];
  }

  // Only members of the room are told who comes and goes.
  get isJoined() {
    return this.#joinedRooms.has(this.room);
  }

  watch(room) {
    this.room = room;
    this.readAt = null;
    this.#clients.clear();
    this.#read();
  }

  async #read() {
    this.#wasJoined = this.isJoined;
    this.refusal = null;
    this.#announceChange();
    if (!this.room || (this.readAt && !this.#connection.isConnected)) return;
    const { room } = this;
    try {
      await this.#connection.emit('presence', { room });
    } catch (error) {
      if (room === this.room) this.#refuse({ message: error.message });
    }
  }

  #take({ event, argument, answer }) {
    if (event !== 'presence' || !this.room || argument?.room !== this.room) return;
    if (!answer?.ok) {
      this.#refuse(answer?.error ?? { message: 'The answer says nothing.' });
      return;
    }
    this.#clients = new Map(answer.clients.map((client) => [client.clientId, client]));
    this.readAt = new Date();
    this.refusal = null;
    this.#announceChange();
  }

  #refuse(error) {
    this.#clients.clear();
    this.readAt = null;
    this.refusal = error;
    this.#announceChange();
  }

  #follow({ name, payload }) {
    if (name === 'connected') this.#read();
    if (name !== 'presence' || payload.room !== this.room || !this.readAt) return;
    payload.joins.forEach((client) => this.#clients.set(client.clientId, client));
    payload.leaves.forEach(({ clientId }) => this.#clients.delete(clientId));
    this.#announceChange();
  }

  #announceChange() {
    this.dispatchEvent(new Event('change'));
  }
}
