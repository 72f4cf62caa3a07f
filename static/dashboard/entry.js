// One event in a list: a line, and its data behind it.

import * as format from './format.js';

// Of the feed {event, target, recipients, …} or of a history {event, data, …}.
export function entry(event) {
  const line = [
    element('time', { dateTime: event.timestamp, textContent: format.time(event.timestamp) }),
    element('b', { textContent: event.event }),
  ];
  if (event.target) {
    const away = event.pending ? `, ${event.pending} away` : '';
    line.push(element('span', { className: 'whom', textContent: format.whom(event.target) }));
    const partial = event.partial ? ', partial' : '';
    line.push(element('span', { textContent: `to ${event.recipients}${away}${partial}` }));
  }
  const data = typeof event.data === 'string' ? event.data : JSON.stringify(event.data);
  return element('li', {}, element('details', {},
    element('summary', {}, ...line),
    element('pre', { textContent: `${data}\n${event.offset ?? 'not stored'} · ${event.id}` })));
}
