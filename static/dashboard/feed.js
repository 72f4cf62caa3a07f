// Events as they go out, newest first; paused and filtered by whoever looks.

import { entry } from './entry.js';
import * as format from './format.js';

const MOST = 300;
const SHOWN = 100;

export class Feed {
  #events = [];
  #skipped = 0;
  #isPaused = false;

  constructor() {
    byId('feed-filter').addEventListener('input', () => this.#show());
    byId('feed-clear').addEventListener('click', () => {
      this.#events = [];
      this.#skipped = 0;
      this.#show();
    });
    byId('feed-pause').addEventListener('click', ({ currentTarget }) => {
      this.#isPaused = !this.#isPaused;
      currentTarget.ariaPressed = this.#isPaused;
      currentTarget.textContent = this.#isPaused ? 'Go on' : 'Pause';
      this.#show();
    });
    this.#show();
  }

  add({ events, skipped }) {
    if (this.#isPaused) return;
    this.#events = [...events.toReversed(), ...this.#events].slice(0, MOST);
    this.#skipped += skipped;
    this.#show();
  }

  #show() {
    const wanted = byId('feed-filter').value.trim().toLowerCase();
    const found = this.#events.filter((event) => !wanted || text(event).includes(wanted));
    const list = byId('feed-list');
    // What somebody has opened stays open while others come.
    const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
    list.replaceChildren(...found.slice(0, SHOWN).map((event) => known.get(event.id) ?? item(event)));
    if (!found.length) list.append(element('li', { className: 'empty', textContent: wanted ? 'Nothing fits.' : 'Nothing yet.' }));
    byId('feed-note').textContent = this.#note(found.length);
  }

  #note(found) {
    const skipped = this.#skipped ? ` · ${this.#skipped} too fast to show` : '';
    return `${this.#isPaused ? 'Paused · ' : ''}${found} of the last ${this.#events.length}${skipped}`;
  }
}

function item(event) {
  const node = entry(event);
  node.dataset.id = event.id;
  return node;
}

function text(event) {
  return `${event.event}\n${format.whom(event.target)}\n${event.data}\n${event.id}`.toLowerCase();
}
