'use strict';

// Which rooms this page's client is in, as the server's own events tell it. Announces 'change'.

class JoinedRooms extends EventTarget {
  #names = new Set();

  constructor(connection) {
    super();
    connection.addEventListener('event', ({ detail }) => this.#follow(detail));
    connection.addEventListener('sessionlost', () => {
      this.#names.clear();
      this.#announceChange();
    });
  }

  get names() {
    return [...this.#names];
  }

  has(name) {
    return this.#names.has(name);
  }

  #follow({ name, payload }) {
    const change = MEMBERSHIP_EVENTS.get(name);
    if (change === undefined) return;
    if (change === 'joined') this.#names.add(payload.room);
    else this.#names.delete(payload.room);
    this.#announceChange();
  }

  #announceChange() {
    this.dispatchEvent(new Event('change'));
  }
}
