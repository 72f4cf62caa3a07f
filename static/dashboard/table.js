// A table that can be sorted by its headings and stays where it is when its rows are renewed.

// A column is {title, of: row => value to sort by, show?: row => text or node, isNumber?, isWide?}.
export class Table {
  #table;
  #columns;
  #sortedBy;
  #descending;
  #rows = [];
  #empty;
  #onSort;

  constructor(table, columns, { sortedBy, descending = false, empty = 'None.', onSort } = {}) {
    this.#table = table;
    this.#columns = columns;
    this.#sortedBy = sortedBy;
    this.#descending = descending;
    this.#empty = empty;
    this.#onSort = onSort;
    this.#table.append(element('thead', {}, element('tr', {}, ...columns.map((column) => this.#heading(column)))));
    this.#table.append(element('tbody'));
    this.#markSorted();
    this.show([]);
  }

  // Puts rows in the chosen order.
  sort(rows) {
    const column = this.#columns.find(({ title }) => title === this.#sortedBy);
    if (!column) return rows;
    const sign = this.#descending ? -1 : 1;
    return rows.toSorted((one, other) => sign * compare(column.of(one), column.of(other)));
  }

  show(rows) {
    this.#rows = rows;
    const lines = rows.map((row) => element('tr', {}, ...this.#columns.map((column) => cell(column, row))));
    if (!lines.length) {
      const text = element('td', { colSpan: this.#columns.length, className: 'empty', textContent: this.#empty });
      lines.push(element('tr', {}, text));
    }
    this.#table.tBodies[0].replaceChildren(...lines);
  }

  // Whether somebody is about to press a button of a row: then it must not move.
  get isInUse() {
    return this.#table.tBodies[0].contains(document.activeElement);
  }

  #heading(column) {
    const heading = element('th', { scope: 'col', className: column.isNumber ? 'number' : '' });
    if (!column.of) {
      heading.append(column.title);
      return heading;
    }
    heading.append(element('button', {
      type: 'button',
      textContent: column.title,
      onclick: () => {
        this.#descending = this.#sortedBy === column.title && !this.#descending;
        this.#sortedBy = column.title;
        this.#markSorted();
        if (this.#onSort) this.#onSort();
        else this.show(this.sort(this.#rows));
      },
    }));
    return heading;
  }

  #markSorted() {
    [...this.#table.tHead.rows[0].cells].forEach((heading, index) => {
      const isSorted = this.#columns[index].title === this.#sortedBy;
      heading.ariaSort = isSorted ? (this.#descending ? 'descending' : 'ascending') : null;
    });
  }
}

function cell(column, row) {
  const content = (column.show ?? column.of)(row);
  const node = element('td', { className: column.isNumber ? 'number' : column.isWide ? 'wide' : '' });
  node.append(content ?? '');
  if (column.isWide) node.title = node.textContent;
  return node;
}

function compare(one, other) {
  if (typeof one === 'number' && typeof other === 'number') return one - other;
  return String(one ?? '').localeCompare(String(other ?? ''), 'en');
}

// Previous and next, and where one is.
export class Pager {
  constructor(parent, onTurn) {
    this.previous = element('button', { type: 'button', className: 'small', textContent: 'Previous', onclick: () => onTurn(-1) });
    this.next = element('button', { type: 'button', className: 'small', textContent: 'Next', onclick: () => onTurn(1) });
    this.place = element('span', { className: 'hint' });
    this.parent = parent;
    parent.append(this.previous, this.next, this.place);
  }

  show({ hasPrevious, hasNext, place = '' }) {
    this.parent.hidden = !hasPrevious && !hasNext;
    this.previous.disabled = !hasPrevious;
    this.next.disabled = !hasNext;
    this.place.textContent = place;
  }
}

// A button that asks once more before it does what cannot be undone.
export function sureButton(label, act) {
  let isSure = false;
  const button = element('button', {
    type: 'button',
    className: 'small',
    textContent: label,
    onclick: () => {
      if (isSure) {
        act();
        return;
      }
      isSure = true;
      button.textContent = 'Really?';
    },
    onblur: () => {
      isSure = false;
      button.textContent = label;
    },
  });
  return button;
}
