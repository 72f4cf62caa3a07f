'use strict';

// The live log: newest entry first, at most KEPT_ENTRIES kept, drawn once per frame however many
// events come in.

const KEPT_ENTRIES = 500;
const DIRECTIONS = ['in', 'out', 'ack', 'http', 'state'];

class EventLog {
  #list = byId('log-entries');
  #filter = byId('log-filter');
  #pauseButton = byId('log-pause');
  #summary = byId('log-summary');
  #entries = []; // drawn, newest first
  #waiting = []; // not drawn yet, oldest first
  #counts = new Map();
  #countNodes = new Map();
  #shownDirections = new Set(DIRECTIONS);
  #isPaused = false;
  #frame = null;

  constructor() {
    byId('log-directions').append(...DIRECTIONS.map((direction) => this.#directionToggle(direction)));
    this.#filter.addEventListener('input', () => this.#applyFilter());
    // Chromium empties a search field by itself, Firefox does not.
    this.#filter.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#clearFilter();
    });
    this.#pauseButton.addEventListener('click', () => this.#togglePause());
    byId('log-clear').addEventListener('click', () => this.clear());
    byId('log-copy').addEventListener('click', (event) => {
      copyText(this.#visibleAsLines(), event.currentTarget);
    });
    this.clear();
  }

  // `payload` is any JSON value, or undefined for none; `offset` the event's place in the server's
  // log, if it has one.
  add(direction, name, payload, { offset, isReplayed = false } = {}) {
    this.#waiting.push({ direction, name, at: new Date(), payload, offset, isReplayed });
    if (this.#waiting.length > KEPT_ENTRIES) this.#waiting.shift();
    this.#counts.set(direction, this.#counts.get(direction) + 1);
    this.#scheduleDraw();
  }

  clear() {
    this.#entries = [];
    this.#waiting = [];
    this.#list.replaceChildren();
    DIRECTIONS.forEach((direction) => this.#counts.set(direction, 0));
    this.#scheduleDraw();
  }

  #scheduleDraw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#isPaused) {
      const fresh = this.#waiting.splice(0).map((entry) => this.#drawn(entry)).reverse();
      this.#list.prepend(...fresh.map((entry) => entry.node));
      this.#entries.unshift(...fresh);
      this.#entries.splice(KEPT_ENTRIES).forEach((entry) => entry.node.remove());
    }
    this.#drawCounts();
  }

  #drawn(entry) {
    const text = prettyJson(entry.payload);
    const node = element(
      'li',
      { className: `entry ${entry.direction}` },
      element('time', { dateTime: entry.at.toISOString(), textContent: clockTime(entry.at) }),
      element('span', { className: 'badge', textContent: entry.direction }),
      element('strong', { textContent: entry.name }),
      placeInLog(entry),
    );
    if (text) node.append(jsonBlock(text));
    const place = node.querySelector('.place').textContent;
    const drawn = { ...entry, node, searched: `${entry.name}\n${place}\n${text}`.toLowerCase() };
    node.hidden = !this.#passesFilter(drawn);
    return drawn;
  }

  #drawCounts() {
    for (const [direction, node] of this.#countNodes) {
      node.textContent = this.#counts.get(direction);
    }
    const total = [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
    const shown = this.#entries.filter((entry) => !entry.node.hidden).length;
    const paused = this.#isPaused ? ` · paused, ${this.#waiting.length} waiting` : '';
    this.#summary.textContent = `${shown} shown of ${total}${paused}`;
    byId('log-empty').hidden = shown > 0;
    byId('log-empty').textContent = total > 0 ? 'No entry passes the filter.' : 'Nothing yet.';
  }

  #directionToggle(direction) {
    const count = element('b', { textContent: 0 });
    this.#countNodes.set(direction, count);
    const box = element('input', { type: 'checkbox', checked: true, value: direction });
    box.addEventListener('change', () => {
      if (box.checked) this.#shownDirections.add(direction);
      else this.#shownDirections.delete(direction);
      this.#applyFilter();
    });
    return element('label', { className: `toggle ${direction}` }, box, `${direction} `, count);
  }

  #passesFilter(entry) {
    return (
      this.#shownDirections.has(entry.direction) &&
      entry.searched.includes(this.#filter.value.trim().toLowerCase())
    );
  }

  #applyFilter() {
    this.#entries.forEach((entry) => { entry.node.hidden = !this.#passesFilter(entry); });
    this.#drawCounts();
  }

  #clearFilter() {
    this.#filter.value = '';
    this.#applyFilter();
  }

  #togglePause() {
    this.#isPaused = !this.#isPaused;
    this.#pauseButton.setAttribute('aria-pressed', this.#isPaused);
    this.#scheduleDraw();
  }

  // One JSON object per line, oldest first: what bug reports and jq want.
  #visibleAsLines() {
    return this.#entries
      .filter((entry) => !entry.node.hidden)
      .map(({ at, direction, name, offset, isReplayed, payload }) => JSON.stringify(
        { at, direction, name, offset, replayed: isReplayed || undefined, payload }))
      .reverse()
      .join('\n');
  }
}

function placeInLog({ offset, isReplayed }) {
  const node = element('span', { className: 'place' });
  if (isReplayed) node.append(element('span', { className: 'tag', textContent: 'replayed' }), ' ');
  if (offset) node.append(element('code', { textContent: offset, title: 'Offset in the log' }));
  return node;
}

function clockTime(date) {
  const twoDigits = (number) => String(number).padStart(2, '0');
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':');
  return `${clock}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}
